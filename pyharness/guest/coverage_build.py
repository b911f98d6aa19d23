# SPDX-License-Identifier: GPL-2.0
"""How a module is built such that it counts which of its code runs."""

from pyharness.errors import UsageError
from pyharness.linux import gcov

_HEADER = "pyharness_coverage.h"
# Every file of the module is compiled with it. GCC's counters refer to a function that adds those
# of several runs up, which nothing calls here.
FILES = {
    _HEADER: b"""#ifndef __ASSEMBLY__
void __gcov_merge_add(long long *counters, unsigned int number);
__attribute__((weak, no_profile_instrument_function))
void __gcov_merge_add(long long *counters, unsigned int number)
{
}
#endif
"""
}
# Flags for the compiler; {folder} is the folder of the source.
FLAGS = f" -fprofile-arcs -ftest-coverage -fprofile-info-section -include {{folder}}/{_HEADER}"


def check_output(output: str) -> None:
    """Check what make printed when the build failed.

    Raises:
        UsageError: the compiler is too old to count.
    """
    if "unrecognized command" in output and "-fprofile-info-section" in output:
        raise UsageError(
            f"the guest's compiler can't count what runs of a module: it is older than GCC"
            f" {gcov.FIRST_GCC}; take a guest of a later suite"
        )
