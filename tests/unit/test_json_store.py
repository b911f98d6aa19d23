# SPDX-License-Identifier: GPL-2.0
"""Facts in the cache, which a power failure or another version may have left in any form."""

import os
import subprocess
from pathlib import Path

import pytest

from pyharness.host import json_store, programs
from pyharness.machine import image

KINDS = {"name": str, "number": int}
DAMAGED = (
    b"",
    b"{",
    b"[]",
    b"null",
    b"{}",
    b'{"name": 1}',
    b'{"name": "a", "number": "1"}',
    b"\xff",
)


def test_facts(tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    assert json_store.read(path, KINDS) is None
    path.write_text('{"name": "a", "number": 1}', encoding="ascii")
    assert json_store.read(path, KINDS) == {"name": "a", "number": 1}


def test_a_fact_that_may_be_none_may_be_missing(tmp_path: Path) -> None:
    """As in a file of an earlier version."""
    path = tmp_path / "facts.json"
    path.write_text('{"name": "a"}', encoding="ascii")
    assert json_store.read(path, KINDS | {"number": int | None}) == {"name": "a", "number": None}
    assert json_store.read(path, {"number": int | None}) is None


@pytest.mark.parametrize("data", DAMAGED)
def test_damaged_facts_are_no_facts(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "facts.json"
    path.write_bytes(data)
    assert json_store.read(path, KINDS) is None


def test_an_image_that_lacks_a_file_is_none(tmp_path: Path) -> None:
    facts = '{"release": "6.1", "version": "1", "host_key": "key"}'
    (tmp_path / "image.json").write_text(facts, encoding="ascii")
    for name in ("root.raw", "vmlinuz", "initrd"):
        assert image.read(tmp_path) is None
        (tmp_path / name).touch()
    assert image.read(tmp_path) is not None


def test_when_a_process_began() -> None:
    """It tells processes apart, and does not depend on the wall clock."""
    own = programs.began(os.getpid())
    assert own == programs.began(os.getpid())
    with subprocess.Popen(["sleep", "100"]) as other:
        assert programs.began(other.pid) not in ("", own)
        other.kill()
    assert programs.began(other.pid) == ""
