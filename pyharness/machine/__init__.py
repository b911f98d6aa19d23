# SPDX-License-Identifier: GPL-2.0
"""From a guest's description to a running QEMU."""
