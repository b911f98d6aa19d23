# SPDX-License-Identifier: GPL-2.0
"""What runs in a guest's tree on this host can't leave it, and half a tree is none."""

import os
import platform
import shutil
import subprocess
from pathlib import Path

import pytest

from pyharness import HostError
from pyharness.guest.compilers import OnHost
from pyharness.guest.module_source import ModuleSource
from pyharness.host import cache
from pyharness.host.programs import which
from pyharness.machine import root_tree
from pyharness.machine.image import Image
from pyharness.machine.root_tree import RootTree

PROGRAMS = ("sh", "env", "true", "cat", "chroot", "mknod", "mount", "unshare", "ln", "mkfifo")
NATIVE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), "i386")


@pytest.fixture
def tree(tmp_path: Path) -> RootTree:
    """A tree that has some programs of this host."""
    if not root_tree._can_enter():
        pytest.skip("this user may not make namespaces")
    folder = tmp_path / "tree"
    for name in ("proc", "tmp", "root/build", "dev", "usr/bin"):
        (folder / name).mkdir(parents=True)
    (folder / "bin").symlink_to("usr/bin")
    for device in root_tree._DEVICES:
        (folder / "dev" / device).touch()
    for program in PROGRAMS:
        found = which(program)
        assert found
        shutil.copy(found, folder / "usr/bin" / program)
        needed = subprocess.run(["ldd", found], capture_output=True, text=True, check=False)
        for library in (word for word in needed.stdout.split() if word.startswith("/")):
            copy = folder / library[1:]
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, copy)
    return RootTree(folder, NATIVE)


def ran(tree: RootTree, script: str) -> tuple[int, str]:
    with tree.work() as work:
        done = tree.run(["sh", "-c", script], work, seconds=60)
    return done.status, done.output


def test_a_command_may_write_where_it_works(tree: RootTree) -> None:
    script = "cd /root/build && echo a > x && echo b >> x && cat x /dev/null && echo c > /tmp/x"
    assert ran(tree, script) == (0, "a\nb\n")


@pytest.mark.parametrize(
    "attempt",
    [
        "echo x > /seen",
        "mount -t tmpfs none /tmp",
        "mount -o remount,bind,rw /",
        "mount -o remount,bind,rw /proc",
        "mknod /root/build/null c 1 3 && echo x > /root/build/null",
        "chroot / true",
        "unshare --user true",
        "cat /proc/sys/kernel/domainname > /tmp/x; cat /tmp/x > /proc/sys/kernel/domainname",
        "echo h > /proc/sysrq-trigger",
    ],
)
def test_a_command_can_neither_leave_its_tree_nor_change_this_host(
    tree: RootTree, attempt: str
) -> None:
    status, output = ran(tree, f"{{ {attempt}; }} && echo succeeded")
    assert status, output
    assert "succeeded" not in output


def test_a_command_reaches_no_network_and_no_other_process(tree: RootTree) -> None:
    status, output = ran(tree, "cat /proc/net/dev; echo /proc/[0-9]*")
    assert not status
    devices = [line.split(":")[0].strip() for line in output.splitlines() if ":" in line]
    assert devices == ["lo"]
    assert len(output.splitlines()[-1].split()) <= 4


def test_a_build_hands_out_no_file_of_this_host(tree: RootTree, tmp_path: Path) -> None:
    """It leaves links to them, and a pipe that nobody writes to."""
    secret = tmp_path / "secret"
    secret.write_text("secret", encoding="ascii")
    make = tree.folder / "usr/bin/make"
    make.write_text(
        f"#!/bin/sh\ncd $2 && echo built > m.ko && ln -s m.ko same.ko && ln -s {secret} n.ko &&"
        f" ln -s {secret} Module.symvers && ln -s {secret} n.gcno && ln -s /nowhere o.ko &&"
        " mkfifo p.ko\n",
        encoding="ascii",
    )
    make.chmod(0o755)
    source = tmp_path / "source"
    source.mkdir()
    (source / "Kbuild").write_text("obj-m := m.o\n", encoding="ascii")
    made = OnHost(tree).make(ModuleSource(source), "m", (), {})
    assert made.status == 0, made.output
    assert made.modules == {"m.ko": b"built\n", "same.ko": b"built\n"}
    assert made.symbols == ""
    assert made.notes == {}


@pytest.fixture
def image(tmp_path: Path) -> Image:
    """An image whose disk has a program and a large file."""
    root, folder = tmp_path / "root", tmp_path / "images" / "some-guest-0123456789ab"
    for name in ("boot", "usr/bin", "var", "dev", "tmp", "root"):
        (root / name).mkdir(parents=True)
    (root / "usr/bin/make").write_bytes(b"make")
    (root / "usr/bin/cc").write_bytes(bytes(range(256)) * (1 << 12))
    folder.mkdir(parents=True)
    made = Image(folder=folder, release="6.1", version="1", host_key="key")
    mkfs = which("mke2fs")
    if not (mkfs and which("debugfs")):
        pytest.skip("this host lacks e2fsprogs")
    subprocess.run([mkfs, "-q", "-t", "ext4", "-d", str(root), str(made.root), "16M"], check=True)
    return made


def made_from(image: Image, monkeypatch: pytest.MonkeyPatch, folder: Path) -> RootTree | None:
    monkeypatch.setenv("PYHARNESS_CACHE", str(folder))
    monkeypatch.setattr(root_tree, "_works", lambda _tree: True)
    monkeypatch.setattr(root_tree, "_can_enter", lambda: True)
    monkeypatch.setattr(root_tree, "_ROOM", 0)
    return root_tree.ensure(image, image.kernel, NATIVE)


@pytest.mark.parametrize("name", ["plain", "sp ace", 'dou"ble', "sin'gle", "a\\b", "$HOME"])
def test_a_tree_is_made_in_any_cache(
    image: Image, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    made = made_from(image, monkeypatch, tmp_path / name)
    assert made
    assert (made.folder / "usr/bin/make").read_bytes() == b"make"
    assert (made.folder / "usr/bin/cc").stat().st_size == 1 << 20


def test_a_tree_that_lacks_something_is_an_error(
    image: Image, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As when the disk is full, or a quota is used up: no file may be longer than 64 KiB."""
    real, stand_in = which("debugfs"), tmp_path / "programs" / "debugfs"
    stand_in.parent.mkdir()
    limited = f"#!/bin/sh\ntrap '' XFSZ\nulimit -f 128\nexec {real} \"$@\"\n"
    stand_in.write_text(limited, encoding="ascii")
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", f"{stand_in.parent}:{os.environ['PATH']}")
    with pytest.raises(HostError, match=r"can't be unpacked to .*: rdump: .* while writing"):
        made_from(image, monkeypatch, tmp_path / "cache")
    assert not [*cache.folder().glob("trees/*/tree.json")]
