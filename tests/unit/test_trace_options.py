# SPDX-License-Identifier: GPL-2.0
"""Trace events are read whatever the options of tracefs are; needs no guest.

What the kernel makes of the options is a test of tests/harness/test_trace_signals.py and
tests/harness/test_by_hand.py.
"""

import runpy
from pathlib import Path

import pytest

from pyharness.interceptor import MODULE, event_stream

CTL = runpy.run_path(str(MODULE / "interceptorctl.py"))
STREAM = runpy.run_path(str(Path(event_stream.__file__).with_name("inside") / "event_stream.py"))
CHOOSE = {"interceptorctl": CTL["choose_options"], "event_stream": STREAM["choose_options"]}
WANTED = {
    **dict.fromkeys(("context-info", "irq-info", "overwrite"), "1"),
    **dict.fromkeys(("latency-format", "bin", "hex", "raw", "stacktrace", "userstacktrace"), "0"),
}


@pytest.mark.parametrize("program", CHOOSE)
def test_options_that_change_lines_are_chosen(program: str, tmp_path: Path) -> None:
    """And no others; the option fields is one that this kernel has not."""
    options = tmp_path / "options"
    options.mkdir()
    for name in (*WANTED, "sym-offset", "record-tgid"):
        (options / name).write_text("as before")
    CHOOSE[program](str(tmp_path))
    chosen = {path.name: path.read_text() for path in options.iterdir()}
    assert chosen == {**WANTED, "sym-offset": "as before", "record-tgid": "as before"}


@pytest.mark.parametrize("program", ["bash", "a b", "a-1 [000] b", "<...>", "a (  12) [0]"])
@pytest.mark.parametrize("process", ["", "(   1200) ", "(-------) "])
def test_a_line_may_have_the_process(program: str, process: str) -> None:
    line = f"{program:>16}-1207    {process}[001] ...1.   385.932026: syscall: 27(1,2,3,4,5,6)\n"
    found = CTL["EVENT"].fullmatch(line)
    assert found
    assert found.groups() == ("1207", "385.932026", "27", "1,2,3,4,5,6", None)
