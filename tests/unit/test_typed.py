# SPDX-License-Identifier: GPL-2.0
"""What a test's author writes is typed: the documents' examples, and every name that they need."""

import ast
import re
import subprocess
import sys
import typing
from pathlib import Path

import pytest
from suites import PYTEST

import pyharness
from pyharness.pytest_plugin import fixtures as plugin_fixtures
from pyharness.pytest_plugin import options

ROOT = Path(__file__).parents[2]
DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
# Parts of the package that a method gives to whoever extends it.
INTERNAL = {"Agent", "QemuBackend", "Ssh", "Target"}


@pytest.mark.test_limit(300)
def test_the_examples_in_documents_pass_mypy(tmp_path: Path) -> None:
    examples: list[Path] = []
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        for block in re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            path = tmp_path / f"{document.stem}_{len(examples)}.py"
            path.write_text(block, encoding="utf-8")
            examples.append(path)
    assert len(examples) >= 4
    line = [sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--cache-dir={tmp_path}"]
    done = subprocess.run([*line, *examples], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def classes_in(hint: object) -> set[type]:
    """This package's classes that a type is made of."""
    found = {part for inner in typing.get_args(hint) for part in classes_in(inner)}
    if isinstance(hint, type) and hint.__module__.startswith("pyharness."):
        found.add(hint)
    return found


def results_of(owner: type) -> set[type]:
    """What the public methods and properties of a class return."""
    found = set()
    for name, member in vars(owner).items():
        member = getattr(member, "func", member)  # noqa: PLW2901
        member = getattr(member, "fget", member)  # noqa: PLW2901
        member = getattr(member, "__func__", member)  # noqa: PLW2901
        if not name.startswith("_") and hasattr(member, "__annotations__"):
            hints = typing.get_type_hints(member, localns=vars(pyharness))
            found |= classes_in(hints.get("return"))
    return found


def fixtures() -> set[type]:
    """What the fixtures are."""
    tree = ast.parse(Path(plugin_fixtures.__file__).read_text(encoding="utf-8"))
    names = {
        function.name
        for function in tree.body
        if isinstance(function, ast.FunctionDef)
        and any("pytest.fixture" in ast.unparse(one) for one in function.decorator_list)
    }
    assert len(names) >= 9
    definitions = (getattr(plugin_fixtures, name) for name in names)
    functions = (getattr(one, "__wrapped__", one) for one in definitions)
    return {
        part
        for function in functions
        for part in classes_in(typing.get_type_hints(function)["return"])
    }


def test_all_that_a_test_gets_is_exported() -> None:
    exported = {getattr(pyharness, name) for name in pyharness.__all__}
    classes = {one for one in exported if isinstance(one, type)}
    needed = fixtures() | {part for owner in classes for part in results_of(owner)}
    assert {one.__name__ for one in needed - exported} == INTERNAL
    assert pyharness.KernelLogOfTest in fixtures()


def test_what_is_exported_is_there_once_and_in_order() -> None:
    assert [*pyharness.__all__] == sorted({*pyharness.__all__}, key=pyharness.__all__.index)
    public = {
        name
        for name, value in vars(pyharness).items()
        if not name.startswith("_") and not isinstance(value, type(pytest))
    }
    assert public == {*pyharness.__all__}


@pytest.mark.parametrize("words", [("--help",), ("--markers",), ("--fixtures",)])
def test_pytest_describes_each_option_marker_and_fixture(words: tuple[str, ...]) -> None:
    """None is without a text, and no text is cut off in the middle of a sentence."""
    done = subprocess.run(
        [*PYTEST, *words, "--noconftest"],
        cwd=ROOT / "examples" / "ring",
        capture_output=True,
        text=True,
        check=True,
    )
    said = " ".join(done.stdout.split())
    if words == ("--help",):
        wanted = [described["help"] for described in options.OPTIONS.values()]
    elif words == ("--markers",):
        wanted = [f"@pytest.mark.{marker}" for marker in options.MARKERS]
    else:
        wanted = ["A running guest, shared by tests", "what the kernel has logged since the test"]
        ours = said.split("fixtures defined from pyharness")[1].split("fixtures defined from")[0]
        assert "no docstring available" not in ours
    for text in wanted:
        assert text in said.replace("- ", "-") or text in said, text
