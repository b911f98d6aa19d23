# SPDX-License-Identifier: GPL-2.0
"""Guest descriptions: the kernels that tests can run on, from ``vm/guests.toml``."""

import os
import platform
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from pyharness.errors import UsageError
from pyharness.host import bundled
from pyharness.machine import project_guests

# The guest that is used if none is named; the variable PYHARNESS_GUEST overrides it.
DEFAULT_GUEST = os.environ.get("PYHARNESS_GUEST") or (
    "bookworm-arm64" if platform.machine() == "aarch64" else "bookworm-i386"
)

# The environment variable with the kernel that guests boot instead of their own: the folder of a
# tree that is built, or Debian packages, separated by colons.
KERNEL_VARIABLE = "PYHARNESS_KERNEL"
# The environment variable with options that are added to the command line of each guest's kernel.
OPTIONS_VARIABLE = "PYHARNESS_KERNEL_OPTIONS"
_SLUB_DEBUG = "slub_debug="
# What finds wrong use of memory in a distribution's kernel: the slab allocator checks objects
# (F), guards their ends (Z), fills freed ones with a pattern (P), and remembers who allocated and
# freed them (U); the page allocator fills freed pages with a pattern; and every 20 ms KFENCE, where
# the kernel has it, puts an object between pages that can't be accessed. Shorter intervals cost a
# guest under emulation most of its time, as the kernel changes its own code at each.
_MEMORY_DEBUG = f"{_SLUB_DEBUG}FZPU page_poison=1 kfence.sample_interval=20"


@dataclass(frozen=True, kw_only=True)
class GuestSpec:
    """The description of a guest; the head of ``vm/guests.toml`` explains each field.

    Besides, ``image`` is the name of the guest whose image it uses: its own, or that of the guest
    that it is like, if it differs from that in nothing that the image depends on.
    """

    name: str
    image: str
    suite: str
    architecture: str
    syscalls: str
    kernel: tuple[str, ...]
    kernel_source: str
    kernel_tree: str
    kernel_packages: tuple[str, ...]
    config: tuple[str, ...]
    kernel_options: str
    packages: tuple[str, ...]
    tools: tuple[str, ...]
    qemu: str
    machine: str
    cpu: str
    console: str
    panic: str
    dispatch: str
    qemu_arguments: tuple[str, ...]
    memory: int
    disk: int
    cpus: int

    @property
    def all_packages(self) -> tuple[str, ...]:
        """The names of all packages to install, each once, in a stable order."""
        kernel = () if self.kernel_packages else self.kernel
        return tuple(sorted({*self.packages, *kernel, *self.tools}))

    @property
    def checks_slabs(self) -> bool:
        """Whether the kernel's slab allocator checks its objects."""
        return _SLUB_DEBUG in self.kernel_options

    @property
    def own_kernel(self) -> tuple[str, ...]:
        """What the guest boots instead of the kernel of its image; empty if it boots that."""
        return tuple(filter(None, (self.kernel_source, self.kernel_tree, *self.kernel_packages)))

    @property
    def image_inputs(self) -> tuple[str, ...]:
        """What the guest's image depends on, with kernel_packages; no other field changes it."""
        return (self.image, self.suite, self.architecture, *self.all_packages, str(self.disk))


# The names that a project may give to its guests, which become names of files.
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]*")
# The fields that are not keys of a table.
_DERIVED = ("name", "image")


def from_facts(facts: Mapping[str, Any]) -> GuestSpec:
    """The description of a guest from its fields, as JSON or TOML has them.

    Raises:
        UsageError: a field is unknown, missing, or not of its type.
    """
    name = facts.get("name")
    known = {field.name: field.type for field in fields(GuestSpec)}
    if unknown := facts.keys() - known.keys():
        raise UsageError(f"guest {name}: unknown key {min(unknown)!r}; see the head of guests.toml")
    if missing := known.keys() - facts.keys():
        raise UsageError(f"guest {name}: key {min(missing)!r} is missing")
    values: dict[str, Any] = {}
    for key, value in facts.items():
        tuples = known[key] == tuple[str, ...]
        wanted = list if tuples else known[key]
        if type(value) is not wanted or (tuples and not all(type(v) is str for v in value)):
            raise UsageError(f"guest {name}: {key} = {value!r} is not of the right type")
        values[key] = tuple(value) if tuples else value
    return GuestSpec(**values)


def _spec(name: str, table: Mapping[str, Any]) -> GuestSpec:
    if derived := table.keys() & _DERIVED:
        raise UsageError(f"guest {name}: unknown key {min(derived)!r}; see the head of guests.toml")
    return from_facts({**table, **dict.fromkeys(_DERIVED, name)})


