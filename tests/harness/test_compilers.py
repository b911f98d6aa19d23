# SPDX-License-Identifier: GPL-2.0
"""Modules are built on this host as they are built in the guest."""

import platform
from pathlib import Path

import pytest

from pyharness import CheckFailed, Guest
from pyharness.guest.compilers import Compiler, InGuest, OnHost
from pyharness.guest.module_source import ModuleSource

MODULE = Path(__file__).parents[1] / "modules" / "tryout"
FLAGS = ("W=1", "C=1", "KCFLAGS=-g")

pytestmark = [
    pytest.mark.alone,
    pytest.mark.skipif(platform.machine() != "x86_64", reason="other programs run natively"),
]


@pytest.fixture
def on_host(guest: Guest) -> Compiler:
    compiler = guest.backend.host_compiler()
    assert isinstance(compiler, OnHost)
    return compiler


@pytest.mark.architecture("i386", "amd64")
@pytest.mark.test_limit(300)
def test_the_result_is_the_same(guest: Guest, on_host: Compiler) -> None:
    source = ModuleSource(MODULE)
    in_guest = InGuest(guest.ssh, guest.facts.cpus, guest.limit(120))
    here, there = (each.make(source, "same", FLAGS, {}) for each in (on_host, in_guest))
    assert here.status == there.status == 0, here.output + there.output
    named = {Path(path).name: data for path, data in here.modules.items()}
    assert named == {Path(path).name: data for path, data in there.modules.items()}
    assert here.symbols == there.symbols


@pytest.mark.test_limit(300)
def test_kbuilds_questions_to_the_compiler_are_answered(guest: Guest) -> None:
    """Each starts several programs; what is built is the same without the answers."""
    where = "/root/asked"
    guest.ssh.put_files(ModuleSource(MODULE).contents, where, seconds=guest.limit(60))

    def build() -> tuple[int, str]:
        """Build the module; the number of programs that were started, and a hash of the result."""
        started = "awk '/^processes/ {print $2}' /proc/stat"
        built = f"cd {where} && make -s clean && make -s && cat *.ko .*.cmd | sha256sum"
        said = guest.run(f"{started}; {built}; {started}", seconds=200).check().stdout.splitlines()
        return int(said[-1]) - int(said[0]), said[1]

    answers = "/usr/local/share/try-run/answers"
    answered, one = build()
    guest.run(f"mv {answers} {answers}.kept").check()
    asked, other = build()
    guest.run(f"mv {answers}.kept {answers}").check()
    assert one == other
    assert asked > answered + 100


@pytest.mark.architecture("arm64")
def test_another_architecture_builds_in_the_guest(guest: Guest) -> None:
    assert guest.backend.host_compiler() is None


@pytest.mark.architecture("i386", "amd64")
def test_a_build_sees_nothing_of_this_host(guest: Guest, on_host: Compiler, tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text(
        "modules: ; @uname -r; uname -m; ls -d /work /home/* 2> /dev/null;"
        " env; touch /root/build/here /tmp/there && ! touch /seen && ! mount -t tmpfs none /tmp\n",
        encoding="ascii",
    )
    made = on_host.make(ModuleSource(tmp_path), "sees", ("modules",), {})
    assert made.status == 0, made.output
    assert guest.facts.release in made.output
    assert "PYTEST" not in made.output
    assert "/work" not in made.output


@pytest.mark.architecture("i386", "amd64")
def test_what_the_compiler_says_is_the_error(guest: Guest, tmp_path: Path) -> None:
    (tmp_path / "Kbuild").write_text("obj-m := wrong.o\n", encoding="ascii")
    (tmp_path / "Makefile").write_text(
        "modules: ; $(MAKE) -C /lib/modules/$(shell uname -r)/build M=$(CURDIR) modules\n",
        encoding="ascii",
    )
    (tmp_path / "wrong.c").write_text("int wrong(void) { return 1 }\n", encoding="ascii")
    with pytest.raises(CheckFailed, match=r"wrong\.c:1:\d+: error: expected"):
        guest.build(tmp_path)
