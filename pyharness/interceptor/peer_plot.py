# SPDX-License-Identifier: GPL-2.0
"""The plot of ``pyharness bench --peers``, by matplotlib, which is optional."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from pyharness.errors import CheckFailed, HostError, UsageError
from pyharness.interceptor.peer_results import PeerCost
from pyharness.interceptor.peer_rows import OURS

SUFFIXES = (".svg", ".pdf", ".png")
# The series: a label, a colour, and how the value is read from the differences to the base.
_SERIES = (
    ("the traced call of the traced process", "#1f5fa8", "traced"),
    ("the same call of another process", "#e0912f", "other_process"),
    ("another call", "#8a8a8a", "other_call"),
)
_BAR_HEIGHT = 0.26
# The axis is linear below this number of instructions, and logarithmic above it.
_LINEAR_INSTRUCTIONS = 10.0
# The axis ends at this multiple of the highest value, as labels are right of the bars.
_ROOM_FOR_LABELS = 3.0
_ROW_INCHES, _WIDTH_INCHES, _MARGIN_INCHES = 0.42, 10.0, 1.4


def check(file: Path) -> None:
    """Check that a plot can be drawn to a file of that name.

    Raises:
        UsageError: the name has another suffix than SUFFIXES, or matplotlib is not installed.
    """
    if file.suffix not in SUFFIXES:
        raise UsageError(f"--plot {file}: the name has to end with {', '.join(SUFFIXES)}")
    if find_spec("matplotlib") is None:
        raise UsageError("matplotlib is missing, which draws the plot: pip install matplotlib")


def values(costs: Sequence[PeerCost]) -> dict[str, list[float]]:
    """The values of each series, by its field of CallCosts, of the rows that were measured.

    Rounds of instructions may scatter a little below 0, which is drawn as 0.
    """
    measured = [cost.added for cost in costs if cost.added]
    return {field: [max(0.0, getattr(one, field)) for one in measured] for *_, field in _SERIES}


def draw(costs: Sequence[PeerCost], file: Path, *, title: str) -> None:
    """Draw the rows that were measured as bars, the first row at the top.

    Args:
        costs: the results.
        file: the file to write; its suffix chooses the format.
        title: the plot's title.

    Raises:
        CheckFailed: no row was measured.
        HostError: the file can't be written.
    """
    import matplotlib as mpl  # noqa: PLC0415  (optional, and slow to import)
    from matplotlib.figure import Figure  # noqa: PLC0415

    rows = [cost.row for cost in costs if cost.added]
    if not rows:
        raise CheckFailed(f"{file} is not drawn, as no peer could be measured")
    drawn = values(costs)
    highest = [max(series, default=0.0) for series in drawn.values()]
    places = range(len(rows))
    height = _ROW_INCHES * len(rows) + _MARGIN_INCHES
    # Text stays text, and the same results give the same file.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "pyharness"}):
        figure = Figure(figsize=(_WIDTH_INCHES, height), layout="constrained")
        axes = figure.subplots()
        for number, (label, colour, field) in enumerate(_SERIES):
            bars = axes.barh(
                [place + (number - 1) * _BAR_HEIGHT for place in places],
                drawn[field],
                _BAR_HEIGHT,
                label=label,
                color=colour,
            )
            axes.bar_label(bars, fmt="{:,.0f}", padding=2, fontsize=7)
        axes.set_yticks(list(places), [row.title for row in rows])
        for tick, row in zip(axes.get_yticklabels(), rows, strict=True):
            tick.set_fontweight("bold" if row.group == OURS else "normal")
        axes.set_ylim(len(rows) - 0.5, -0.5)  # the first row at the top
        axes.set_xscale("symlog", linthresh=_LINEAR_INSTRUCTIONS)
        axes.set_xlim(0, _ROOM_FOR_LABELS * max(_LINEAR_INSTRUCTIONS, *highest))
        axes.set_xlabel("instructions that are added to each call (linear to 10, then logarithmic)")
        axes.set_title(title)
        figure.legend(loc="outside lower center", ncols=len(_SERIES), fontsize=8)
        try:
            figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)
        except OSError as error:
            raise HostError(f"{file} can't be written: {error.strerror}") from error
