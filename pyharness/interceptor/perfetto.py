# SPDX-License-Identifier: GPL-2.0
"""A traced command in Chrome's trace event format, which ui.perfetto.dev opens. Pure."""

import json
from collections.abc import Sequence
from typing import Any

from pyharness.interceptor.traced import Traced
from pyharness.interceptor.traced_call import TracedCall


def document(traced: Sequence[Traced]) -> str:
    """Return the JSON text of a trace with a slice for each call, and an instant for the rest.

    A call that didn't return has a duration of 0. Times are in microseconds since the
    epoch.
    """
    threads = {(one.process, one.thread): one.program for one in traced if one.program}
    names = [_name("thread_name", *thread, program) for thread, program in threads.items()]
    events = [_slice(one) if isinstance(one, TracedCall) else _instant(one) for one in traced]
    return json.dumps({"traceEvents": [*names, *events]}, indent=0) + "\n"


def _name(kind: str, process: int, thread: int, name: str) -> dict[str, Any]:
    return {"name": kind, "ph": "M", "pid": process, "tid": thread, "args": {"name": name}}


def _slice(call: TracedCall) -> dict[str, Any]:
    return {
        "name": call.name,
        "cat": call.kind,
        "ph": "X",
        "ts": call.microseconds,
        "dur": call.took_microseconds or 0,
        "pid": call.process,
        "tid": call.thread,
        "args": {"args": [f"{arg:#x}" for arg in call.args], "result": call.result},
    }


def _instant(one: Traced) -> dict[str, Any]:
    return {
        "name": one.name,
        "cat": one.kind,
        "ph": "i",
        "s": "t",  # in its thread
        "ts": one.microseconds,
        "pid": one.process,
        "tid": one.thread,
    }
