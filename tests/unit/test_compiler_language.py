# SPDX-License-Identifier: GPL-2.0
"""What compilers print is understood whatever this user's language is; needs no guest."""

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import pytest

from pyharness.guest import build, compilers
from pyharness.guest.compilers import Compiler, InGuest, WithTree
from pyharness.guest.module_source import ModuleSource
from pyharness.host.file_content import FileContent
from pyharness.machine.kernel_tree import KernelTree
from pyharness.transport.ssh import Completed, Ssh

# As the kernel's: LC_ALL does not reach the compiler, which has a translation.
MAKEFILE = """unexport LC_ALL
modules:
\t@case "$$LC_MESSAGES$$LANGUAGE$$LANG" in \\
\t*de*) echo "m.c:3:7: Warnung: Variable »x« wird nicht verwendet";; \\
\t*) echo "m.c:3:7: warning: unused variable 'x'";; esac; echo built > $(M)/m.ko
"""


class Here:
    """The connection to a guest that is this host."""

    def put_files(self, files: Mapping[Path, FileContent], target: str, **_: object) -> None:
        for path, content in files.items():
            content.write(target / path)

    def run(self, command: list[str], **_: object) -> Completed:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        line = " ".join(command)
        return Completed(
            command=line, status=done.returncode, stdout=done.stdout, stderr=done.stderr
        )

    def get(self, path: str, **_: object) -> bytes:
        return Path(path).read_bytes()


@pytest.mark.parametrize("variable", ["LANG", "LANGUAGE", "LC_MESSAGES"])
@pytest.mark.parametrize("where", ["tree", "guest"])
def test_a_warning_is_found_in_any_language(
    variable: str, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYHARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(compilers, "WORK", str(tmp_path))
    monkeypatch.setenv(variable, "de_DE.UTF-8")
    tree, source = tmp_path / "tree", tmp_path / "source"
    tree.mkdir()
    source.mkdir()
    (tree / ".config").write_text("CONFIG_X86_64=y\n", encoding="ascii")
    (tree / "Makefile").write_text(MAKEFILE, encoding="utf-8")
    (source / "Kbuild").write_text("obj-m := m.o\n", encoding="ascii")
    compiler: Compiler = WithTree(KernelTree(tree))
    if where == "guest":
        (source / "Makefile").write_text(MAKEFILE.replace("(M)", "(CURDIR)"), encoding="utf-8")
        compiler = InGuest(cast("Ssh", Here()), 1, 60.0)
    built = build.build(ModuleSource(source), "kernel", compiler)
    assert built.warnings == ["m.c:3:7: warning: unused variable 'x'"]
