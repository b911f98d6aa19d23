# SPDX-License-Identifier: GPL-2.0
"""What of the cache this user's machines were started from: it must be kept."""

from pathlib import Path
from types import NoneType

from pyharness.host import cache, json_store

# In a machine's folder, a link to the saved state that the machine was started from.
STARTED_FROM = "started-from"
FACTS_FILE = "saved-state.json"
# The facts in that file. Earlier versions did not write its identity, and that of its image.
FACTS = {
    "uuid": str | NoneType,
    "vermagic": str,
    "image": str,
    "host_key": str | NoneType,
    "kernel": str,
    "accel": dict,
    "spec": dict,
}


def saved_states() -> set[Path]:
    """The folders of the saved states that machines were started from."""
    return {link.resolve() for run in cache.run_folders() for link in run.glob(f"*/{STARTED_FROM}")}


def images() -> set[Path]:
    """The folders of the images that these saved states were booted from."""
    return _named("image")


def kernels() -> set[Path]:
    """The folders of the kernels that these saved states were booted with."""
    return _named("kernel")


def _named(fact: str) -> set[Path]:
    known = (json_store.read(folder / FACTS_FILE, FACTS) for folder in saved_states())
    return {Path(facts[fact]) for facts in known if facts}
