# SPDX-License-Identifier: GPL-2.0
"""``pyharness starter`` writes what a student begins with, and overwrites nothing."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pyharness.cli import cli
from pyharness.guest.module_source import ModuleSource
from pyharness.host import bundled
from pyharness.interceptor.interface import Command, Interface
from pyharness.linux.syscalls import Syscalls

FILES = {"Kbuild", "Makefile", "README.md", "interceptor.c", "interceptor.h"}


def starter(folder: Path) -> Result:
    return CliRunner().invoke(cli, ["starter", str(folder)], standalone_mode=False)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("place", ["new", "new/deep", "empty"])
def test_it_writes_all_files_and_says_what_comes_next(tmp_path: Path, place: str) -> None:
    (tmp_path / "empty").mkdir()
    folder = tmp_path / place
    result = starter(folder)
    assert not result.return_value
    wrote, following = result.output.splitlines()
    assert all(name in wrote for name in FILES)
    assert f"pyharness check {folder}" in following
    assert names(folder) == FILES
    for name in FILES:
        assert (folder / name).read_bytes() == (bundled.STARTER / name).read_bytes()


def test_a_file_that_is_there_is_kept_and_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "interceptor.c").write_text("mine", encoding="ascii")
    (tmp_path / "Makefile").symlink_to("nowhere")
    result = starter(tmp_path)
    assert result.return_value == 2
    assert "has Makefile, interceptor.c already" in result.output
    assert len(result.output.splitlines()) == 1
    assert names(tmp_path) == {"interceptor.c", "Makefile"}
    assert (tmp_path / "interceptor.c").read_text(encoding="ascii") == "mine"


def test_a_second_time_changes_nothing(tmp_path: Path) -> None:
    starter(tmp_path)
    (tmp_path / "interceptor.c").write_text("mine", encoding="ascii")
    before = content(tmp_path)
    assert starter(tmp_path).return_value == 2
    assert content(tmp_path) == before


def test_other_files_stay(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("mine", encoding="ascii")
    assert not starter(tmp_path).return_value
    assert names(tmp_path) == {*FILES, "notes"}


def test_what_fails_half_way_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Path.read_bytes

    def fail(path: Path) -> bytes:
        if path.name == "README.md":
            raise OSError(28, "No space left on device", str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", fail)
    assert starter(tmp_path).return_value == 3
    assert not names(tmp_path)


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = CliRunner().invoke(cli, ["starter", str(tmp_path / "file")])
    assert result.exit_code == 2


def test_the_files_make_a_module_with_the_four_commands(tmp_path: Path) -> None:
    starter(tmp_path)
    assert ModuleSource(tmp_path).name == "interceptor"
    interface = Interface.load(tmp_path, Syscalls("i386"))
    assert [interface.commands[command] for command in Command] == [1, 2, 3, 4]
    assert interface.custom_syscall == 0
    for path in tmp_path.iterdir():
        assert "SPDX-License-Identifier: GPL-2.0" in path.read_text("utf-8").splitlines()[0]
