# SPDX-License-Identifier: GPL-2.0
"""Builds a guest's kernel from Debian's package of its source, with the compiler of its suite.

The build runs in a root file system of the guest's architecture, which mmdebstrap makes for it.
"""

import hashlib
import os
import re
import tarfile
from contextlib import AbstractContextManager
from pathlib import Path

from pyharness.errors import UsageError
from pyharness.host import bundled, cache
from pyharness.host.progress import NoProgress, Progress, Task
from pyharness.linux import kernel_config
from pyharness.machine import in_use, kernel, mmdebstrap
from pyharness.machine.guest_specs import GuestSpec
from pyharness.machine.kernel import Kernel
from pyharness.machine.mmdebstrap import MmdebstrapError, Packages, in_memory, on_disk

# To be increased when this file builds kernels differently: all kernels are then built again.
FORMAT = 3
# The space that a build without debug information needs at most (bytes).
_ROOM = 6 << 30
_SCRIPTS = bundled.VM / "kernel"
# What a kernel's build needs, besides its source.
_TOOLS = ("bc", "bison", "flex", "gcc", "kmod", "libc6-dev", "libelf-dev", "libssl-dev", "make",
          "perl", "python3", "xz-utils")  # fmt: skip
# How many lines like _COMPILED a build prints; it is measured, and only the progress depends on it.
_LINES = 2200
_COMPILED = re.compile(r" {2}(?:CC|AS|LD|AR|HOSTCC) ")
# How the other lines begin that show how far a build is, the fraction of the time that has passed
# then (measured), and what comes next.
_STAGES = (
    ("I: running apt-get update", 0.01, "reading package lists"),
    ("I: downloading packages", 0.02, "installing the compiler"),
    ("build: unpacking", 0.05, "unpacking the source"),
    ("build: compiling", 0.07, "compiling"),
    ("build: packing", 0.97, "packing modules and headers"),
)
_COMPILING = (0.07, 0.97)


def config_of(spec: GuestSpec) -> str:
    """Return the options of a guest's kernel: the text of its fragments, in their order.

    Raises:
        UsageError: there is no such file.
    """
    texts = []
    for name in ("base.config", f"base-{spec.architecture}.config", *spec.config):
        file = _SCRIPTS / name  # an absolute path stays as it is
        try:
            texts.append(file.read_text(encoding="utf-8", errors="replace"))
        except (OSError, ValueError) as error:
            raise UsageError(
                f"guest {spec.name}: config names {name!r}, and {file} can't be read: {error}"
            ) from error
    return "\n".join(texts)


def find(spec: GuestSpec) -> Kernel | None:
    """The kernel of a guest that has ``kernel_source``; None if it is not built yet."""
    return kernel.read(_folder(spec, config_of(spec)))


@cache.as_host_error()
def ensure(spec: GuestSpec, *, progress: Progress | None = None) -> Kernel:
    """The kernel of a guest that has ``kernel_source``; if it is missing, build it, for minutes.

    Args:
        spec: the guest's description.
        progress: shows what is done; None shows nothing.

    Raises:
        UsageError: a file of options does not exist.
        HostError: this host can't build the kernel; the message says what it lacks, or has the
            build's last lines.
    """
    progress = progress or NoProgress()
    config = config_of(spec)
    folder = _folder(spec, config)

    def waiting() -> AbstractContextManager[object]:
        return progress.task(f"waiting for another process that builds the kernel of {spec.name}")

    def make() -> None:
        with progress.task(f"building the kernel of {spec.name}") as task:
            _build(spec, config, folder, progress, task)

    return cache.ensure(
        lambda: kernel.read(folder), make, lock=f"kernel-{spec.name}", waiting=waiting
    )


def _folder(spec: GuestSpec, config: str) -> Path:
    made_of = f"{FORMAT} {spec.suite} {spec.architecture} {spec.kernel_source}\n{config}"
    digest = hashlib.sha256(made_of.encode()).hexdigest()[:12]
    return cache.folder() / "kernels" / f"{spec.name}-{digest}"


def _build(spec: GuestSpec, config: str, target: Path, progress: Progress, task: Task) -> None:
    purpose = f"building the kernel of {spec.name}"
    mmdebstrap.check_host(spec.architecture, purpose=purpose, room=_ROOM, temporary=_ROOM)

    def make(sources: list[str]) -> None:
        with cache.atomic_folder(target, siblings=spec.name, keep=in_use.kernels()) as folder:
            _build_from(spec, config, sources, folder, task)

    mmdebstrap.with_sources(spec.suite, make, purpose=purpose, progress=progress)


def _build_from(spec: GuestSpec, config: str, sources: list[str], folder: Path, task: Task) -> None:
    compiled = 0

    def listen(line: str) -> None:
        nonlocal compiled
        if _COMPILED.match(line):
            compiled += 1
            begin, end = _COMPILING
            task.at(begin + (end - begin) * min(compiled / _LINES, 1), "compiling")
        for first, fraction, doing in _STAGES:
            if line.startswith(first):
                task.at(fraction, doing)

    jobs = len(os.sched_getaffinity(0))
    packed = folder / "out.tar"
    with in_memory(_inputs(config)) as inputs, on_disk(packed) as out:
        log = mmdebstrap.make_tree(
            Packages(
                suite=spec.suite,
                architecture=spec.architecture,
                names=sorted({spec.kernel_source, *_TOOLS}),
            ),
            sources,
            [
                '--customize-hook=mkdir "$1/build"',
                f'--customize-hook=tar -C "$1/build" -xf /proc/self/fd/{inputs}',
                '--customize-hook=chroot "$1" sh /build/build.sh'
                f" {spec.kernel_source} {kernel_config.ARCH[spec.architecture]} {jobs}",
                f'--customize-hook=tar -C "$1/build/out" -cf /proc/self/fd/{out} .',
            ],
            folder,
            descriptors=[inputs, out],
            listen=listen,
        )
    try:
        unpack(packed, folder)
        kernel.write_facts(folder)
    except (tarfile.TarError, OSError, ValueError) as error:
        raise MmdebstrapError(f"{log}the build has no kernel: {error}") from error
    packed.unlink()


def unpack(packed: Path, folder: Path) -> None:
    """Unpack the tar archive that a build has made.

    Raises:
        tarfile.TarError: it is no tar archive, or not a whole one.
        OSError: it can't be read, or a file can't be written.
    """
    with tarfile.open(packed) as tar:
        # Python before 3.11.4, such as Debian 12's, has no filters, and ignores the attribute.
        tar.extraction_filter = getattr(tarfile, "data_filter", None)
        tar.extractall(folder)


def _inputs(config: str) -> bytes:
    """Return a tar archive with the scripts that run in the root file system, and the options."""
    scripts = {path.name: path.read_bytes() for path in sorted(_SCRIPTS.glob("*.sh"))}
    return mmdebstrap.archive(scripts | {"config": config.encode()})
