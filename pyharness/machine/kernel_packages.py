# SPDX-License-Identifier: GPL-2.0
"""Debian packages of a kernel, as files, of which a guest's image gets one instead of its own."""

import hashlib
import io
import re
import subprocess
import tarfile
from pathlib import Path

from pyharness.errors import UsageError
from pyharness.host.programs import environment, requires
from pyharness.linux import kernel_config
from pyharness.machine import mmdebstrap
from pyharness.machine.guest_specs import GuestSpec

_CONFIG = re.compile(r"\./boot/config-.+")


def digest(spec: GuestSpec) -> str:
    """A hash of the packages; empty if there are none.

    Raises:
        UsageError: one is no file.
    """
    if not spec.kernel_packages:
        return ""
    made_of = hashlib.sha256()
    for file in spec.kernel_packages:
        try:
            data = Path(file).read_bytes()
        except (OSError, ValueError) as error:
            raise UsageError(
                f"guest {spec.name}: kernel_packages names {file!r}, which can't be read: {error}"
            ) from error
        made_of.update(hashlib.sha256(data).digest())
    return made_of.hexdigest()


def archive(spec: GuestSpec) -> bytes:
    """Pack the packages into a tar archive, under names without odd characters."""
    files = enumerate(spec.kernel_packages)
    return mmdebstrap.archive({f"{number}.deb": Path(file).read_bytes() for number, file in files})


def check(spec: GuestSpec) -> None:
    """Check that a guest can boot the packages' kernel, and that modules can be built for it.

    Raises:
        UsageError: it can't; the message says what to change.
        HostError: this host lacks dpkg.
    """
    read = {file: _read(file) for file in spec.kernel_packages}
    kernels = [file for file, (_, config) in read.items() if config is not None]
    if len(kernels) != 1:
        raise UsageError(
            f"--kernel names {len(kernels)} packages with a kernel in /boot: name one, and the"
            " package of its headers"
        )
    (kernel,) = kernels
    if not any("/usr/src/linux-headers-" in name for names, _ in read.values() for name in names):
        raise UsageError(
            f"{kernel} comes without headers, which modules are built with: name also the file of"
            " its linux-headers package, by another --kernel"
        )
    config = kernel_config.parse(read[kernel][1] or "")
    architecture = kernel_config.architecture_of(config)
    if architecture != spec.architecture:
        raise UsageError(
            f"{kernel} has a kernel for {architecture or 'another architecture'}, and {spec.name}"
            f" is of {spec.architecture}: name a guest of that architecture"
        )
    if missing := kernel_config.missing(config, architecture, has_initrd=True):
        lacks = "\n".join(f"  {one}" for one in missing)
        raise UsageError(f"the kernel in {kernel} lacks options that a guest needs:\n{lacks}")


def _read(file: str) -> tuple[list[str], str | None]:
    """Return the names of a package's files, and the configuration of the kernel that it has."""
    requires("dpkg-deb")
    done = subprocess.run(
        ["dpkg-deb", "--fsys-tarfile", file],
        env=environment(), stdin=subprocess.DEVNULL, capture_output=True, check=False,
    )  # fmt: skip
    if done.returncode:
        why = done.stderr.decode(errors="replace").strip()
        raise UsageError(f"{file} is not a Debian package: {why}")
    names, config = [], None
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as tar:
        for member in tar:
            names.append(member.name)
            if _CONFIG.fullmatch(member.name) and (text := tar.extractfile(member)):
                config = text.read().decode(errors="replace")
    return names, config
