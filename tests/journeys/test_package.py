# SPDX-License-Identifier: GPL-2.0
"""The sdist and the wheel: built, installed, and used from another folder, without the checkout."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from pyharness.pytest_plugin.target import targets_of

ROOT = Path(__file__).parent.parent.parent
# What must be allowed to run, where it is run by its name.
PROGRAMS = {"vm/host-setup", "vm/rootfs/usr/share/initramfs-tools/hooks/guest", "vm/setup.sh"}


def run(*words: str | Path, cwd: Path, **environment: str) -> str:
    """What a command says, which must end well."""
    done = subprocess.run(
        words,
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": "", "PYTEST_ADDOPTS": ""} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="session")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with the build backend, and with what installs commands."""
    folder = tmp_path_factory.mktemp("builder")
    run(sys.executable, "-m", "venv", folder, cwd=folder)
    run(folder / "bin/pip", "install", "-q", "hatchling", "pipx", "uv", cwd=folder)
    return folder / "bin"


@pytest.fixture(scope="session")
def built(builder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The sdist and the wheel, of a checkout in which something was built already."""
    checkout = tmp_path_factory.mktemp("checkout")
    names = run("git", "ls-files", cwd=ROOT).splitlines()
    for name in filter(lambda name: (ROOT / name).is_file(), names):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, checkout / name)
    for left in ("module/x.ko", "module/.x.ko.cmd", "module/x.mod.c", "artifacts/x.log"):
        (checkout / left).parent.mkdir(exist_ok=True)
        (checkout / left).touch()
    out = tmp_path_factory.mktemp("built")
    for kind in ("sdist", "wheel"):
        run(builder / "python", "-m", "hatchling", "build", "-t", kind, "-d", out, cwd=checkout)
    (sdist,), (wheel,) = out.glob("*.tar.gz"), out.glob("*.whl")
    return sdist, wheel


def record(wheel: Path) -> set[str]:
    """What is in a wheel: names, hashes and sizes."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/RECORD"))
        return {*archive.read(name).decode().splitlines()}


def test_the_sdist_builds_the_same_wheel(
    builder: Path, built: tuple[Path, Path], tmp_path: Path
) -> None:
    sdist, wheel = built
    with tarfile.open(sdist) as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", None)
        archive.extractall(tmp_path)
    (source,) = tmp_path.glob("pyharness-*")
    run(builder / "python", "-m", "hatchling", "build", "-t", "wheel", cwd=source)
    (again,) = (source / "dist").glob("*.whl")
    assert record(again) == record(wheel)
    assert not [path for path in source.rglob("*") if path.name in ("x.ko", "x.mod.c", "x.log")]


def test_the_wheel_has_all_that_it_needs(built: tuple[Path, Path]) -> None:
    _, wheel = built
    tracked = {*run("git", "ls-files", "module", "vm", "pyharness", cwd=ROOT).splitlines()}
    with zipfile.ZipFile(wheel) as archive:
        modes = {
            info.filename.removeprefix("pyharness/_data/"): info.external_attr >> 16
            for info in archive.infolist()
            if ".dist-info/" not in info.filename
        }
        (metadata,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        said = archive.read(metadata).decode()
    assert {*modes} == {name for name in tracked if (ROOT / name).is_file()}
    assert {name for name, mode in modes.items() if mode & 0o111} >= PROGRAMS
    for field in ("Author: ", "Keywords: ", "License-Expression: GPL-2.0-only", "Typed"):
        assert field in said


@pytest.mark.test_limit(1800)
def test_it_is_used_from_another_folder(
    pytestconfig: pytest.Config, built: tuple[Path, Path], tmp_path: Path
) -> None:
    guest = targets_of(pytestconfig)[0].name
    name = f"--guest={guest}"
    environment = tmp_path / "a project's environment"
    run(sys.executable, "-m", "venv", environment, cwd=tmp_path)
    run(environment / "bin/python", "-m", "pip", "install", "-q", built[1], "pytest", cwd=tmp_path)
    command = environment / "bin/pyharness"
    where = run(environment / "bin/python", "-c", "import pyharness; print(MODULE)", cwd=tmp_path)
    assert where.startswith(str(environment))
    runs = {"PYHARNESS_RUN": str(tmp_path / "run")}
    try:
        assert "interceptor.ko: built, " in run(
            command, "build", "--anew", name, cwd=tmp_path, **runs
        )
        assert re.search(
            rf"^{guest} .* image of kernel .* runs$",
            run(command, "list", cwd=tmp_path, **runs),
            re.M,
        )
    finally:
        run(command, "down", name, cwd=tmp_path, **runs)
    ring = shutil.copytree(
        ROOT / "examples" / "ring", tmp_path / "ring", ignore=shutil.ignore_patterns("artifacts")
    )
    line = (environment / "bin/python", "-m", "pytest", name, "--results=artifacts/report.json")
    assert " passed" in run(*line, "-k", "not four", cwd=ring, **runs)
    assert (ring / "artifacts" / "report.json").is_file()


def test_the_command_line_is_installed_alone(
    builder: Path, built: tuple[Path, Path], tmp_path: Path
) -> None:
    kept, programs = str(tmp_path / "kept"), tmp_path / "bin"
    places = {
        "uv": {"UV_TOOL_DIR": kept, "UV_TOOL_BIN_DIR": str(programs), "UV_PYTHON": sys.executable},
        "pipx": {"PIPX_HOME": kept, "PIPX_BIN_DIR": str(programs)},
    }
    for tool, environment in places.items():
        install = ("tool", "install") if tool == "uv" else ("install", "--python", sys.executable)
        run(builder / tool, *install, built[1], cwd=tmp_path, **environment)
        assert "version 1" in run(programs / "pyharness", "--version", cwd=tmp_path)
        shutil.rmtree(programs)
