# SPDX-License-Identifier: GPL-2.0
"""What of a folder belongs to a module's source: all that a build may read, and nothing else."""

import os
import socket
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from deep_folder import deep_folder

from pyharness import CheckFailed, UsageError
from pyharness.cli import options
from pyharness.guest import build, compilers, coverage_report
from pyharness.guest.module_source import ModuleSource
from pyharness.guest.qemu_backend import facts_of
from pyharness.host import bundled
from pyharness.machine import guest_specs
from pyharness.machine.accelerator import Accelerator
from pyharness.machine.image import Image
from pyharness.machine.saved_states import SavedState

KBUILD = "obj-m := ring.o\n"
# What a build that works by hand may read.
NEEDED = (
    "Kbuild", "Makefile", "Makefile.common", "flags.mk", "Kconfig", "ring.c", "ring.h", "entry.S",
    "layout.lds", "safe.rs", "board.dts", "board.dtsi", "part.inc", "firmware/blob.bin",
    "firmware/table.hex", "scripts/gen.py", "scripts/gen.sh", "scripts/names.sed",
    "scripts/calls.tbl", "spec.json", "spec.yaml", "notes.txt", "vendor.o_shipped", "prebuilt.o",
    "deps/Module.symvers", "core/core.c", "core/deep/er/state.c", "include/uapi/ring.h",
    "target/main.c", "build/setup.c", "cache/lru.c", "dkms.conf", "artifacts/list.c", "logs/kept.c",
    "with space/a file.c", "ünïcode.h",
)  # fmt: skip
# What has no part in it, by its name or by what lies beside it.
NOT_NEEDED = (
    ".git/HEAD", ".git/objects/aa/bb", ".github/workflows/ci.yml", ".gitignore", ".config/x.c",
    ".ring.c.swp", ".venv/lib/x.py", "env/pyvenv.cfg", "env/lib/x.c", "__pycache__/x.pyc",
    "scripts/__pycache__/gen.pyc", "ring.egg-info/PKG-INFO", "node_modules/a/index.js",
    "cached/CACHEDIR.TAG", "cached/x.c", "rust/CACHEDIR.TAG", "rust/x.rs",
    "out/.gitignore", "out/test_ring.console.log", "out/report.json", "run.log",
    "tests/test_ring.py", "tests/conftest.py", "tests/helpers.py", "tests/data/x.json",
    "tests/calls.c", "docs/design.md", "docs/figure.svg", "Documentation/ring.txt", "README.md",
    "LICENSE", "COPYING.txt", "pyproject.toml", "pytest.ini", "test_more.py",
    "ring.ko", "ring.o", ".ring.o.cmd", "ring.mod", "ring.mod.c", "ring.mod.o", "composite.o",
    ".composite.o.cmd", ".ring.mod.o.cmd", "Module.symvers", "modules.order", "core/modules.order",
    "core/core.o", "generated.h", ".generated.h.cmd", "ring.c~", "#ring.c#", "ring.c.orig",
    "ring.c.rej", "headers/include/config/auto.conf", "headers/include/linux/fs.h",
)  # fmt: skip


