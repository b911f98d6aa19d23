# SPDX-License-Identifier: GPL-2.0
"""What a host needs: the table, how it is installed by distribution, and what a user may do."""

import shutil
import subprocess
from collections import namedtuple
from pathlib import Path

import pytest

from pyharness.cli import doctor
from pyharness.errors import HostError
from pyharness.host import bundled, packages, privileges, programs
from pyharness.machine import image
from pyharness.machine.image import Image

TABLE = """
install debian apt-get install --yes
refresh debian apt-get update
install fedora dnf install

host   there-is-none  the-package  -          runs what is tested
arm64  nor-of-this    the-package  arm-things  runs more
host   sh             dash         bash       is there
"""
DEBIAN = "ID=debian\n"
CRLF = "ID='debian'\r\n"
UBUNTU = 'NAME="Ubuntu"\nID=ubuntu\nID_LIKE=debian\n'
FEDORA = "ID=fedora\n"
RHEL = 'ID="rhel"\nID_LIKE="fedora"\n'
UNKNOWN = "ID=unheard-of\n"


def set_up(
    folder: Path, os_release: str, *words: str, table: str = TABLE
) -> "subprocess.CompletedProcess[str]":
    """Run host-setup on a host of that distribution, whose package managers print their calls."""
    shutil.copy(bundled.VM / "host-setup", folder / "host-setup")
    (folder / "host-packages").write_text(table, encoding="ascii")
    (folder / "os-release").write_text(os_release, encoding="ascii")
    for name in ("apt-get", "dnf", "sudo"):
        program = folder / name
        shown = 'shift\nexec "$@"\n' if name == "sudo" else f'echo "{name} $*"\n'
        program.write_text(f"#!/bin/sh\n{shown}", encoding="ascii")
        program.chmod(0o755)
    line = 'mount --bind "$1" /etc/os-release && shift && exec sh "$@"'
    namespace = ["unshare", "--map-root-user", "--mount", "--", "sh", "-c", line, "sh"]
    return subprocess.run(
        [*namespace, str(folder / "os-release"), str(folder / "host-setup"), *words],
        env={"PATH": f"{folder}:/usr/sbin:/usr/bin:/sbin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("os_release", [DEBIAN, UBUNTU, CRLF])
def test_it_installs_what_is_missing(tmp_path: Path, os_release: str) -> None:
    done = set_up(tmp_path, os_release)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "installing: the-package",
        "apt-get update",
        "apt-get install --yes the-package",
    ]


def test_it_lists_what_is_missing(tmp_path: Path) -> None:
    done = set_up(tmp_path, DEBIAN, "--list")
    assert (done.returncode, done.stdout) == (0, "there-is-none\n")


@pytest.mark.parametrize("os_release", [FEDORA, RHEL, UNKNOWN, ""])
def test_where_it_can_not_install_it_names_the_programs_and_the_container(
    tmp_path: Path, os_release: str
) -> None:
    done = set_up(tmp_path, os_release)
    assert done.returncode == 3
    assert done.stdout == ""
    assert "\n  there-is-none\n" in done.stderr
    assert "make container" in done.stderr


def test_it_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    done = set_up(tmp_path, DEBIAN, "m68k")
    assert done.returncode == 2
    assert "unknown argument 'm68k'" in done.stderr


def test_a_package_manager_that_fails_is_reported(tmp_path: Path) -> None:
    done = set_up(tmp_path, DEBIAN, table=TABLE.replace("apt-get update", "false"))
    assert done.returncode == 3
    assert "host-setup could not refresh the package lists (false)" in done.stderr
    done = set_up(tmp_path, DEBIAN, table=TABLE.replace("apt-get install", "false"))
    assert done.returncode == 3
    assert "host-setup could not install the-package" in done.stderr


def test_each_need_has_a_package_in_each_family() -> None:
    table = packages.table()
    assert set(table.install) == {"debian", "fedora", "arch"}
    for need in table.needs:
        assert need.packages.keys() == table.install.keys(), need
        assert need.purpose, need


@pytest.mark.parametrize(
    ("os_release", "missing", "said"),
    [
        (DEBIAN, ["there-is-none"], "pyharness setup (or apt-get install the-package)"),
        (UBUNTU, ["nor-of-this"], "pyharness setup arm64 (or apt-get install the-package)"),
        (FEDORA, ["nor-of-this"], "pyharness setup arm64 (or dnf install arm-things)"),
        (FEDORA, ["there-is-none"], "work in a container"),
        (UNKNOWN, ["nor-of-this"], "work in a container"),
        (DEBIAN, ["not-in-the-table"], "by hand"),
        (CRLF, ["there-is-none"], "apt-get install the-package"),
    ],
)
def test_advice(os_release: str, missing: list[str], said: str) -> None:
    table = packages.parse(TABLE)
    assert said in table.advice(missing, table.family(os_release))


def test_a_missing_program_is_reported_with_the_fix(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(packages, "_OS_RELEASE", tmp_path / "os-release")
    (tmp_path / "os-release").write_text(DEBIAN, encoding="ascii")
    fix = r"pyharness setup \(or apt-get install mmdebstrap\)"
    with pytest.raises(HostError, match=rf"^mmdebstrap not found: {fix}$"):
        programs.requires("mmdebstrap")


@pytest.mark.parametrize(
    ("files", "fix"),
    [
        ({}, "sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 student"),
        ({"/etc/subuid": "other:100000:65536\n"}, "sudo usermod --add-subuids 165536-231071"),
        ({"/etc/subuid": "student:100000:65536\n"}, "sudo usermod --add-subuids 165536-231071"),
        (
            {"/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1\n"},
            "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        (
            {"/proc/sys/kernel/unprivileged_userns_clone": "0\n"},
            "sudo sysctl kernel.unprivileged_userns_clone=1",
        ),
        ({"/proc/sys/user/max_user_namespaces": "0\n"}, "sudo sysctl user.max_user_namespaces="),
        ({"/proc/sys/user/max_user_namespaces": "9\n"}, "start the container with --privileged"),
    ],
)
def test_forbidden_user_namespaces_are_reported_with_the_fix(
    files: dict[str, str], fix: str
) -> None:
    ids = {"/etc/subuid": "student:100000:65536\n", "/etc/subgid": "1000:100000:65536\n"}
    files = files if not any("/proc" in name for name in files) else ids | files
    found = privileges.why_no_user_namespace(
        "student", 1000, read=lambda name: files.get(name, ""), printed="E: no\nE: unshare: EPERM\n"
    )
    assert fix in found.fix


@pytest.mark.parametrize(
    ("group_may", "is_member", "fix"),
    [
        (True, False, "sudo usermod --append --groups kvm student, then log in again"),
        (True, True, "log in again"),
        (False, False, "sudo setfacl --modify user:student:rw /dev/kvm"),
    ],
)
def test_a_device_that_a_user_may_not_use(group_may: bool, is_member: bool, fix: str) -> None:
    found = privileges.why_no_access(
        "/dev/kvm", user="student", group="kvm", group_may=group_may, is_member=is_member
    )
    assert "student may not use /dev/kvm" in str(found)
    assert found.fix.startswith(fix)


def in_container(
    folder: Path, *engines: str, cache: str = ""
) -> "subprocess.CompletedProcess[str]":
    """Run in-container where there are engines that print their calls, and just what it needs."""
    for name in ("sh", "dirname", "mkdir"):
        program = shutil.which(name)
        assert program
        (folder / name).symlink_to(program)
    for name in engines:
        (folder / name).write_text(f'#!/bin/sh\necho "{name} $*"\n', encoding="ascii")
        (folder / name).chmod(0o755)
    return subprocess.run(
        [str(bundled.VM / "in-container"), "make", "test"],
        env={"PATH": str(folder), "PYHARNESS_CACHE": cache or str(folder / "cache")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("engines", [("podman", "docker"), ("docker",)])
def test_in_container(tmp_path: Path, engines: tuple[str, ...]) -> None:
    done = in_container(tmp_path, *engines)
    assert done.returncode == 0, done.stderr
    build, run = done.stdout.splitlines()
    top = bundled.VM.parent
    assert build == f"{engines[0]} build --tag pyharness --file {top}/Containerfile {top}/vm"
    assert run.startswith(f"{engines[0]} run --rm --privileged")
    assert f"--mount type=bind,source={top},target={top} " in run
    assert f"--mount type=bind,source={tmp_path}/cache,target=/var/cache/pyharness" in run
    assert run.endswith(" pyharness make test")


def test_without_a_container_engine_it_names_both(tmp_path: Path) -> None:
    done = in_container(tmp_path)
    assert done.returncode == 3
    assert "neither podman nor docker is installed" in done.stderr


Usage = namedtuple("Usage", "total used free")
MADE = Image(folder=Path("made"), release="6.1", version="1", host_key="key")


@pytest.mark.parametrize(
    ("free", "made", "good"),
    [
        (image.ROOM, None, True),
        (image.ROOM - 1, None, False),
        (image.ROOM - 1, MADE, True),  # what takes the room is there
        (1 << 20, MADE, False),
    ],
)
def test_doctor_asks_for_the_room_that_is_still_needed(
    monkeypatch: pytest.MonkeyPatch, free: int, made: Image | None, good: bool
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage(free, 0, free))
    found = doctor._space(made)
    assert found.good == good
    assert ("make room" in found.fix) != good


@pytest.mark.parametrize(
    ("free", "takes_programs", "what"),
    [(1 << 20, True, "/tmp has 1 MiB free"), (1 << 40, False, "noexec"), (1 << 40, True, "")],
)
def test_a_place_for_temporary_files(free: int, takes_programs: bool, what: str) -> None:
    found = privileges.why_no_place(Path("/tmp"), free=free, takes_programs=takes_programs)
    assert (what in str(found) and "TMPDIR" in str(found)) if what else found is None


def test_an_attempt_that_hangs_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(privileges, "_SECONDS", 0.1)
    assert privileges._works("sleep", "100") == (False, "sleep timed out after 0 s")


def test_a_container_engine_gets_no_relative_path(tmp_path: Path) -> None:
    done = in_container(tmp_path, "podman", cache="rel")
    assert done.returncode == 2
    assert "PYHARNESS_CACHE=rel depends on the current folder" in done.stderr
