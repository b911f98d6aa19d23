# SPDX-License-Identifier: GPL-2.0
"""The results of ``pyharness bench --peers``: from the guest's lines to text and JSON. Pure."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pyharness.errors import CheckFailed
from pyharness.interceptor.peer_rows import PeerRow


@dataclass(frozen=True, kw_only=True)
class CallCosts:
    """Costs of three calls, in instructions per call.

    Attributes:
        traced: getppid of the process that is traced.
        other_process: getppid of another process.
        other_call: getpgrp of the traced process.
    """

    traced: float
    other_process: float
    other_call: float

    def __sub__(self, other: "CallCosts") -> "CallCosts":
        return CallCosts(
            traced=round(self.traced - other.traced, 2),
            other_process=round(self.other_process - other.other_process, 2),
            other_call=round(self.other_call - other.other_call, 2),
        )


@dataclass(frozen=True, kw_only=True)
class PeerCost:
    """The result of a row.

    Attributes:
        row: the row.
        base: the costs before the first peer of the run started, so that what one peer leaves
            does not make the next one look cheaper; None if the row could not be measured.
        recording: the costs while the peer records; None likewise.
        after: the costs after the peer has stopped; None likewise.
        missing: why the row could not be measured; empty if it was.
    """

    row: PeerRow
    base: CallCosts | None = None
    recording: CallCosts | None = None
    after: CallCosts | None = None
    missing: str = ""

    @property
    def added(self) -> CallCosts | None:
        """What the peer adds while it records; None if the row could not be measured."""
        return self.recording - self.base if self.recording and self.base else None

    @property
    def left(self) -> CallCosts | None:
        """What the peer has left after it has stopped; None if the row could not be measured."""
        return self.after - self.base if self.after and self.base else None


def messages(text: str) -> list[dict[str, Any]]:
    """The complete messages in the guest's output so far; a last line without an end is left out.

    Raises:
        CheckFailed: a line is no JSON object.
    """
    found = []
    for line in text.split("\n")[:-1]:
        try:
            message = json.loads(line)
        except json.JSONDecodeError:
            message = None
        if not isinstance(message, dict):
            raise CheckFailed(f"the benchmark wrote a line that is not a result: {line!r}")
        found.append(message)
    return found


def begun(text: str) -> list[str]:
    """The names of the rows that the guest has begun to measure."""
    return [str(message["begin"]) for message in messages(text) if "begin" in message]


def parse(text: str, rows: Sequence[PeerRow]) -> list[PeerCost]:
    """Parse the output of the program in the guest.

    Args:
        text: the output: a JSON object on each line.
        rows: the rows that were to be measured.

    Returns:
        The result of each row, in their order.

    Raises:
        CheckFailed: the output is not whole.
    """
    found = messages(text)
    results = {str(message["row"]): message for message in found if "row" in message}
    if lacking := next((row for row in rows if row.name not in results), None):
        raise CheckFailed(f"the benchmark did not get to the end of {lacking.name!r}")
    if {"done": True} not in found:
        raise CheckFailed("the benchmark did not get to its end")
    measured = [results[row.name] for row in rows if "missing" not in results[row.name]]
    base = CallCosts(**measured[0]["base"]) if measured else None
    return [_cost(row, results[row.name], base) for row in rows]


def _cost(row: PeerRow, message: dict[str, Any], base: CallCosts | None) -> PeerCost:
    if "missing" in message:
        return PeerCost(row=row, missing=str(message["missing"]))
    return PeerCost(
        row=row,
        base=base,
        recording=CallCosts(**message["recording"]),
        after=CallCosts(**message["after"]),
    )


def as_json(costs: Iterable[PeerCost]) -> str:
    """Format results as JSON: a list with an object for each row."""
    objects = [
        {
            "name": cost.row.name,
            "title": cost.row.title,
            "group": cost.row.group,
            "base": cost.base and asdict(cost.base),
            "added": cost.added and asdict(cost.added),
            "left": cost.left and asdict(cost.left),
            "leaves": cost.row.leaves,
            "missing": cost.missing,
        }
        for cost in costs
    ]
    return json.dumps(objects, indent=2)


def as_table(costs: Sequence[PeerCost]) -> str:
    """Format results as a table of differences to the base, then what is missing and why."""
    head = f"{'instructions per call, added':44}{'traced':>12}{'other pid':>12}{'other call':>12}"
    lines = [f"{head}{'after':>12}"]
    notes: list[str] = []
    for cost in costs:
        if not (cost.added and cost.left):
            notes.append(f"not measured: {cost.row.title}: {cost.missing}")
            continue
        figures = (
            cost.added.traced, cost.added.other_process, cost.added.other_call, cost.left.traced,
        )  # fmt: skip
        lines.append(f"{cost.row.title:44}" + "".join(f"{one:+12,.1f}" for one in figures))
        if cost.row.leaves:
            notes.append(f"{cost.row.title} leaves: {cost.row.leaves}")
    if base := next((cost.base for cost in costs if cost.base), None):
        lines.append(f"base: getppid {base.traced:.1f}, getpgrp {base.other_call:.1f}")
    return "\n".join([*lines, *notes])
