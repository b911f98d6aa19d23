# SPDX-License-Identifier: GPL-2.0
"""Programs are found where a user's PATH does not lead, by this package and by its children."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import pyharness
from pyharness import HostError
from pyharness.host import programs

# As Debian gives it to users: without root's folders.
USERS_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/games"


@pytest.fixture(autouse=True)
def path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", USERS_PATH)


def test_a_program_of_roots_is_found() -> None:
    programs.requires("mke2fs")
    found = programs.which("mke2fs")
    assert found
    assert Path(found).parent.name == "sbin"


def test_child_processes_find_programs_in_sbin() -> None:
    assert programs.run("sh", "-c", "command -v mke2fs") == f"{programs.which('mke2fs')}\n"


def test_doctor_finds_programs_in_sbin() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pyharness", "doctor"], capture_output=True, text=True, check=False
    )
    assert "mke2fs: /" in done.stdout


def test_ones_own_folders_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = tmp_path / "mke2fs"
    mine.write_text("#!/bin/sh\necho mine\n", encoding="ascii")
    mine.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{USERS_PATH}")
    assert programs.run("mke2fs") == "mine\n"


def test_a_program_that_fails_is_one_error_with_its_own_words() -> None:
    with pytest.raises(HostError, match=r"^sh failed: no room$"):
        programs.run("sh", "-c", "echo no room >&2; exit 1")
    with pytest.raises(HostError, match=r"^false failed: exit status 1$"):
        programs.run("false")
    with pytest.raises(HostError, match=r"^sh failed: exit status 139$"):
        programs.run("sh", "-c", "kill -SEGV $$")
    with pytest.raises(HostError, match="nosuch not found"):
        programs.run("nosuch")


def calls(tree: ast.AST) -> list[tuple[str, ast.Call]]:
    return [(ast.unparse(node.func), node) for node in ast.walk(tree) if isinstance(node, ast.Call)]


def test_only_programs_py_looks_programs_up() -> None:
    for file in (Path(pyharness.__file__).parent).rglob("*.py"):
        # These programs are run with the environment that they need.
        if (
            file.name in ("programs.py", "private_mounts.py", "confined.py", "supervisor.py")
            or file.parent.name == "inside"
        ):
            continue
        for name, call in calls(ast.parse(file.read_text(encoding="utf-8"))):
            assert name not in ("shutil.which", "os.execvp"), f"{file.name}: {ast.unparse(call)}"
            if name in ("subprocess.run", "subprocess.Popen"):
                assert "env" in {keyword.arg for keyword in call.keywords}, f"{file.name}: {name}"


def test_the_search_path_is_the_users_with_roots_folders_behind() -> None:
    assert programs.search_path().startswith(USERS_PATH + os.pathsep)
    assert set(programs.search_path().split(os.pathsep)) >= {
        "/usr/sbin",
        "/sbin",
        "/usr/local/sbin",
    }
