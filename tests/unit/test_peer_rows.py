# SPDX-License-Identifier: GPL-2.0
"""The table of the module's peers, and how results become text, JSON and a plot; needs no guest."""

import ast
import json
import re
import shlex
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import pyharness
from pyharness.cli import cli
from pyharness.errors import CheckFailed, HarnessError, HostError, UsageError
from pyharness.host import bundled
from pyharness.interceptor import peer_plot, peer_results, peer_rows, peers
from pyharness.interceptor.peer_results import CallCosts, PeerCost
from pyharness.interceptor.peer_rows import PeerRow
from pyharness.machine import command_line, guest_specs
from pyharness.machine.kernel import Kernel

INSIDE = Path(pyharness.__file__).parent / "interceptor" / "inside"
OURS = PeerRow(name="module", title="the module", group="ours", start="insmod")
THEIRS = PeerRow(name="tracer", title="a tracer", daemon="tracer", leaves="a mark on each process")
ABSENT = PeerRow(name="absent", title="an absent one", daemon="absent")
ROWS = [OURS, THEIRS, ABSENT]


def costs(traced: float, other_process: float, other_call: float) -> dict[str, float]:
    return {"traced": traced, "other_process": other_process, "other_call": other_call}


def lines(*messages: dict[str, object]) -> str:
    return "".join(json.dumps(message) + "\n" for message in messages)


BASE = costs(300.0, 300.5, 280.0)
OUTPUT = lines(
    {"begin": "module"},
    {"row": "module", "base": BASE, "recording": costs(420.5, 330.5, 280.0), "after": BASE},
    {"begin": "tracer"},
    {
        "row": "tracer",
        "base": costs(301.0, 300.5, 280.0),  # what the module has left, if anything
        "recording": costs(12300.0, 310.5, 281.0),
        "after": costs(305.0, 300.5, 280.0),
    },
    {"begin": "absent"},
    {"row": "absent", "missing": "the guest has no program absent"},
    {"done": True},
)


@pytest.fixture
def results() -> list[PeerCost]:
    return peer_results.parse(OUTPUT, ROWS)


# ---- the table ----


def test_the_table_is_read() -> None:
    rows = peer_rows.load()
    names = [row.name for row in rows]
    assert len({*names}) == len(names) > 20
    assert rows[0].group == "ours"
    assert {row.name for row in rows if row.parameter} == {"interceptor-event", "interceptor-ring"}


def test_the_bench_guest_has_the_packages_of_the_rows() -> None:
    """Except for one that can't be installed there, which vm/guests.toml explains."""
    spec = guest_specs.load()[peers.GUEST]
    wanted = {package for row in peer_rows.load() for package in row.packages}
    assert wanted - {*spec.all_packages} <= {"lttng-modules-dkms"}


