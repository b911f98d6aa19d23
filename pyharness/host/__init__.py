# SPDX-License-Identifier: GPL-2.0
"""This host: its cache, programs, permissions, signals, terminal and CPU time."""