def write(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("*\n" if path.name == ".gitignore" else f"{name}\n", encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    project = tmp_path / "project"
    write(project, *NEEDED, *NOT_NEEDED)
    # A project's own .gitignore is no mark of a tool's folder.
    (project / ".gitignore").write_text("*.o\n*.ko\n", encoding="utf-8")
    (project / "Kbuild").write_text(KBUILD, encoding="utf-8")
    (project / "Makefile").write_text("test:\n\tpytest tests/\n# see docs/\n", encoding="utf-8")
    return project


def digest(folder: Path, headers: str = "kernel") -> str:
    return build.digest(ModuleSource(folder), headers)


def names(folder: Path) -> set[str]:
    return {str(path) for path in ModuleSource(folder).files}


def test_what_a_build_needs_is_taken_and_nothing_else(folder: Path) -> None:
    assert names(folder) == {*NEEDED}


def test_what_is_not_needed_does_not_count(folder: Path) -> None:
    before = digest(folder)
    for name in {*NOT_NEEDED} - {"out/.gitignore"}:
        (folder / name).write_text("another", encoding="utf-8")
        assert digest(folder) == before, name


def test_what_is_needed_counts(folder: Path) -> None:
    seen = {digest(folder), digest(folder, "another kernel")}
    for name in NEEDED:
        with (folder / name).open("a", encoding="utf-8") as file:
            file.write("\n")
        seen.add(digest(folder))
    (folder / "scripts/gen.sh").chmod(0o755)
    seen.add(digest(folder))
    assert len(seen) == 2 + len(NEEDED) + 1


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("Kbuild", "obj-m += tests/\n"),
        ("Makefile", "ring-y := ring.o tests/calls.o\n"),
        ("flags.mk", "ccflags-y += -I$(src)/tests/\n"),
        ("core/core.c", '#include "../tests/calls.h"\n'),
    ],
)
def test_a_folder_of_tests_counts_if_the_build_names_it(folder: Path, file: str, line: str) -> None:
    (folder / file).write_text(line, encoding="utf-8")
    assert "tests/calls.c" in names(folder)
    assert "tests/test_ring.py" not in names(folder)
    assert "docs/figure.svg" not in names(folder)


def test_links_count_as_what_they_lead_to(folder: Path, tmp_path: Path) -> None:
    write(tmp_path, "common/shared.h", "common/more/deep.h", "one.h")
    (folder / "common").symlink_to("../common")
    (folder / "one.h").symlink_to(tmp_path / "one.h")
    (folder / "dangling.c").symlink_to("nowhere")
    (folder / "loop.c").symlink_to("loop.c")
    (folder / "around").symlink_to(".")
    (folder / "core/up").symlink_to("..")
    (folder / "build-of-the-kernel").symlink_to("headers")
    found = names(folder)
    assert found - {*NEEDED} == {"common/shared.h", "common/more/deep.h", "one.h"}


@pytest.mark.test_limit(20)
def test_what_is_no_file_is_left_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)  # a socket's path is short
    os.mkfifo("pipe.c")
    os.mkfifo("core/Makefile")
    (folder / "zero.c").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.c")
        assert names(folder) == {*NEEDED}


def test_what_cannot_be_read_is_left_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    Path("secret.c").write_text("x", encoding="utf-8")
    Path("secret.c").chmod(0)
    write(folder, "private/x.c")
    Path("private").chmod(0)
    user = os.geteuid()
    if user == 0:
        folder.chmod(0o755)
        os.seteuid(65534)
    try:
        # The folder itself is known by "." alone: the test's own lies in root's.
        found = {str(path) for path in ModuleSource(Path()).files}
    finally:
        os.seteuid(user)
        Path("private").chmod(0o700)
    assert found == {*NEEDED}


def test_what_is_huge_is_left_out_and_named(folder: Path) -> None:
    with (folder / "disk.img").open("wb") as file:
        file.truncate(8 << 30)
    source = ModuleSource(folder)
    assert {str(path) for path in source.files} == {*NEEDED}
    assert [str(path) for path in source.too_large] == ["disk.img"]


