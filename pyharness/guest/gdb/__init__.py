# SPDX-License-Identifier: GPL-2.0
"""gdb on a guest's kernel, with the symbols of modules."""
