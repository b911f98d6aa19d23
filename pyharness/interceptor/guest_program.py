# SPDX-License-Identifier: GPL-2.0
"""Compiles the C programs that measure and race in the guest, and keeps them in the cache."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from pyharness.guest.guest import Guest
from pyharness.host import cache

_INSIDE = Path(__file__).with_name("inside")
_WARNINGS = "-O2 -Wall -Wextra -Werror"
STATIC = "-static -pthread"
_COMPILE_SECONDS = 60.0


def source(name: str) -> bytes:
    """Return the content of a file of ``inside/``."""
    return (_INSIDE / name).read_bytes()


def install(guest: Guest, name: str, *, beside: Mapping[str, bytes] | None = None) -> str:
    """Compile a program of ``inside/``, and write it to the guest.

    Args:
        guest: the guest.
        name: the name of the program's source, without ``.c``.
        beside: the contents of the files that it includes, by name.

    Returns:
        The program's path in the guest.

    Raises:
        CheckFailed: it does not compile.
    """
    path = f"/root/{name}"
    guest.put(build(guest, name, beside=beside), path)
    guest.run(["chmod", "755", path]).check()
    return path


def build(
    guest: Guest, name: str, flags: str = STATIC, *, beside: Mapping[str, bytes] | None = None
) -> bytes:
    """Compile a program of ``inside/`` in the guest, or return it from the cache.

    Args:
        guest: the guest.
        name: the name of the program's source, without ``.c``.
        flags: arguments of the compiler.
        beside: the contents of the files that it includes, by name.

    Returns:
        The program's file.

    Raises:
        CheckFailed: it does not compile.
    """
    files = {f"{name}.c": source(f"{name}.c"), **(beside or {})}
    image = guest.qemu.saved_state.image.folder.name
    made_of = hashlib.sha256(repr((image, _WARNINGS, flags, sorted(files.items()))).encode())
    key = f"{name}-{made_of.hexdigest()[:16]}"
    kept = cache.folder() / "programs" / key

    def read() -> bytes | None:
        return (kept / name).read_bytes() if kept.exists() else None

    def make() -> None:
        where = f"/root/build/{key}"
        guest.run(["mkdir", "-p", where]).check()
        for file, data in files.items():
            guest.put(data, f"{where}/{file}")
        line = f"cd {where} && gcc {_WARNINGS} {flags} -o {name} {name}.c"
        guest.run(line, seconds=_COMPILE_SECONDS).check()
        with cache.atomic_folder(kept) as making:
            (making / name).write_bytes(guest.get(f"{where}/{name}"))

    return cache.ensure(read, make, lock=f"program-{key}")
