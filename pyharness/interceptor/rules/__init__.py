# SPDX-License-Identifier: GPL-2.0
"""The rules of the assignment, and how a module is checked by them."""