def test_a_peer_that_records_proves_it() -> None:
    for row in peer_rows.load():
        records = row.daemon or row.wrapper or "PID" in row.start
        assert row.proof or not records or row.parameter, row.name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[a", "peers.toml: "),
        ("a = 1", "peers.toml: a: 1 is not a table"),
        ("[a]\nstrat = 'x'", "peers.toml: a: unknown key 'strat'"),
        ("[a]\nname = 'x'", "peers.toml: a: unknown key 'name'"),
        ("[a]\nstart = 1", "peers.toml: a: start = 1 is not of the right type"),
        ("[a]\nprograms = 'x'", "peers.toml: a: programs = 'x' is not of the right type"),
        ("[a]\nprograms = [1]", "peers.toml: a: programs = \\[1\\] is not of the right type"),
        ("[a]\nneeds = ['x']", "peers.toml: a: needs = .* is not of the right type"),
        ("[a]\nneeds = [{ test = 'x' }]", "peers.toml: a: needs = .* is not of the right type"),
        ("[a]\nstart = 'x'\ngroup = 'mine'", "peers.toml: a: group is 'mine', not one of ours"),
        ("[a]\nstop = 'x'", "peers.toml: a: nothing starts it"),
    ],
)
def test_a_mistake_in_a_table_is_one_sentence(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        peer_rows.parse(text)


def test_a_table_becomes_a_row() -> None:
    text = "[a]\nprograms = ['x', 'y']\nstart = 'x'\nneeds = [{ test = 't', missing = 'm' }]\n"
    assert peer_rows.parse(text) == [
        PeerRow(
            name="a",
            title="a",
            programs=("x", "y"),
            start="x",
            needs=(peer_rows.Need(test="t", missing="m"),),
        )
    ]


def test_a_row_whose_parameter_the_module_lacks_is_left_out() -> None:
    needy = PeerRow(name="event", title="event", start="x", parameter="log")
    assert peer_rows.applicable([OURS, needy], ["method"]) == [OURS]
    assert peer_rows.applicable([OURS, needy], ["method", "log"]) == [OURS, needy]
    peer_rows.check_parameters([OURS, needy], ["log"])
    with pytest.raises(UsageError, match="event needs a module with the parameter 'log'"):
        peer_rows.check_parameters([OURS, needy], ["method"])


def test_rows_are_chosen_by_name_in_the_order_of_the_table() -> None:
    assert peer_rows.chosen(ROWS, ["absent", "module"]) == [OURS, ABSENT]
    assert peer_rows.chosen(ROWS, []) == ROWS
    with pytest.raises(UsageError, match="no peer is called 'x'; there are: module, tracer, abs"):
        peer_rows.chosen(ROWS, ["x"])


# ---- results ----


def test_results_are_differences_to_the_base(results: list[PeerCost]) -> None:
    module, tracer, absent = results
    assert module.added == CallCosts(traced=120.5, other_process=30.0, other_call=0.0)
    assert module.left == CallCosts(traced=0.0, other_process=0.0, other_call=0.0)
    assert tracer.added == CallCosts(traced=12000.0, other_process=10.0, other_call=1.0)
    assert tracer.left
    assert tracer.left.traced == 5.0
    assert (absent.added, absent.missing) == (None, "the guest has no program absent")


def test_a_line_that_is_being_written_is_not_read() -> None:
    assert peer_results.begun('{"begin": "module"}\n{"beg') == ["module"]


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("", "did not get to the end of 'module'"),
        (OUTPUT.replace('"row": "tracer"', '"row": "x"'), "did not get to the end of 'tracer'"),
        (OUTPUT.replace('{"done": true}\n', ""), "did not get to its end"),
        ("Oops\n", "a line that is not a result: 'Oops'"),
        ("1\n", "a line that is not a result: '1'"),
    ],
)
def test_results_that_are_not_whole_are_none(output: str, message: str) -> None:
    with pytest.raises(CheckFailed, match=message):
        peer_results.parse(output, ROWS)


def test_the_text_has_every_row_and_why_one_is_missing(results: list[PeerCost]) -> None:
    head, module, tracer, base, leaves, missing = peer_results.as_table(results).splitlines()
    assert head.split()[-6:] == ["traced", "other", "pid", "other", "call", "after"]
    assert module.split()[-4:] == ["+120.5", "+30.0", "+0.0", "+0.0"]
    assert tracer.split()[-4:] == ["+12,000.0", "+10.0", "+1.0", "+5.0"]
    assert base == "base: getppid 300.0, getpgrp 280.0"
    assert leaves == "a tracer leaves: a mark on each process"
    assert missing == "not measured: an absent one: the guest has no program absent"


def test_the_json_has_the_same(results: list[PeerCost]) -> None:
    module, tracer, absent = json.loads(peer_results.as_json(results))
    assert module["added"] == costs(120.5, 30.0, 0.0)
    assert tracer["left"]["traced"] == 5.0
    assert (absent["added"], absent["missing"]) == (None, "the guest has no program absent")


# ---- the plot ----


