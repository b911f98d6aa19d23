# SPDX-License-Identifier: GPL-2.0
"""What is done in one guest, with any module."""
