# SPDX-License-Identifier: GPL-2.0
"""Vagrant's commands, as a person types them, on the guest that pyharness runs."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyharness.machine import lifecycle
from pyharness.machine.qemu_process import Machine

ROOT = Path(__file__).parent.parent.parent
SECONDS = 600


class Vagrant:
    """Vagrant, with machines and state of its own."""

    def __init__(self, folder: Path) -> None:
        self.run = folder / "run"
        self.env = os.environ | {
            "PYHARNESS_RUN": str(self.run),
            "VAGRANT_DOTFILE_PATH": str(folder / "vagrant"),
            "VAGRANT_HOME": str(folder / "home"),
            "VAGRANT_CHECKPOINT_DISABLE": "1",
            "VAGRANT_DEFAULT_PROVIDER": "qemu",
        }

    def __call__(self, *words: str, status: int = 0) -> str:
        done = subprocess.run(
            ["vagrant", *words],
            cwd=ROOT,
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        said = done.stdout + done.stderr
        assert done.returncode == status, said
        return said

    def ssh(self, command: str, status: int = 0) -> str:
        return self("ssh", "--no-tty", "-c", command, status=status)

    def state(self) -> str:
        found = re.search(r"^\d+,default,state,(.*)$", self("status", "--machine-readable"), re.M)
        assert found
        return found[1]

    def loads(self) -> None:
        """Make sure that the module is there to be loaded."""
        module = "module/interceptor.ko"
        self.ssh(f"insmod {module} && test -e /proc/interceptor && rmmod interceptor")

    def machine(self) -> Machine:
        (folder,) = self.run.iterdir()
        machine = Machine.of(folder)
        assert machine
        return machine


@pytest.fixture(scope="module")
def vagrant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vagrant]:
    """Vagrant, with a guest that is up."""
    typed = Vagrant(tmp_path_factory.mktemp("vagrant"))
    assert "ready: insmod /root/module/interceptor.ko" in typed("up")
    yield typed
    typed("destroy", "--force")
    assert typed.state() == "not_created"
    assert "There is no guest" in typed("destroy", "--force")


pytestmark = [pytest.mark.test_limit(1800), pytest.mark.usefixtures("guest")]


def test_up_is_repeatable_and_leaves_a_module_to_load(vagrant: Vagrant) -> None:
    assert vagrant.state() == "running"
    vagrant("up")
    vagrant.loads()
    assert vagrant.ssh("exit 7", status=7) == ""
    config = vagrant("ssh-config")
    assert "HostName 127.0.0.1" in config
    assert f"Port {vagrant.machine().port}" in config


def test_pytest_uses_it(vagrant: Vagrant) -> None:
    for words in ((), ("--guest=vagrant",)):
        done = subprocess.run(
            [
                sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *words,
                "tests/contract/test_intercept.py", "-k", "every_number",
            ],
            cwd=ROOT, env=vagrant.env, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert "the one that Vagrant runs" in done.stdout, done.stdout + done.stderr
        assert done.returncode == 0, done.stdout
    (machine,) = vagrant.run.iterdir()  # and no other was started
    assert machine.name == vagrant.machine().guest


def test_provision_and_rsync(vagrant: Vagrant) -> None:
    vagrant.ssh("rm module/interceptor.c module/interceptor.ko")
    vagrant("rsync")
    vagrant.ssh("test -e module/interceptor.c")
    assert "ready: insmod" in vagrant("provision")
    vagrant.ssh("test -e module/interceptor.ko")


def test_snapshots(vagrant: Vagrant) -> None:
    vagrant("snapshot", "save", "before")
    vagrant.ssh("touch /root/after")
    assert "before" in vagrant("snapshot", "list")
    vagrant("snapshot", "restore", "--no-provision", "before")
    vagrant.ssh("test -e /root/after", status=1)
    vagrant("snapshot", "delete", "before")
    assert "before" not in vagrant("snapshot", "list")


def test_suspend_and_resume(vagrant: Vagrant) -> None:
    vagrant.ssh("touch /run/in-memory")
    vagrant("suspend")
    assert vagrant.state() == "saved"
    vagrant("ssh", "-c", "true", status=1)
    vagrant("resume")
    assert vagrant.state() == "running"
    vagrant.ssh("test -e /run/in-memory")


def test_halt_up_and_reload(vagrant: Vagrant) -> None:
    vagrant.ssh("touch /run/in-memory /root/on-disk")
    vagrant("halt")
    assert vagrant.state() == "poweroff"
    vagrant("up")
    vagrant.ssh("test -e /root/on-disk && test ! -e /run/in-memory && touch /run/in-memory")
    vagrant("reload")
    vagrant.ssh("test -e /root/on-disk && test ! -e /run/in-memory")


@pytest.mark.parametrize("how", ["panic", "kill"])
def test_right_after_a_crash(vagrant: Vagrant, how: str) -> None:
    machine = vagrant.machine()
    if how == "kill":
        os.kill(machine.pid, signal.SIGKILL)
        while machine.alive:
            pass
    else:
        machine.qmp("inject-nmi")
        while machine.status() == "running":
            pass
    assert vagrant.state() == "aborted"
    if how == "panic":
        vagrant("destroy", "--force")
    said = vagrant("up")
    assert ("has exited, and the guest's state is lost" in said) == (how == "kill")
    assert "ready: insmod" in said
    assert vagrant.state() == "running"
    vagrant.loads()


def test_a_machine_that_was_ended_outside_vagrant(vagrant: Vagrant) -> None:
    lifecycle.end(vagrant.machine())
    assert vagrant.state() == "not_created"
    vagrant("up")
    assert vagrant.state() == "running"
    vagrant.loads()


def test_a_machine_that_was_reset_outside_vagrant(vagrant: Vagrant) -> None:
    line = [sys.executable, "-m", "pyharness", "reset", vagrant.machine().guest]
    subprocess.run(line, env=vagrant.env, check=True)
    assert "ready: insmod" in vagrant("up")
    vagrant.loads()
    assert "already provisioned" in vagrant("up")
