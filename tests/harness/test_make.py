# SPDX-License-Identifier: GPL-2.0
"""What make says before it builds anything, and what interceptorctl says without a module."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from pyharness.interceptor import MODULE

ROOT = Path(__file__).parents[2]
CTL = MODULE / "interceptorctl.py"
FOLDERS = [MODULE, ROOT / "examples" / "ring"]


def typed(*command: str | Path, cwd: Path, **variables: str) -> tuple[int, str]:
    """The exit status of a command, and what it printed of its errors."""
    done = subprocess.run(
        command, cwd=cwd, env=os.environ | variables, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stderr


def headers(where: Path) -> Path:
    """A folder that looks as a kernel's headers do, with nothing to build by."""
    where.mkdir()
    (where / "Makefile").write_text("modules clean:\n\t@echo built >&2\n", encoding="ascii")
    return where


@pytest.mark.parametrize("source", FOLDERS, ids=lambda folder: folder.name)
@pytest.mark.parametrize("name", [*" \t\n:;%#$'\"\\&|()*?<>,`"], ids=ascii)
def test_a_path_that_the_kernels_build_cannot_handle(
    tmp_path: Path, source: Path, name: str
) -> None:
    folder = tmp_path / f"a{name}b"
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("tests", ".*", "artifacts"))
    status, errors = typed("make", f"KDIR={headers(tmp_path / 'headers')}", cwd=folder)
    assert status == 2
    message = f"the kernel's build can't handle the path '{tmp_path}/a{name}b': move this folder"
    assert message in errors
    assert "built" not in errors


@pytest.mark.parametrize("source", FOLDERS, ids=lambda folder: folder.name)
@pytest.mark.parametrize("name", ["a-b_c.d+e@f=g~", "^!{}[]", "é中"])
def test_a_path_that_the_kernels_build_can_handle(tmp_path: Path, source: Path, name: str) -> None:
    folder = tmp_path / name
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("tests", ".*", "artifacts"))
    status, errors = typed("make", f"KDIR={headers(tmp_path / 'headers')}", cwd=folder)
    assert (status, errors) == (0, "built\n")


@pytest.mark.parametrize("source", FOLDERS, ids=lambda folder: folder.name)
@pytest.mark.parametrize("target", ["modules", "clean"])
def test_no_headers(tmp_path: Path, source: Path, target: str) -> None:
    status, errors = typed("make", target, f"KDIR={tmp_path}", cwd=source)
    assert status == 2
    assert re.search(rf"\*\*\* {tmp_path} has no kernel headers: .*linux-headers-", errors)
    assert len(errors.splitlines()) == 1


def test_no_headers_of_the_kernel_that_runs(tmp_path: Path) -> None:
    status, errors = typed("make", "RELEASE=0.1-none", cwd=MODULE)
    assert status == 2
    assert "/lib/modules/0.1-none/build has no kernel headers: apt-get install" in errors
    assert "linux-headers-0.1-none" in errors


def test_no_compiler(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    for program in ("sh", "make", "find", "tr", "wc", "uname", "sed", "id"):
        found = shutil.which(program)
        assert found
        (tmp_path / "bin" / program).symlink_to(found)
    kdir = f"KDIR={headers(tmp_path / 'headers')}"
    path = str(tmp_path / "bin")
    status, errors = typed("make", kdir, cwd=MODULE, PATH=path)
    assert status == 2
    assert "there is no C compiler: apt-get install gcc" in errors
    (tmp_path / "bin" / "gcc-12").symlink_to("/bin/true")
    assert typed("make", kdir, cwd=MODULE, PATH=path) == (0, "built\n")


@pytest.mark.parametrize("target", ["install", "uninstall"])
def test_a_place_to_install_to_that_the_kernels_build_cannot_handle(
    tmp_path: Path, target: str
) -> None:
    """Least of all may it be taken for two paths, of which the first is removed."""
    kdir, mine = headers(tmp_path / "headers"), tmp_path / "a"
    mine.touch()
    status, errors = typed(
        "make", target, f"KDIR={kdir}", "RELEASE=1", f"DESTDIR={mine} b", cwd=MODULE
    )
    assert status == 2
    assert f"can't handle the path '{mine} b/lib/modules/1/extra/local': name a DESTDIR" in errors
    assert mine.exists()


def test_what_make_uninstall_removes_is_no_pattern(tmp_path: Path) -> None:
    """The folder [a] is not a."""
    place = Path("lib/modules/1/extra/local/interceptor.ko")
    other, mine = tmp_path / "a" / place, tmp_path / "[a]" / place
    for ko in (other, mine):
        ko.parent.mkdir(parents=True)
        ko.touch()
    kdir, place_named = f"KDIR={headers(tmp_path / 'headers')}", f"DESTDIR={tmp_path}/[a]"
    status, errors = typed("make", "uninstall", kdir, "RELEASE=1", place_named, cwd=MODULE)
    assert (status, errors) == (0, "")
    assert other.exists()
    assert not mine.exists()


def test_headers_that_name_no_release(tmp_path: Path) -> None:
    kdir = f"KDIR={headers(tmp_path / 'headers')}"
    status, errors = typed("make", "uninstall", kdir, f"DESTDIR={tmp_path}", cwd=MODULE)
    assert status == 2
    assert f"{tmp_path}/headers has no kernel headers, which would say for which kernel" in errors


def test_the_version_is_the_same_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    places = {
        "interceptor.c": r'^MODULE_VERSION\("(.*)"\);$',
        "dkms.conf": r'^PACKAGE_VERSION="(.*)"$',
        "interceptorctl.py": r'^VERSION = "(.*)"$',
        "interceptorctl.8": r'^\.TH .* "interceptor (.*?)" ',
    }
    for name, pattern in places.items():
        text = (MODULE / name).read_text(encoding="utf-8")
        assert re.findall(pattern, text, re.MULTILINE) == [project["version"]], name
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"interceptor[-/](\d[\d.]*\d)", readme)) == {project["version"]}


