# SPDX-License-Identifier: GPL-2.0
"""A trace of system calls in Chrome's trace event format, which ui.perfetto.dev opens. Pure."""

import json
from collections.abc import Sequence
from typing import Any

from pyharness.interceptor.traced_call import TracedCall


def document(calls: Sequence[TracedCall]) -> str:
    """Return the JSON text of a trace with a slice for each call.

    A call that didn't return has a duration of 0. Times are in microseconds since the
    epoch.
    """
    threads = {(call.process, call.thread): call.program for call in calls}
    names = [_name("thread_name", *thread, program) for thread, program in threads.items()]
    slices = [_slice(call) for call in calls]
    return json.dumps({"traceEvents": [*names, *slices]}, indent=0) + "\n"


def _name(kind: str, process: int, thread: int, name: str) -> dict[str, Any]:
    return {"name": kind, "ph": "M", "pid": process, "tid": thread, "args": {"name": name}}


def _slice(call: TracedCall) -> dict[str, Any]:
    return {
        "name": call.name,
        "cat": "syscall",
        "ph": "X",
        "ts": call.microseconds,
        "dur": call.took_microseconds or 0,
        "pid": call.process,
        "tid": call.thread,
        "args": {"args": [f"{arg:#x}" for arg in call.args], "result": call.result},
    }