@pytest.mark.parametrize(
    ("name", "said"), [("nosuch", "there is no folder"), ("docs", "has neither Kbuild nor")]
)
def test_a_folder_that_is_no_modules_is_refused(folder: Path, name: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        ModuleSource(folder / name)


def saved_state(cpus: int, *, image: str = "image", release: str = "6.1.0") -> SavedState:
    """A guest that was saved; for each number of CPUs there is one."""
    made = Image(folder=Path(image), release=release, version="#1", host_key="")
    return SavedState(
        folder=Path(f"saved-{cpus}"),
        spec=guest_specs.find(cpus=cpus),
        image=made,
        kernel=made.kernel,
        accel=Accelerator(name="tcg", reason=""),
        vermagic=release,
    )


def headers(saved: SavedState) -> str:
    """What a build is for."""
    return facts_of(saved).headers


def test_a_build_depends_on_the_image_and_not_on_cpus() -> None:
    assert headers(saved_state(2)) == headers(saved_state(4))
    assert headers(saved_state(2)) != headers(saved_state(2, image="another"))
    assert headers(saved_state(2)) != headers(saved_state(2, release="6.1.1"))


def test_two_modules_of_the_same_name_are_refused() -> None:
    build._check_names(["/b/one/a.ko", "/b/two/b.ko"])
    with pytest.raises(CheckFailed, match=r"called a_b, .* rename /b/one/a-b.ko or /b/two/a_b.ko"):
        build._check_names(["/b/one/a-b.ko", "/b/two/a_b.ko"])


@pytest.mark.parametrize(
    "line",
    ["obj-m := a-b.o", "obj-m = a-b.o", "obj-m += a-b.o c.o", "obj-m := a-b.o # note",
     "obj-m:=a-b.o#note", "ifneq ($(KERNELRELEASE),)\n  obj-m\t+=\ta-b.o\nendif"],
)  # fmt: skip
def test_a_makefile_names_the_module(tmp_path: Path, line: str) -> None:
    (tmp_path / "Makefile").write_text(f"# obj-m := x.o\n{line}\na-b-y := d.o\n", encoding="ascii")
    assert ModuleSource(tmp_path).name == "a_b"


def test_a_deeply_nested_folder(tmp_path: Path) -> None:
    """There may be more levels than functions of Python can call each other."""
    (tmp_path / "Kbuild").write_text("obj-m := a.o\n", encoding="ascii")
    with deep_folder(tmp_path) as folder:
        (folder / "a.c").touch()
        source = ModuleSource(tmp_path)
        assert source.files == (Path("Kbuild"), folder.relative_to(tmp_path) / "a.c")


@pytest.mark.parametrize("when", ["found", "measured"])
@pytest.mark.parametrize("becomes", ["nothing", "a folder", "a file"])
def test_a_file_that_goes_meanwhile_is_left_out(tmp_path: Path, when: str, becomes: str) -> None:
    """As those that editors make and remove."""
    write(tmp_path, "Kbuild", "ring.c", "more/gone.inc")
    source = ModuleSource(tmp_path)
    assert source._found if when == "found" else source.files
    (tmp_path / "more/gone.inc").unlink()
    if becomes == "a folder":
        (tmp_path / "more/gone.inc").mkdir()
    elif becomes == "a file":
        (tmp_path / "more").rmdir()
        (tmp_path / "more").touch()
    assert source.digest
    copy = tmp_path / "copy"
    compilers._copy(source, copy, {})
    assert sorted(path.name for path in copy.iterdir()) == ["Kbuild", "ring.c"]


@pytest.mark.parametrize(
    ("file", "here"), [("Kbuild", True), ("Makefile", True), ("ring.c", False), ("", False)]
)
def test_the_default_of_the_commands_is_a_module_of_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, here: bool
) -> None:
    """By the same rule as anywhere else; otherwise it is the one that comes with the package."""
    if file:
        write(tmp_path / "module", file)
    monkeypatch.chdir(tmp_path)

    @click.command()
    @options.module
    def show(folder: Path) -> None:
        click.echo(folder)

    shown = CliRunner().invoke(show, catch_exceptions=False).output
    assert shown == f"{'module' if here else bundled.MODULE}\n"


def test_reports_of_coverage_are_left_out(tmp_path: Path) -> None:
    """Also where the folder of the whole project is the module's; one that was there is kept."""
    reports, kept = tmp_path / "module-coverage", tmp_path / "kept"
    write(tmp_path, "Kbuild", "kept/kept.c")
    for folder in (reports, kept):
        coverage_report.make_folder(folder)
        coverage_report.make_folder(folder)
        write(folder, "module.json", "html/index.html")
    found = {str(path) for path in ModuleSource(tmp_path).files}
    assert found == {"Kbuild", "kept/kept.c", "kept/module.json", "kept/html/index.html"}
