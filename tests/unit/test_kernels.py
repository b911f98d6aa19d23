# SPDX-License-Identifier: GPL-2.0
"""Kernels of one's own: what a configuration lacks, and which kernel a guest boots."""

import os
import tarfile
from pathlib import Path

import pytest

from pyharness import UsageError
from pyharness.host import bundled, cache, programs
from pyharness.linux import kernel_config
from pyharness.machine import (
    accelerator,
    command_line,
    guest_specs,
    in_use,
    kernel,
    kernel_packages,
    kernel_source,
    kernel_tree,
    project_guests,
)

WHOLE = """
# CONFIG_LOCALVERSION_AUTO is not set
CONFIG_CC_VERSION_TEXT="x86_64-linux-gnu-gcc (Debian) 12.2"
CONFIG_X86_64=y
""" + "\n".join(
    f"CONFIG_{name}=y"
    for names in (*kernel_config._REQUIRED.values(), ("SERIAL_8250_CONSOLE",))
    for name in names
)
SPEC = guest_specs.find("bookworm-amd64")
CONTROL = "Package: a\nVersion: 1\nArchitecture: all\nMaintainer: a <a@b>\nDescription: a\n"


def tree(folder: Path, config: str = WHOLE, *, built: bool = True) -> kernel_tree.KernelTree:
    (folder / "arch/x86/boot").mkdir(parents=True)
    (folder / ".config").write_text(config, encoding="ascii")
    for name in ("arch/x86/boot/bzImage", "vmlinux", "Module.symvers"):
        if built:
            (folder / name).touch()
    return kernel_tree.KernelTree(folder)


def test_a_configuration_is_parsed() -> None:
    parsed = kernel_config.parse('CONFIG_A=y\nCONFIG_B=m\n# CONFIG_C is not set\nCONFIG_D="a=b"\n')
    assert parsed == {"A": "y", "B": "m", "D": "a=b"}


@pytest.mark.parametrize(
    ("changed", "has_initrd", "lacks"),
    [
        ("CONFIG_VIRTIO_BLK=y", False, ""),
        ("CONFIG_VIRTIO_BLK=m", False, "CONFIG_VIRTIO_BLK=y (the disk)"),
        ("CONFIG_VIRTIO_BLK=m", True, ""),
        ("# CONFIG_VIRTIO_BLK is not set", True, "CONFIG_VIRTIO_BLK=y (the disk)"),
    ],
)
def test_what_a_kernel_lacks(changed: str, has_initrd: bool, lacks: str) -> None:
    config = kernel_config.parse(WHOLE.replace("CONFIG_VIRTIO_BLK=y", changed))
    missing = kernel_config.missing(config, "amd64", has_initrd=has_initrd)
    assert "".join(map(str, missing)) == lacks


def test_each_base_fragment_has_what_a_guest_needs() -> None:
    for name in ("bookworm-amd64", "bookworm-i386"):
        config = kernel_config.parse(kernel_source.config_of(guest_specs.find(name)))
        lacks = [one for miss in kernel_config.missing(config, name[9:]) for one in miss.options]
        assert not lacks, name


def test_a_tree_that_is_built_is_accepted(tmp_path: Path) -> None:
    good = tree(tmp_path)
    good.check(SPEC)
    assert good.flags == ["ARCH=x86_64", "CROSS_COMPILE=x86_64-linux-gnu-"]


