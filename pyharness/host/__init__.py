# SPDX-License-Identifier: GPL-2.0
"""This host: its folders, programs, signals, terminal and time."""
