# SPDX-License-Identifier: GPL-2.0
"""Files of this package: guest descriptions, the interceptor, programs for guests, the starter."""

from pathlib import Path

_PACKAGE = Path(__file__).parent.parent


def _data(name: str) -> Path:
    """A data folder of the project: beside the package in a checkout, in it when installed."""
    installed = _PACKAGE / "_data" / name
    return installed if installed.is_dir() else _PACKAGE.parent / name


VM = _data("vm")
MODULE = _data("module")
IN_GUEST = _PACKAGE / "guest" / "inside"
STARTER = _PACKAGE / "interceptor" / "starter"
