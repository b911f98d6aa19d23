# SPDX-License-Identifier: GPL-2.0
"""Work in one guest, with any module: commands, actors, the kernel log, builds, module loading."""
