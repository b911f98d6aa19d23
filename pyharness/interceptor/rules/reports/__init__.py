# SPDX-License-Identifier: GPL-2.0
"""The formats in which the verdicts about a module are reported, a file for each. All pure."""
