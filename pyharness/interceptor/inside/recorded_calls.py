# SPDX-License-Identifier: GPL-2.0
"""The program in the guest that prints the calls that the module records, as they come.

It reads them as ``interceptorctl watch`` does, whose file is loaded before. Each line is a JSON
object: ``seconds`` (since boot), ``thread``, ``number`` (as the status file has it) and ``args`` of
a call; ``lost`` (how many calls were overwritten before they were read; 0 if that is unknown); or
``refused``, with the reason why no calls can be read. It ends with its standard input.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading

import interceptorctl


def end_with_input() -> None:
    """Wait for the end of standard input, and have the main thread restore everything and end."""
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)


def show(**fields: object) -> None:
    """Print a line."""
    print(json.dumps(fields), flush=True)


def main() -> None:
    """Print calls."""
    try:
        found = interceptorctl.chosen([], lambda count: show(lost=count))
    except interceptorctl.Refused as reason:
        show(refused=str(reason))
        return
    threading.Thread(target=end_with_input, daemon=True).start()
    for call in found:
        show(seconds=call.seconds, thread=call.thread, number=call.number, args=call.args)


main()
