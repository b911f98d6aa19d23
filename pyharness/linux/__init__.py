# SPDX-License-Identifier: GPL-2.0
"""Facts about Linux: system calls, the kernel log, modules. Pure: no file, clock or process."""
