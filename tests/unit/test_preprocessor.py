# SPDX-License-Identifier: GPL-2.0
"""The definitions that count are those of the module's build; this host's compiler says which."""

import shutil
import subprocess

import pytest

from pyharness.interceptor.rules import preprocessor, submission
from pyharness.linux.syscalls import Syscalls
from pyharness.transport.ssh import Completed

pytestmark = pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed")


def run(line: str, stdin: bytes) -> Completed:
    done = subprocess.run(["sh", "-c", line], input=stdin, capture_output=True, check=False)
    out, err = (stream.decode(errors="replace") for stream in (done.stdout, done.stderr))
    return Completed(command=line, status=done.returncode, stdout=out, stderr=err)


@pytest.mark.parametrize(
    ("code", "number"),
    [
        ("#ifdef __linux__\n#define MY_CUSTOM_SYSCALL 7\n#else\n#define MY_CUSTOM_SYSCALL 134\n"
         "#endif\n", 7),
        ("#ifdef MODULE\n#define BASE\n#endif\n#ifdef BASE\n#define MY_CUSTOM_SYSCALL 9\n#endif\n"
         "#if 0\n#define MY_CUSTOM_SYSCALL 134\n#endif\n", 9),
        ("#include <linux/no_such.h>\n# include \"none.h\"\n#define MY_CUSTOM_SYSCALL 11\n", 11),
        ("#define MY_CUSTOM_SYSCALL __NR_restart_syscall\n", 0),
        ("#define MY_CUSTOM_SYSCALL 3\n#undef MY_CUSTOM_SYSCALL\n"
         "#define MY_CUSTOM_SYSCALL 5 /* not 6 */\n", 5),
        ("int main(void) { return 0; }\n", 0),
        ("#if IS_ENABLED(X)\n#endif\n#define MY_CUSTOM_SYSCALL 12\n", 12),  # it can't tell
        ("#define MY_CUSTOM_SYSCALL 13\n#error none\n", 13),
        ("#define MY_CUSTOM_SYSCALL 14\nchar x = '\udcf6';\n", 14),
    ],
)  # fmt: skip
def test_a_condition_is_decided_by_the_compiler(code: str, number: int) -> None:
    found = preprocessor.definitions(run, code)
    assert submission.interface(found, Syscalls("i386")).custom_syscall == number