@pytest.mark.parametrize("option", ["-V", "--version"])
def test_interceptorctl_prints_its_version(option: str) -> None:
    printed = subprocess.run(
        [sys.executable, CTL, option], capture_output=True, text=True, check=True
    ).stdout
    version = re.findall(r'^MODULE_VERSION\("(.*)"\);$', source("interceptor.c"), re.MULTILINE)
    assert printed == f"interceptorctl {version[0]}\n"


def source(name: str) -> str:
    return (MODULE / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_completion_and_manual_know_an_option(option: str) -> None:
    assert option in source("interceptorctl.bash")
    assert option.replace("-", "\\-") in source("interceptorctl.8")


def test_a_full_disk_is_reported() -> None:
    program = "import interceptorctl as it; it.all_names = lambda: ['mkdir']; exit(it.main())"
    with Path("/dev/full").open("w", encoding="ascii") as full:
        done = subprocess.run(
            [sys.executable, "-c", program, "names"],
            cwd=MODULE,
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, b"interceptorctl: No space left on device\n")


@pytest.fixture
def ctl() -> ModuleType:
    """interceptorctl, to call a function of it."""
    spec = importlib.util.spec_from_file_location("ctl", CTL)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("text", "number"),
    [("39", 39), ("0", 0), ("2147483647", 2147483647), ("2147483648", None), ("4294967335", None),
     ("9" * 5000, None), ("-1", None), ("", None), ("\u0663", None), ("3\n", None)],
    ids=lambda value: ascii(value)[:12],
)  # fmt: skip
def test_a_number_is_one_that_the_module_can_hold(
    ctl: ModuleType, text: str, number: int | None
) -> None:
    assert ctl.whole(text) == number


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    program = "import interceptorctl as it; it.recorded = lambda: iter([None]); exit(it.main())"
    file = tmp_path / "nosuch" / "calls"
    status, said = typed(sys.executable, "-c", program, "record", "-o", file, cwd=MODULE)
    assert (status, said) == (1, f"interceptorctl: {file}: No such file or directory\n")


@pytest.mark.parametrize("command", ["watch", "record -o calls"])
def test_what_is_for_root_names_no_other_command(
    ctl: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
) -> None:
    """The same functions read calls for both."""
    monkeypatch.setattr(sys, "argv", ["interceptorctl", *command.split()])
    monkeypatch.setattr(ctl, "recorded", ctl.events)
    monkeypatch.setattr(ctl.os, "geteuid", lambda: 1)
    monkeypatch.setattr(ctl, "end_by_exception", lambda: None)
    assert ctl.main() == 1
    assert capsys.readouterr().err == "interceptorctl: trace events are for root: sudo\n"


@pytest.mark.parametrize(("words", "status"), [(["names"], 130), (["watch"], 0)])
def test_what_is_interrupted_is_not_done(
    ctl: ModuleType, monkeypatch: pytest.MonkeyPatch, words: list[str], status: int
) -> None:
    """A watch ends by Ctrl-C; every other command has not done what it was to do."""

    def interrupted(*args: object) -> list[str]:
        raise KeyboardInterrupt

    monkeypatch.setattr(ctl, "all_names", interrupted)
    monkeypatch.setattr(ctl, "watch", interrupted)
    monkeypatch.setattr(sys, "argv", ["interceptorctl", *words])
    assert ctl.main() == status


def test_a_host_without_headers_has_no_names(
    ctl: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ctl, "HEADERS", dict.fromkeys(ctl.HEADERS, ()))
    monkeypatch.setattr(sys, "argv", ["interceptorctl", "names"])
    assert ctl.main() == 1
    assert capsys.readouterr().err.endswith("install linux-libc-dev\n")