@pytest.mark.parametrize(
    ("config", "built", "said"),
    [
        (WHOLE, False, "has no arch/x86/boot/bzImage: build the kernel"),
        (WHOLE.replace("X86_64", "X86_32"), True, "for i386, and bookworm-amd64 is of amd64"),
        (WHOLE.replace("X86_64", "SPARC"), True, "for another architecture"),
        (WHOLE.replace("CONFIG_EXT4_FS=y", ""), True, "CONFIG_EXT4_FS=y"),
    ],
)
def test_a_tree_that_no_guest_can_boot_is_refused(
    tmp_path: Path, config: str, built: bool, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        tree(tmp_path, config, built=built).check(SPEC)


def test_a_folder_that_is_no_tree_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a kernel's tree"):
        kernel_tree.KernelTree(tmp_path).check(SPEC)


def test_a_tree_that_was_built_again_is_another(tmp_path: Path) -> None:
    built = tree(tmp_path)
    before = built.digest()
    assert built.digest() == before
    (tmp_path / "modules.order").write_text("fs/one.ko\ndrivers/two.o\n", encoding="ascii")
    (tmp_path / "drivers").mkdir()
    with_list = built.digest()
    (tmp_path / "drivers/two.ko").touch()
    assert len({before, with_list, built.digest()}) == 3


def test_clang_is_used_for_a_tree_that_it_built(tmp_path: Path) -> None:
    assert tree(tmp_path, f"{WHOLE}\nCONFIG_CC_IS_CLANG=y").flags == ["ARCH=x86_64", "LLVM=1"]


def test_the_environment_names_a_kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(guest_specs.KERNEL_VARIABLE, "")  # so that the change is undone
    guest_specs.choose_kernel([tmp_path])
    assert guest_specs.find().kernel_tree == str(tmp_path)
    packages = [tmp_path / "image.deb", tmp_path / "headers.deb"]
    guest_specs.choose_kernel(packages)
    with pytest.raises(UsageError, match=r"image\.deb is not a kernel"):
        guest_specs.find()
    for package in packages:
        package.touch()
    found = guest_specs.find("bookworm-amd64")
    assert found.kernel_packages == tuple(map(str, packages))
    assert "linux-image-amd64" not in found.all_packages
    assert "linux-image-amd64" in SPEC.all_packages


def test_a_guest_like_another_shares_its_image_if_it_can() -> None:
    text = """
    [one]
    like = "i386"
    suite = "bookworm"
    [same]
    like = "one"
    memory = 1024
    [again]
    like = "same"
    [other]
    like = "one"
    disk = 8192
    """
    head = (bundled.VM / "guests.toml").read_text(encoding="utf-8")
    specs = guest_specs.parse(head.partition("[bookworm-i386]")[0] + text)
    images = {spec.name: (spec.image, spec.memory) for spec in specs.values()}
    assert images == {
        "one": ("one", 512), "same": ("one", 1024), "again": ("one", 1024), "other": ("other", 512)
    }  # fmt: skip


PROJECT = """
[tool.pyharness.guests.mine]
like = "bookworm-amd64"
tools = ["iperf3"]
config = ["mine.config", "debug.config"]
kernel_source = "linux-source-6.1"
qemu_arguments = ["-device", "virtio-balloon-pci"]
"""


def test_a_project_has_guests_of_its_own(tmp_path: Path) -> None:
    project = tmp_path / "pyproject.toml"
    project.write_text(PROJECT, encoding="utf-8")
    (tmp_path / "mine.config").write_text("CONFIG_MINE=y\n", encoding="ascii")
    own = (bundled.VM / "guests.toml").read_text(encoding="utf-8")
    mine = guest_specs.parse(own, project_guests.read(project))["mine"]
    assert mine.image == "mine"
    assert "iperf3" in mine.all_packages
    assert mine.config == (str(tmp_path / "mine.config"), "debug.config")
    assert "CONFIG_MINE=y" in kernel_source.config_of(mine)
    assert "CONFIG_FAILSLAB=y" in kernel_source.config_of(mine)
    line = command_line.for_guest(
        mine,
        kernel.Kernel(folder=tmp_path, release="", version=""),
        accelerator.tcg(""),
        port=1,
    )
    assert line[-2:] == ["-device", "virtio-balloon-pci"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("guests.mine", "guests.bookworm-i386", "called 'bookworm-i386', as there is one"),
        ("guests.mine", 'guests."My guest"', "other characters"),
        ("bookworm-amd64", "nosuch", r"no \[nosuch\] above"),
        ("tools =", "tool =", "unknown key 'tool'"),
        (
            "[tool.pyharness.guests.mine]",
            "[tool.pyharness]\nguests.mine = 1\n[x]",
            "is not a table",
        ),
        ("like", "like like", r"pyproject\.toml: "),
        (
            "[tool.pyharness.guests.mine]",
            "[tool.pyharness]\nguests = 1\n[x]",
            "guests is not a table",
        ),
        (
            "[tool.pyharness.guests.mine]",
            "[tool]\npyharness = 1\n[x]",
            "tool.pyharness is not a table",
        ),
    ],
)
def test_a_guest_of_a_project_that_is_wrong(tmp_path: Path, old: str, new: str, said: str) -> None:
    project = tmp_path / "pyproject.toml"
    project.write_text(PROJECT.replace(old, new), encoding="utf-8")
    own = (bundled.VM / "guests.toml").read_text(encoding="utf-8")
    with pytest.raises(UsageError, match=said):
        guest_specs.parse(own, project_guests.read(project))


