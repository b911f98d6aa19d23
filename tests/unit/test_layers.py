# SPDX-License-Identifier: GPL-2.0
"""The folders of the package are its layers: each imports only those before it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import pyharness

PACKAGE = Path(pyharness.__file__).parent
# Those of one line do not import each other.
LAYERS = (
    {"errors"},
    {"linux", "host"},
    {"transport"},
    {"machine"},
    {"guest"},
    {"interceptor"},
    {"pytest_plugin", "cli"},
)
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
# The plugin is for any module, and knows nothing of this project's own.
NEVER = {("pytest_plugin", "interceptor")}
FILES = [
    path
    for path in PACKAGE.rglob("*.py")
    if path.relative_to(PACKAGE).parts[0].split(".")[0] in RANK
]


def imported(tree: ast.AST) -> Iterator[str]:
    """The parts of this package that a file imports."""
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            top, _, rest = name.partition(".")
            if top == "pyharness":
                yield rest.split(".")[0]


def test_every_folder_has_its_layer() -> None:
    folders = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert folders | {"errors"} == RANK.keys()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_imports_only_what_is_below_it(path: Path) -> None:
    here = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    source = path.read_text(encoding="utf-8")
    assert "TYPE_CHECKING" not in source, "an import that is for types alone hides a circle"
    for there in imported(ast.parse(source)):
        assert there in RANK, f"{there} has no layer"
        assert there == here or RANK[there] < RANK[here], f"{here} imports {there}"
        assert (here, there) not in NEVER
