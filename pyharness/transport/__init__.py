# SPDX-License-Identifier: GPL-2.0
"""Bytes into and out of a guest: SSH and the serial console."""
