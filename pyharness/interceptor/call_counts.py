# SPDX-License-Identifier: GPL-2.0
"""The table of a traced command's calls, in the form of ``strace -w -c``. Pure."""

from dataclasses import dataclass

from pyharness.interceptor.traced_call import TracedCall

_HEAD = "% time     seconds  usecs/call     calls    errors syscall"
_RULE = "------ ----------- ----------- --------- --------- ----------------"


@dataclass
class _Count:
    calls: int = 0
    errors: int = 0
    microseconds: int = 0

    def add(self, other: "_Count") -> None:
        self.calls += other.calls
        self.errors += other.errors
        self.microseconds += other.microseconds


class Counts:
    """Counts calls, errors, and the time inside, for each system call."""

    def __init__(self) -> None:
        """Begin with no calls."""
        self._counts: dict[str, _Count] = {}

    def add(self, call: TracedCall) -> None:
        """Count a call. The time of one that didn't return is 0."""
        one = _Count(1, int(call.failed), call.took_microseconds or 0)
        self._counts.setdefault(call.name, _Count()).add(one)

    def table(self) -> str:
        """Return the table; the call that took most comes first."""
        total = _Count()
        for count in self._counts.values():
            total.add(count)
        rows = [
            _row(100 * count.microseconds / max(total.microseconds, 1), count, name)
            for name, count in sorted(
                self._counts.items(), key=lambda item: (-item[1].microseconds, -item[1].calls)
            )
        ]
        return "\n".join([_HEAD, _RULE, *rows, _RULE, _row(100, total, "total")])


def _row(percent: float, count: _Count, name: str) -> str:
    seconds = count.microseconds / 1e6
    each = count.microseconds // max(count.calls, 1)
    errors = count.errors or ""
    return f"{percent:6.2f} {seconds:11.6f} {each:11} {count.calls:9} {errors:>9} {name}"
