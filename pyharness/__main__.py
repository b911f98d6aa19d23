# SPDX-License-Identifier: GPL-2.0
"""``python -m pyharness`` is ``pyharness``."""

from pyharness.cli import main

main()
