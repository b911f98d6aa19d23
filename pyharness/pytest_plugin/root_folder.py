# SPDX-License-Identifier: GPL-2.0
"""Finds options whose separate values mislead pytest about its root folder.

pytest determines its root folder before it loads the plugins of entry points. In
``--results FILE`` it then sees an unknown option and a path and, if the path exists, looks for
the project there. ``--results=FILE`` has no such effect.
"""

import inspect
import os
import shlex
from collections.abc import Collection
from itertools import pairwise
from pathlib import Path

import pytest


def check(config: pytest.Config, options: Collection[str]) -> None:
    """Make sure that no value of these options has changed pytest's root folder.

    Args:
        config: the configuration of this run.
        options: the options that take a value.

    Raises:
        pytest.UsageError: one has; the message has the spelling that works.
    """
    words = [*shlex.split(os.environ.get("PYTEST_ADDOPTS", "")), *config.invocation_params.args]
    apart = [(str(name), str(value)) for name, value in pairwise(words) if name in options]
    if apart and (root := _root(config, list(map(str, words)))) and root != config.rootpath:
        joined = " ".join(f"{name}={shlex.quote(value)}" for name, value in apart)
        raise pytest.UsageError(
            f"pyharness: pytest takes a path in a separate argument for the project's folder, and"
            f" would use {config.rootpath} instead of {root}: write {joined}"
        )


def _root(config: pytest.Config, words: list[str]) -> Path | None:
    """Return the root folder that pytest would find knowing all options.

    pytest has no public function for it. The result is None if the private one has changed.
    """
    try:
        from _pytest.config.findpaths import determine_setup  # noqa: PLC0415

        known = config._parser.parse_known_args(words)
        given = {
            "inifile": known.inifilename,
            "override_ini": known.override_ini,
            "args": known.file_or_dir,
            "rootdir_cmd_arg": known.rootdir or None,
            "invocation_dir": config.invocation_params.dir,
        }
        taken = inspect.signature(determine_setup).parameters
        return determine_setup(**{name: given[name] for name in taken})[0]
    except (ImportError, AttributeError, KeyError, TypeError):
        return None
