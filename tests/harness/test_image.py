# SPDX-License-Identifier: GPL-2.0
"""What goes into an image is the project's decision, and is made apart from this host."""

import io
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import psutil
import pytest

from pyharness.host import bundled, private_mounts, supervisor
from pyharness.machine import guest_specs, image

SPEC = guest_specs.find("bookworm-i386")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """The project's files, in a checkout that was made under umask 077."""
    copy = tmp_path / "vm"
    shutil.copytree(bundled.VM, copy)
    for path in [copy, *copy.rglob("*")]:
        path.chmod(path.stat().st_mode & 0o700)
    return copy


def test_modes_of_the_checkout_make_no_other_image(files: Path) -> None:
    assert image.digest(SPEC, "key", files) == image.digest(SPEC, "key", bundled.VM)


def test_the_content_of_the_overlay_changes_the_digest(files: Path) -> None:
    before = image.digest(SPEC, "key", files)
    (files / "rootfs" / "etc" / "more").touch()
    assert image.digest(SPEC, "key", files) != before
    assert image.digest(SPEC, "other", bundled.VM) != before


def test_modes_in_an_image(files: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(image.overlay(files / "rootfs", "key"))) as tar:
        members = {member.name: member for member in tar}
    assert {(member.uid, member.gid) for member in members.values()} == {(0, 0)}
    modes = {name: oct(member.mode) for name, member in members.items()}
    assert modes.pop("root/.ssh") == "0o700"
    assert modes.pop("root/.ssh/authorized_keys") == "0o600"
    assert modes.pop("usr/share/initramfs-tools/hooks/guest") == "0o755"
    for name, mode in modes.items():
        assert mode == ("0o755" if members[name].isdir() else "0o644"), name
    assert {"etc", "etc/ssh/sshd_config.d/guest.conf"} < modes.keys()


# A chroot into a plain folder, whose / is no mount point, on a host whose mounts are shared
# with the processes that it starts. The command mounts something and says so until it is
# killed; nothing may be left, in the chroot or outside.
CHROOT = """
set -e
mount --make-rshared /
cd "$1"
for folder in $FOLDERS dev proc sys tmp; do mkdir -p root/"$folder"; done
for folder in $FOLDERS dev sys; do mount --rbind /"$folder" root/"$folder"; done
cp -P $LINKS root/
mount -t proc proc root/proc
mkdir -p "root/tmp/a odd,folder/inside" root/tmp/plain root/tmp/own
cp "$2" root/tmp/apart.py
shift
shift
chroot root sh -c '
    mkfifo /tmp/ready
    "$@" "/tmp/a odd,folder" /tmp/plain sh -c "
        mount -t tmpfs none /tmp/own && test -d /tmp/plain/inside && echo mounted > /tmp/ready
        sleep 1000" &
    timeout 60 cat /tmp/ready
    grep -c " /tmp/" /proc/self/mountinfo
    kill -9 $!
    wait $! 2> /dev/null || true
' sh "$@"
grep -c "/root/tmp/" /proc/self/mountinfo || true
"""


def test_mounts_are_apart_in_a_plain_chroot(tmp_path: Path) -> None:
    top = [path for path in Path("/").iterdir() if path.is_dir()]
    links = [str(path) for path in top if path.is_symlink()]
    used = {path.name for path in top} - {"dev", "proc", "sys", "tmp"}
    used -= {tmp_path.parts[1], *(Path(link).name for link in links)}
    # The checkout and its .venv may be in the host's /tmp, which the chroot does not have.
    *command, apart = private_mounts.COMMAND
    python = str(Path(sys.executable).resolve())
    command = [python if word == sys.executable else word for word in command] + ["/tmp/apart.py"]
    own = ["unshare", "--mount", *(["--map-root-user"] if os.geteuid() else [])]
    done = subprocess.run(
        [*own, "bash", "-c", CHROOT, "bash", str(tmp_path), apart, *command],
        env=os.environ | {"FOLDERS": " ".join(sorted(used)), "LINKS": " ".join(links)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.stdout == "mounted\n0\n0\n"


PARENT = """
import os, subprocess, sys
reading, writing = os.pipe()
words = [sys.executable, "-P", sys.argv[1], str(reading), sys.argv[2], "sh", "-c", sys.argv[3]]
subprocess.Popen(words, pass_fds=[reading]).wait()
"""


def test_a_supervised_command_ends_whole(tmp_path: Path) -> None:
    """Its parent is killed, and its processes have sessions of their own, or lost their parents."""
    folder, seconds = tmp_path / "tree", str(10_000_000 + os.getpid())
    (folder / "left").mkdir(parents=True)
    sleep = f"sleep {seconds}"
    line = f"setsid {sleep} & (setsid sh -c '{sleep} & {sleep}' &) ; {sleep}"

    def sleepers() -> int:
        lines = (process.info["cmdline"] for process in psutil.process_iter(["cmdline"]))
        return sum(words == ["sleep", seconds] for words in lines)

    program = supervisor.__file__
    with subprocess.Popen([sys.executable, "-c", PARENT, program, str(folder), line]) as parent:
        while sleepers() < 4:
            assert parent.poll() is None
        parent.kill()
    while sleepers() or folder.exists():
        pass


def test_the_supervisor_has_the_status_of_its_command(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    for line, status in (("exit 7", 7), ("kill -9 $$", 128 + 9)):
        (tmp_path / "tree").mkdir()
        assert subprocess.run(
            [sys.executable, "-P", supervisor.__file__, str(reading),
             str(tmp_path / "tree"), "sh", "-c", line],
            pass_fds=[reading], check=False,
        ).returncode == status  # fmt: skip
    os.close(reading)
    os.close(writing)
