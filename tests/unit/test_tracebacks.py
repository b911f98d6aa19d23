# SPDX-License-Identifier: GPL-2.0
"""What the plugin removes from the traceback of a failed test. No guest."""

from itertools import pairwise

import pytest

from pyharness.pytest_plugin import tracebacks


def excinfo_of(error: BaseException, cause: BaseException) -> pytest.ExceptionInfo[BaseException]:
    with pytest.raises(type(error)) as caught:
        raise error from cause
    return caught


@pytest.mark.test_limit(20)
@pytest.mark.parametrize("length", [1, 2, 3])
def test_causes_may_form_a_cycle(length: int) -> None:
    errors = [ValueError(str(number)) for number in range(length)]
    for error, cause in pairwise(errors):
        error.__cause__ = cause
    last = errors[-1]
    last.__cause__ = errors[length // 2]  # a cycle need not include the error that is raised first
    caught = excinfo_of(errors[0], errors[0].__cause__ or errors[0])
    tracebacks.forget_cause(caught.value)
    tracebacks.shorten(caught)
    assert caught.value is errors[0]
    assert [entry.name for entry in caught.traceback] == ["excinfo_of"]
