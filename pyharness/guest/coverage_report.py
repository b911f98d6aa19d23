# SPDX-License-Identifier: GPL-2.0
"""Reports of which code of modules has run: gcov finds the lines, gcovr writes the reports."""

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from pyharness.errors import HostError, UsageError
from pyharness.guest import coverage
from pyharness.guest.build import NOTES
from pyharness.guest.coverage import Counted
from pyharness.guest.module_source import ModuleSource
from pyharness.host.bounded import run_until
from pyharness.host.programs import environment
from pyharness.linux import gcov
from pyharness.linux.gcov import Counters
from pyharness.machine.root_tree import RootTree

# What a report can be, and the arguments with which gcovr writes it to a folder.
FORMATS: Mapping[str, tuple[str, ...]] = {
    "term": ("--txt", "-"),
    "html": ("--html-details", "{folder}/html/index.html"),
    "lcov": ("--lcov", "{folder}/module.lcov"),
    "json": ("--json", "{folder}/module.json"),
}
# What they write there.
_FILES = ("html", "module.lcov", "module.json")
# A file that gcovr writes beside index.html.
_GCOVRS = "index.functions.html"
# gcov takes a moment; it reads the module's sources alone.
_GCOV_SECONDS = 120.0
# gcovr's exit statuses if fewer lines or branches have run than was asked for.
_TOO_FEW = (2, 4, 6)
_SOURCE = re.compile(r"^( *-: +0:Source:)(.*)$", re.MULTILINE)


def files(folder: Path) -> list[Path]:
    """The reports that are files or folders, of those that write() can write to a folder."""
    return [folder / name for name in _FILES if (folder / name).exists()]


def make_folder(folder: Path) -> None:
    """Make the folder for reports, unless it is there.

    If it has nothing else, its .gitignore has git, and the search for the module's source, ignore
    it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if {path.name for path in folder.iterdir()} <= {*_FILES}:
        (folder / ".gitignore").write_text("*\n", encoding="ascii")


def _clear(target: Path, formats: Collection[str]) -> None:
    """Make the folder for reports, and remove those of an earlier run from it.

    Raises:
        UsageError: it has a folder of that name with something else.
    """
    html = target / "html"
    if html.exists() and not (html / _GCOVRS).exists():
        raise UsageError(f"{html} has other files: name another folder for the report")
    make_folder(target)
    for path in files(target):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    if "html" in formats:
        html.mkdir()


def check() -> None:
    """Check that reports can be written.

    Raises:
        UsageError: gcovr is not installed.
    """
    if find_spec("gcovr") is None:
        raise UsageError("gcovr is missing, which writes the report: pip install gcovr")


def write(
    folder: Path,
    project: Path,
    formats: Collection[str],
    target: Path,
    *,
    fail_under: float | None = None,
) -> tuple[str, bool]:
    """Write reports of what was collected in a folder.

    Args:
        folder: the folder.
        project: the folder of the project. Modules whose source is elsewhere, such as copies that
            a test has changed, are left out.
        formats: keys of FORMATS.
        target: the folder for reports that are files; those of an earlier run are replaced.
        fail_under: how many percent of the lines have to have run; None: any number.

    Returns:
        The text for the terminal, and whether enough lines have run.

    Raises:
        UsageError: nothing was collected of the project's modules; or the folder for a report has
            other files.
        HostError: gcov or gcovr failed.
    """
    project = project.resolve()
    builds = {
        counted: objects
        for build, objects in coverage.read_totals(folder).items()
        if Path((counted := coverage.read_counted(folder, build)).source).is_relative_to(project)
    }
    if not builds:
        raise UsageError(f"no module was loaded whose source is in {project}")
    with tempfile.TemporaryDirectory(prefix="pyharness-") as name:
        for number, (counted, objects) in enumerate(builds.items()):
            for at, text in enumerate(_gcov(counted, objects)):
                Path(name, f"{number}-{at}.gcov").write_text(text, encoding="utf-8")
        line = [sys.executable, "-m", "gcovr", "-g", "-k", name]
        line += ["--root", str(project)]
        for source in sorted({counted.source for counted in builds}):
            line += ["--filter", re.escape(f"{source}/")]
        for one in formats:
            line += [word.format(folder=target) for word in FORMATS[one]]
        _clear(target, formats)
        if fail_under is not None:
            line += ["--fail-under-line", str(fail_under)]
        done = subprocess.run(
            line,
            env=environment(),
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    if done.returncode and done.returncode not in _TOO_FEW:
        raise HostError(f"gcovr failed:\n{done.stderr.strip()}")
    return done.stdout, not done.returncode


def _gcov(counted: Counted, objects: Mapping[str, Counters]) -> Iterator[str]:
    """Yield gcov's text for each source file of a build, with the file's path on this host."""
    with _prepared(counted, objects) as (tree, work, where):
        files = " ".join(f"{name}.gcda" for name in objects)
        command = ["sh", "-c", f"cd {where} && gcov -b -c -p {files}"]
        if tree:
            ran = tree.run(command, work, seconds=_GCOV_SECONDS)
        else:
            ran = run_until(command, seconds=_GCOV_SECONDS)
        if ran.status:
            raise HostError(f"gcov failed:\n{ran.output.strip()}")
        for path in sorted((work / Path(where).name).glob("*.gcov")):
            text = path.read_text(encoding="utf-8", errors="replace")
            if here := _on_host(text, counted):
                source = str(here)
                yield _SOURCE.sub(lambda found: found[1] + source, text, count=1)  # noqa: B023


def _on_host(text: str, counted: Counted) -> Path | None:
    """The source file that gcov's text is about, on this host; None if it is not the module's."""
    if not (source := _SOURCE.search(text)):
        return None
    own = Path(counted.where, source[2])
    if not own.is_relative_to(counted.where):
        return None
    here = Path(counted.source, own.relative_to(counted.where))
    return here if here.is_file() else None


@contextmanager
def _prepared(
    counted: Counted, objects: Mapping[str, Counters]
) -> Iterator[tuple[RootTree | None, Path, str]]:
    """Write what gcov needs to a folder.

    Yields:
        The root file system to run it in, if any; the folder of this host that is mounted there;
        and the folder with the files in it, as gcov sees that.
    """
    with tempfile.TemporaryDirectory(prefix="pyharness-") as name:
        work = Path(name)
        folder = work / Path(counted.where).name
        shutil.copytree(Path(counted.folder, NOTES), folder)
        source = ModuleSource(Path(counted.source))
        # gcov does not take a line for code that it can't read.
        for path, content in source.contents.items():
            content.write(folder / path)
        known = coverage.notes_of(counted)
        for each, counters in objects.items():
            (folder / f"{each}.gcda").write_bytes(gcov.data_file(known[each], counters))
        tree = RootTree(Path(counted.tree), counted.architecture) if counted.tree else None
        yield tree, work, counted.where if tree else str(folder)
