# SPDX-License-Identifier: GPL-2.0
"""DKMS keeps the module: added, built, installed, and built again for a kernel that comes."""

from pathlib import Path

import pytest
from apt import download

from pyharness import Guest
from pyharness.guest.module_source import ModuleSource
from pyharness.interceptor import MODULE

TREE = "/usr/src/interceptor-1.0.0"


def status(guest: Guest) -> list[str]:
    return guest.run("dkms status").check().stdout.splitlines()


@pytest.mark.fresh_guest
@pytest.mark.architecture("i386")
@pytest.mark.test_limit(1800)
def test_it_survives_a_kernel_upgrade(guest: Guest, tmp_path: Path) -> None:
    release = guest.facts.release
    other = release.removesuffix("-pae")
    assert other != release
    debs = download(
        guest.qemu.saved_state.spec,
        tmp_path,
        "dkms",
        f"linux-headers-{other}",
        f"linux-image-{other}",
    )
    assert len(debs) == 3
    for deb in debs:
        guest.put(deb.read_bytes(), f"/root/{deb.name}")
    dkms, headers, image = (f"/root/{deb.name}" for deb in debs)
    guest.run(["dpkg", "--install", "--force-depends", dkms], seconds=300).check()

    guest.ssh.put_files(ModuleSource(MODULE).contents, TREE, seconds=guest.limit(30))
    guest.run("dkms add interceptor/1.0.0", seconds=60).check()
    guest.run("dkms build interceptor/1.0.0", seconds=300).check()
    guest.run("dkms install interceptor/1.0.0", seconds=300).check()
    assert any(release in line and "installed" in line for line in status(guest))
    refused = guest.run(f"make -C {TREE} install")
    assert refused.status == 2
    assert "by dkms remove interceptor/1.0.0 --all if DKMS put it there" in refused.stderr
    guest.run(f"make -C {TREE} uninstall", seconds=60).check()
    guest.run("modprobe interceptor").check()
    assert guest.is_loaded("interceptor")
    guest.run("modprobe -r interceptor").check()

    guest.run(["dpkg", "--install", headers, image], seconds=900).check()
    assert any(other in line and "installed" in line for line in status(guest))
    magic = guest.run(f"modinfo -k {other} -F vermagic interceptor").check().stdout
    assert magic.split()[0] == other
    guest.run("modprobe interceptor").check()

    guest.run("modprobe -r interceptor && dkms remove interceptor/1.0.0 --all", seconds=60).check()
    assert status(guest) == []
    assert guest.run("find /lib/modules -name 'interceptor.ko*'").stdout == ""