def test_the_plot_has_each_row_that_was_measured(results: list[PeerCost], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for name in ("a.svg", "b.svg"):
        peer_plot.draw(results, tmp_path / name, title="what a call costs")
    text = (tmp_path / "a.svg").read_text(encoding="utf-8")
    for shown in ("the module", "a tracer", "12,000", "120", "what a call costs"):
        assert shown in text
    assert "an absent one" not in text
    assert text == (tmp_path / "b.svg").read_text(encoding="utf-8")


def test_nothing_is_no_plot(results: list[PeerCost], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    with pytest.raises(CheckFailed, match="is not drawn, as no peer could be measured"):
        peer_plot.draw(results[2:], tmp_path / "a.svg", title="what a call costs")
    with pytest.raises(HostError, match="can't be written: No such file or directory"):
        peer_plot.draw(results, tmp_path / "nosuch" / "a.svg", title="what a call costs")


def test_values_below_zero_are_drawn_as_zero() -> None:
    below, above = CallCosts(**costs(1.0, 1.0, 1.0)), CallCosts(**costs(0.5, 2.0, 1.0))
    cost = PeerCost(row=OURS, base=below, recording=above, after=below)
    assert peer_plot.values([cost]) == {
        "traced": [0.0],
        "other_process": [1.0],
        "other_call": [0.0],
    }


def test_without_matplotlib_the_fix_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_plot, "find_spec", lambda _name: None)
    with pytest.raises(UsageError, match=r"matplotlib is missing.*pip install matplotlib"):
        peer_plot.check(Path("a.svg"))


def test_the_command_line_does_not_need_matplotlib() -> None:
    """It is imported when a plot is drawn, and not before."""
    source = Path(peer_plot.__file__).read_text(encoding="utf-8")
    for node in ast.parse(source).body:
        assert "matplotlib" not in ast.unparse(node) or not isinstance(
            node, ast.Import | ast.ImportFrom
        )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--plot", "a.svg"], "--plot needs --peers"),
        (["--only", "strace"], "--only needs --peers"),
        (["--peers", "--guest", "bookworm-i386"], "needs a guest of amd64, and bookworm-i386 is"),
        (["--peers", "--only", "nosuch"], "no peer is called 'nosuch'; there are: interceptor-"),
        (["--peers", "--plot", "a.jpeg"], "--plot a.jpeg: the name has to end with .svg, .pdf"),
    ],
)
def test_a_mistake_is_one_sentence(words: list[str], message: str) -> None:
    result = CliRunner().invoke(cli, ["bench", *words], standalone_mode=False)
    said = str(result.exception) if isinstance(result.exception, HarnessError) else result.output
    assert message in said
    assert result.return_value == 2


# ---- the machine, and the programs in it ----


def test_the_machine_counts_instructions_and_runs_one_command() -> None:
    spec = guest_specs.load()[peers.GUEST]
    kernel = Kernel(folder=Path("/images/x"), release="6.12", version="1")
    line = command_line.for_peers(spec, kernel, files="f.tar", console="c", results="r")
    assert line[line.index("-icount") + 1] == "shift=0,sleep=off"
    assert line[line.index("-smp") + 1] == "1"
    assert [line[at + 1] for at, word in enumerate(line) if word == "-serial"] == [
        "file:c",
        "file:r",
    ]
    (run,) = re.findall(r'systemd\.run="([^"]*)"', line[line.index("-append") + 1])
    shell, option, command = shlex.split(run)
    assert (shell, option) == ("/bin/sh", "-c")
    assert command.endswith("/peers.py /root/peers /dev/ttyS1")


def test_the_module_has_the_files_that_rows_use() -> None:
    files = peers.module_files(bundled.MODULE / "Kbuild", bundled.MODULE)
    assert set(files) == {"interceptor.ko", "interceptorctl.py"}
    with pytest.raises(UsageError, match=r"nosuch/interceptorctl\.py can't be read: No such file"):
        peers.module_files(bundled.MODULE / "Kbuild", Path("nosuch"))


def test_the_program_in_the_guest_needs_the_standard_library_alone() -> None:
    tree = ast.parse((INSIDE / "peers.py").read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        names = (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
        assert {name.split(".")[0] for name in names} <= {*sys.stdlib_module_names}