def parse(
    text: str, projects: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, GuestSpec]:
    """Parse the text of a ``guests.toml`` into guest descriptions, by name.

    Args:
        text: the text.
        projects: the tables of further guests, by their names: those of a user's project.

    Raises:
        UsageError: the text is not TOML, or a table does not describe a guest.
    """
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"guests.toml: {error}") from error
    defaults = tables.pop("defaults", {})
    architectures = tables.pop("architectures", {})
    for name in projects or ():
        if name in tables or not _NAME.fullmatch(name):
            why = "there is one" if name in tables else "it has other characters than a-z 0-9 . -"
            raise UsageError(f"no guest of a project can be called {name!r}, as {why}")
    whole: dict[str, dict[str, Any]] = {}
    specs: dict[str, GuestSpec] = {}
    for name, table in {**tables, **(projects or {})}.items():
        if not isinstance(table, Mapping):
            raise UsageError(f"guest {name}: {table!r} is not a table")
        like = str(table.get("like", ""))
        if like and like not in architectures.keys() | whole.keys():
            raise UsageError(
                f"guest {name} is like {like!r}, but there is no [architectures.{like}],"
                f" and no [{like}] above it"
            )
        inherited = defaults | architectures.get(like, {}) | whole.get(like, {})
        whole[name] = inherited | {key: table[key] for key in table if key != "like"}
        specs[name] = _with_image(_spec(name, whole[name]), specs.get(like))
    return specs


def _with_image(spec: GuestSpec, like: GuestSpec | None) -> GuestSpec:
    """The description with the image of the guest that it is like, if it needs no other."""
    shared = replace(spec, image=like.image) if like else spec
    return shared if like and shared.image_inputs == like.image_inputs else spec


def load() -> dict[str, GuestSpec]:
    """The descriptions of all guests, by name: of ``vm/guests.toml``, and of the user's project.

    The project's are the tables ``[tool.pyharness.guests.NAME]`` of the nearest ``pyproject.toml``
    that is in the current folder or above it. Paths in them are relative to its folder.

    Raises:
        UsageError: a file is not TOML, or one of its tables does not describe a guest.
    """
    own = (bundled.VM / "guests.toml").read_text(encoding="utf-8")
    return parse(own, project_guests.tables())


def choose_kernel(files: Sequence[Path]) -> None:
    """Have find() replace the kernel of guests, in this process and its children.

    Args:
        files: the folder of a kernel's tree, or Debian packages with a kernel and its headers;
            nothing happens if there is none.
    """
    if files:
        os.environ[KERNEL_VARIABLE] = os.pathsep.join(str(file.absolute()) for file in files)


def _kernel_of(named: str) -> dict[str, Any]:
    """The fields of a description that the variable for the kernel changes.

    Raises:
        UsageError: it names neither a folder nor packages.
    """
    if not named:
        return {}
    none = {"kernel_tree": "", "kernel_source": "", "kernel_packages": ()}
    if Path(named).is_dir():
        return none | {"kernel_tree": str(Path(named).absolute())}
    files = named.split(os.pathsep)
    for file in files:
        if not file.endswith(".deb") or not Path(file).is_file():
            raise UsageError(
                f"{file} is not a kernel: name the folder in which one was built, or the .deb files"
                " of a kernel and of its headers"
            )
    return none | {"kernel_packages": tuple(str(Path(file).absolute()) for file in files)}


def add_kernel_options(words: str | None, *, memory_debug: bool) -> None:
    """Have find() add options to the kernel's command line, in this process and its children.

    Args:
        words: the options; they replace those that the environment has. None: none.
        memory_debug: whether to add those that find wrong use of memory.
    """
    if memory_debug or words is not None:
        both = (_MEMORY_DEBUG if memory_debug else "", words or "")
        os.environ[OPTIONS_VARIABLE] = " ".join(filter(None, both))


def find(
    name: str = DEFAULT_GUEST, *, cpus: int | None = None, memory: int | None = None
) -> GuestSpec:
    """The description of a guest that load() has.

    If ``PYHARNESS_KERNEL`` is set, it names the kernel. The options that
    ``PYHARNESS_KERNEL_OPTIONS`` has are added to its command line.

    Args:
        name: the guest's name.
        cpus: the number of CPUs; None for the number in the description.
        memory: the memory in MiB; None for the size in the description.

    Raises:
        UsageError: there is no such guest, and the message lists those that exist; or a variable
            names no kernel, or has a character that a command line can't have.
    """
    known = load()
    if name not in known:
        raise UsageError(f"no guest is called {name!r}; there are: {', '.join(known)}")
    spec = known[name]
    more = os.environ.get(OPTIONS_VARIABLE, "")
    if bad := next((char for char in more if not (char.isascii() and char.isprintable())), None):
        raise UsageError(f"the kernel's options have the character {bad!r}: remove it")
    return replace(
        spec,
        cpus=cpus or spec.cpus,
        memory=memory or spec.memory,
        **_kernel_of(os.environ.get(KERNEL_VARIABLE, "")),
        kernel_options=f"{spec.kernel_options} {more}".strip(),
    )
