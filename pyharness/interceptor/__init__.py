# SPDX-License-Identifier: GPL-2.0
"""The interceptor, seen from outside: its commands, its log lines, its status, its cost."""
