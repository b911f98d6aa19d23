# SPDX-License-Identifier: GPL-2.0
"""Options that commands have in common."""

from pathlib import Path

import click

from pyharness import paths
from pyharness.guests import DEFAULT_GUEST


def _default_module() -> Path:
    here = Path("module")
    return here if (here / "Kbuild").is_file() else paths.MODULE


guest = click.option(
    "--guest",
    default=DEFAULT_GUEST,
    show_default=True,
    metavar="NAME",
    help="which guest  [PYHARNESS_GUEST names another default]",
)
module = click.option(
    "--module",
    "folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=_default_module,
    metavar="DIR",
    help="the module's folder  [default: ./module, or the one that comes with pyharness]",
)
as_user = click.option(
    "--as", "user", default="root", show_default=True, metavar="USER", help="who does it"
)