def test_a_packed_kernel_is_read_back_only_if_it_is_whole(tmp_path: Path) -> None:
    for name in ("vmlinuz", "files.tar.gz"):
        (tmp_path / name).touch()
    (tmp_path / "facts").write_text("6.1.0\n#1 SMP\n6.1.0 SMP mod_unload\n", encoding="ascii")
    kernel.write_facts(tmp_path)
    read = kernel.read(tmp_path)
    assert read
    assert (read.release, read.initrd, read.vermagic) == ("6.1.0", None, "6.1.0 SMP mod_unload")
    (tmp_path / "files.tar.gz").unlink()
    assert kernel.read(tmp_path) is None


def test_what_a_build_has_made_is_unpacked(tmp_path: Path) -> None:
    packed, folder = tmp_path / "out.tar", tmp_path / "kernel"
    (tmp_path / "bzImage").write_bytes(b"kernel")
    with tarfile.open(packed, "w") as tar:
        tar.add(tmp_path / "bzImage", "./bzImage")
    kernel_source.unpack(packed, folder)
    assert (folder / "bzImage").read_bytes() == b"kernel"
    packed.write_bytes(b"no archive")
    with pytest.raises(tarfile.TarError):
        kernel_source.unpack(packed, folder)


def test_a_kernel_that_is_named_replaces_any_other(tmp_path: Path) -> None:
    package = tmp_path / "image.deb"
    package.touch()
    for named, key in ((tmp_path, "kernel_tree"), (package, "kernel_packages")):
        chosen = guest_specs._kernel_of(str(named))
        assert chosen.keys() == {"kernel_tree", "kernel_packages", "kernel_source"}
        assert [name for name, value in chosen.items() if value] == [key]


@pytest.mark.skipif(not programs.which("dpkg-deb"), reason="this host has no dpkg-deb")
def test_a_package_may_have_any_bytes(tmp_path: Path) -> None:
    for name, text in (("DEBIAN/control", CONTROL), ("boot/config-6.1.0", "# \udcff\n" + WHOLE)):
        path = tmp_path / "package" / name
        path.parent.mkdir(parents=True)
        path.write_text(text, encoding="utf-8", errors="surrogateescape")
    file = tmp_path / "image.deb"
    programs.run("dpkg-deb", "--build", str(tmp_path / "package"), str(file))
    _, config = kernel_packages._read(str(file))
    assert config == "# \ufffd\n" + WHOLE
    odd = os.fsdecode(b"no-package-\xff.deb")
    with pytest.raises(UsageError, match="is not a Debian package: "):
        kernel_packages._read(str(tmp_path / odd))


def test_nothing_is_packed_where_a_makefile_would_take_it_for_two_folders(tmp_path: Path) -> None:
    odd = tmp_path / "my files" / "out"
    (tmp_path / "my").mkdir()
    done = programs.completed("sh", str(kernel_tree._PACK), str(tmp_path), str(odd))
    assert done.returncode == 1
    assert "can't install to" in done.stderr
    assert (tmp_path / "my").is_dir()
    assert not odd.parent.exists()


def test_a_state_that_a_machine_was_started_from_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYHARNESS_CACHE", str(tmp_path))
    monkeypatch.delenv("PYHARNESS_RUN", raising=False)
    states = tmp_path / "saved-states"
    used, unused, new = (states / f"one-{digit * 12}" for digit in "abc")
    for state in (used, unused):
        state.mkdir(parents=True)
        os.utime(state, (0, 0))
    machine = tmp_path / "run" / "one"
    machine.mkdir(parents=True)
    (machine / in_use.STARTED_FROM).symlink_to(used)
    with cache.atomic_folder(new, siblings="one", unused_seconds=1, keep=in_use.saved_states()):
        pass
    assert sorted(states.iterdir()) == [used, new]
