# SPDX-License-Identifier: GPL-2.0
"""Kernels of the user's own, on an amd64 host with Debian 12: from a tree, and from packages."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
GUEST = "bookworm-amd64"
TOOLS = ("bc", "bison", "flex", "gcc", "libelf-dev", "libssl-dev", "make")
# What a project's test does with the module, on whatever kernel there is.
TEST = """
from pyharness import Guest, interceptor

def test_it_works(guest: Guest) -> None:
    assert guest.run("uname -r").stdout.strip() == guest.facts.release
    module = interceptor.load(guest)
    actor = guest.actor("nobody")
    with module.intercepted("mkdir"):
        assert module.start("mkdir", actor.pid).value == 0
        mark = guest.log.mark()
        actor.syscall("mkdir", "/tmp", 0o755)
        assert [call.pid for call in module.logged(mark)] == [actor.pid]
    module.unload()
    print("release", guest.facts.release)
"""


def run(*words: str | Path, cwd: Path = ROOT, **environment: str) -> str:
    """What a command says, which must end well."""
    done = subprocess.run(
        words,
        cwd=cwd,
        env=os.environ | {"PYTEST_ADDOPTS": ""} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


def tested(project: Path, *words: str) -> str:
    """The release of the kernel that the project's test ran on, with these options of pytest."""
    (project / "test_it.py").write_text(TEST, encoding="ascii")
    (project / "pytest.ini").touch()
    line = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rP", f"--guest={GUEST}"]
    said = run(*line, *words, cwd=project, PYHARNESS_RUN=str(project / "run"))
    found = re.search(r"^release (\S+)$", said, re.MULTILINE)
    assert found, said
    return found[1]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A kernel's tree, built with the options that a guest needs."""
    run("apt-get", "install", "-y", "-q", "linux-source-6.1", *TOOLS)
    folder = tmp_path_factory.mktemp("tree")
    run("tar", "-C", folder, "-xf", "/usr/src/linux-source-6.1.tar.xz")
    tree = folder / "linux-source-6.1"
    run("make", "-s", "tinyconfig", cwd=tree)
    with (tree / ".config").open("a", encoding="ascii") as config:
        for name in ("base.config", f"base-{GUEST.rpartition('-')[2]}.config"):
            config.write((ROOT / "vm" / "kernel" / name).read_text(encoding="ascii"))
    run("make", "-s", "olddefconfig", cwd=tree)
    run("make", "-s", f"-j{os.cpu_count()}", cwd=tree)
    return tree


@pytest.mark.test_limit(7200)
def test_a_tree_and_the_tree_built_again(tree: Path, tmp_path: Path) -> None:
    release = run("make", "-s", "kernelrelease", cwd=tree).strip()
    assert tested(tmp_path, f"--kernel={tree}") == release
    run("scripts/config", "--set-str", "LOCALVERSION", "-again", cwd=tree)
    run("make", "-s", f"-j{os.cpu_count()}", cwd=tree)
    assert tested(tmp_path, f"--kernel={tree}") == f"{release}-again"


@pytest.mark.test_limit(7200)
def test_a_tree_that_lacks_a_driver_is_refused_at_once(tree: Path, tmp_path: Path) -> None:
    config = tree / ".config"
    whole = config.read_text(encoding="ascii")
    config.write_text(whole.replace("CONFIG_VIRTIO_BLK=y", ""), encoding="ascii")
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pyharness", "up", GUEST, "--kernel", tree],
            env=os.environ | {"PYHARNESS_RUN": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        config.write_text(whole, encoding="ascii")
    assert done.returncode == 2
    assert "  CONFIG_VIRTIO_BLK=y (the disk)" in done.stderr, done.stderr


@pytest.mark.test_limit(3600)
def test_packages(tmp_path: Path) -> None:
    """Those of another flavour, which the guest's suite has, as files."""
    depends = run("apt-cache", "depends", "linux-image-cloud-amd64")
    (image,) = re.findall(r"Depends: (linux-image-\S+)", depends)
    headers = image.replace("image", "headers")
    depends = run("apt-cache", "depends", headers)
    common = re.findall(r"Depends: (linux-headers-\S+-common|linux-kbuild-\S+)", depends)
    run("apt-get", "download", image, headers, *common, cwd=tmp_path)
    release = image.removeprefix("linux-image-")
    (kernel,) = tmp_path.glob(f"{image}_*.deb")
    others = [path for path in tmp_path.glob("*.deb") if path != kernel]
    words = [f"--kernel={path}" for path in (kernel, *others)]
    assert tested(tmp_path, *words) == release
    with pytest.raises(AssertionError, match="comes without headers"):
        tested(tmp_path, words[0])
