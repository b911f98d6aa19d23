# SPDX-License-Identifier: GPL-2.0
"""The marking of a class: what is found, kept, recorded and repeated; needs no guest."""

import csv
import json
import os
import re
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote_to_bytes

import dask_cluster
import fake_check
import psutil
import pytest
from click.testing import CliRunner
from dask_cluster import Cluster

from pyharness.cli import cli
from pyharness.errors import GuestError, HostError, UsageError
from pyharness.host.progress import NoProgress
from pyharness.interceptor.rules import marking, workers
from pyharness.interceptor.rules.class_folder import Submission, submissions
from pyharness.interceptor.rules.marking import Check, Job, Marking, Pool, _period
from pyharness.interceptor.rules.marks import Marks
from pyharness.interceptor.rules.reports import json_report
from pyharness.interceptor.rules.scheme import Scheme
from pyharness.interceptor.rules.settings import Settings
from pyharness.interceptor.rules.submission import packed
from pyharness.interceptor.rules.verdict import Checked
from pyharness.machine import saved_states

SETTINGS = Settings(guest="bullseye-i386", scheme=Scheme(name="a2"), seed=7)


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the checks leave what they did."""
    path = tmp_path / "log"
    path.mkdir()
    monkeypatch.setenv(fake_check.LOG, str(path))
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    path = tmp_path / "out"
    path.mkdir()
    return path


def hand_in(folder: Path, *names: str) -> Path:
    """Make a class with these submissions."""
    for name in names:
        path = folder / name
        if path.suffix == ".zip":
            path.parent.mkdir(parents=True, exist_ok=True)
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("interceptor.c", name)
        else:
            path.mkdir(parents=True)
            (path / "interceptor.c").write_text(name)
    return folder


def mark(
    folder: Path,
    out: Path,
    settings: Settings = SETTINGS,
    check: Check = fake_check.check,
    pool: Pool | None = None,
) -> list[Checked]:
    """Mark what is left to do of a class."""
    marking = Marking(settings=settings, marks=Marks(out), check=check)
    left = [student for student in submissions(folder, out) if not marking.kept(student)]
    if pool:
        return list(marking.mark(left, pool, NoProgress()))
    with ThreadPoolExecutor(2) as executor:
        return list(marking.mark(left, Pool(executor, lambda: 2), NoProgress()))


# ---- what is found ----


def names(folder: Path) -> list[str]:
    return [student.name for student in submissions(folder)]


def test_folders_and_archives_are_submissions_and_nothing_else_is(tmp_path: Path) -> None:
    hand_in(tmp_path, "b", "a b", "c.zip", ".git", ".d.zip")
    for name in ("notes.txt", "e.TAR.GZ", "f.tar", ".zip"):
        (tmp_path / name).touch()
    assert names(tmp_path) == ["a b", "b", "c", "e", "f"]


def test_names_are_unique(tmp_path: Path) -> None:
    hand_in(tmp_path, "a", "a.zip", "b.zip")
    for name in ("b.tar.gz", "a.zip.tar", "c.tar"):
        (tmp_path / name).touch()
    assert names(tmp_path) == ["a", "a.zip", "a.zip.tar", "b.tar.gz", "b.zip", "c"]


def test_names_are_those_that_files_can_have(tmp_path: Path) -> None:
    hand_in(tmp_path, "class", "x" * 255, "x" * 254, "-rf", "=1+1", "new\nline")
    (tmp_path / os.fsdecode(b"\xff\xfe")).mkdir()
    found = names(tmp_path)
    assert len(set(found)) == 7
    assert "class" not in found
    assert all(len(os.fsencode(name)) <= 200 for name in found)
    assert found == names(tmp_path), "the next start has to find the same names"


def test_a_class_without_submissions_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UsageError, match="has no submission: name a folder"):
        submissions(tmp_path)
    with pytest.raises(UsageError, match="can't be read"):
        submissions(tmp_path / "missing")


def test_the_folder_of_the_results_is_no_submission(tmp_path: Path) -> None:
    hand_in(tmp_path, "a", "marks")
    assert submissions(tmp_path, tmp_path / "marks") == [Submission("a", tmp_path / "a")]


# ---- what is kept ----


def test_what_was_marked_is_not_marked_again(tmp_path: Path, out: Path, log: Path) -> None:
    folder = hand_in(tmp_path / "class", "a", "b.zip")
    assert len(mark(folder, out)) == 2
    hand_in(folder, "c")
    os.utime(folder / "a" / "interceptor.c", (1, 1))
    assert [marked.report.submission for marked in mark(folder, out)] == ["c"]
    assert mark(folder, out) == []
    assert fake_check.checked(log) == ["a", "b", "c"]
    assert not list(out.glob(".*")), "no file is left that was half written"


@pytest.mark.parametrize(
    "settings",
    [
        replace(SETTINGS, guest="bookworm-i386"),
        replace(SETTINGS, seed=8),
        replace(SETTINGS, scheme=Scheme(name="a2", points={"loads": 1})),
        replace(SETTINGS, scheme=Scheme(name="a2", hidden=frozenset({"loads"}))),
        replace(SETTINGS, scheme=Scheme(name="a2", seconds=4)),
        replace(SETTINGS, only=("loads",)),
    ],
    ids=["guest", "seed", "points", "hidden", "limits", "rules"],
)
def test_other_settings_have_everything_marked_again(
    tmp_path: Path, out: Path, log: Path, settings: Settings
) -> None:
    folder = hand_in(tmp_path / "class", "a")
    assert len(mark(folder, out)) == 1
    assert len(mark(folder, out, settings)) == 1


def test_the_name_of_a_scheme_does_not_count(tmp_path: Path, out: Path, log: Path) -> None:
    folder = hand_in(tmp_path / "class", "a")
    mark(folder, out)
    assert mark(folder, out, replace(SETTINGS, scheme=Scheme(name="copy"))) == []


def _change(path: Path) -> None:
    (path / "interceptor.c").write_text("other")


def _add(path: Path) -> None:
    (path / "Makefile").touch()


def _link(path: Path) -> None:
    (path / "interceptor.c").unlink()
    (path / "interceptor.c").symlink_to("/etc/passwd")


@pytest.mark.parametrize("change", [_change, _add, _link])
def test_another_submission_is_marked_again(
    tmp_path: Path, out: Path, log: Path, change: Callable[[Path], None]
) -> None:
    folder = hand_in(tmp_path / "class", "a", "b")
    mark(folder, out)
    change(folder / "a")
    assert [marked.report.submission for marked in mark(folder, out)] == ["a"]


def test_a_broken_report_is_made_again(tmp_path: Path, out: Path, log: Path) -> None:
    folder = hand_in(tmp_path / "class", "a")
    mark(folder, out)
    whole = (out / "a.json").read_bytes()
    others = [b"", b"{", whole[:-3], whole.replace(b'"inputs"', b'"x"'), b"\xff", b"[" * 99999]
    for broken in others:
        (out / "a.json").write_bytes(broken)
        assert len(mark(folder, out)) == 1
        assert (out / "a.json").read_bytes() == whole


def test_what_could_not_be_checked_is_tried_again(tmp_path: Path, out: Path, log: Path) -> None:
    folder = hand_in(tmp_path / "class", "problem")
    assert [marked.status for marked in mark(folder, out)] == [4]
    assert len(mark(folder, out)) == 1


def test_the_report_that_is_written_is_the_whole_one(tmp_path: Path, out: Path, log: Path) -> None:
    folder = hand_in(tmp_path / "class", "a")
    (marked,) = mark(folder, out)
    assert json_report.load((out / "a.json").read_text()) == marked.report
    assert "INTERCEPT of mkdir" in (out / "a.html").read_text()


def test_reports_may_have_any_name(tmp_path: Path, out: Path, log: Path) -> None:
    folder = hand_in(tmp_path / "class", "class", "x" * 255, "-rf", "new\nline", "a%b?#:c", "é")
    (folder / os.fsdecode(b"\xff")).mkdir()
    reports = [marked.report for marked in mark(folder, out)]
    Marks(out).record_class(reports, "odd")
    page = (out / "class.html").read_text()
    links = {unquote_to_bytes(link) for link in re.findall('href="([^"]*)"', page)}
    assert links == {os.fsencode(f"{student.name}.html") for student in submissions(folder)}
    assert all((out / os.fsdecode(link)).is_file() for link in links)
    assert mark(folder, out) == []


def test_the_seed_stays(out: Path) -> None:
    marks = Marks(out)
    assert marks.seed(None, 5) == 5
    assert marks.seed(None, 6) == 5
    assert marks.seed(0, 6) == 0
    assert marks.seed(None, 6) == 0
    (out / "class.json").write_text("{")
    assert marks.seed(None, 6) == 6


# ---- one that goes wrong leaves the others alone ----


def test_a_submission_that_cannot_be_read_is_a_problem_of_its_own(
    tmp_path: Path, out: Path, log: Path
) -> None:
    folder = hand_in(tmp_path / "class", "b")
    with (folder / "a.tar").open("wb") as file:
        file.truncate(65 << 20)
    found = {marked.report.submission: marked for marked in mark(folder, out)}
    assert found["a"].status == UsageError.exit_code
    assert "more than 64 MiB" in found["a"].report.problem
    assert not found["b"].report.problem


def test_a_worker_that_is_lost_takes_no_other_with_it(tmp_path: Path, out: Path, log: Path) -> None:
    folder = hand_in(tmp_path / "class", "a", "kill", "kill-once", "slowly", "z")
    with workers.local(3) as pool:
        found = {marked.report.submission: marked for marked in mark(folder, out, pool=pool)}
    assert {name for name, marked in found.items() if marked.status} == {"kill"}
    assert found["kill"].status == HostError.exit_code
    assert "was lost, twice" in found["kill"].report.problem
    assert "killed by signal 9" in found["kill"].report.problem
    assert sorted(fake_check.checked(log)) == sorted(
        ["a", "kill", "kill", "kill-once", "kill-once", "slowly", "z"]
    )


def test_each_submission_has_a_process_of_its_own(tmp_path: Path, out: Path, log: Path) -> None:
    folder = hand_in(tmp_path / "class", "a", "b")
    with workers.local(1) as pool:
        mark(folder, out, pool=pool)
    pids = {path.name.split("@")[2] for path in log.iterdir()}
    assert len(pids) == 2
    assert str(os.getpid()) not in pids


def test_a_bug_in_a_check_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_args: object) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(workers, "Checker", broken)
    marked = workers.check(Job(name="a", archive="submission.tar", data=b"", settings=SETTINGS))
    assert marked.status == GuestError.exit_code
    said = r"a bug of pyharness: ZeroDivisionError in test_marking\.py:\d+ from workers\.py:\d+: oh"
    assert re.fullmatch(said, marked.report.problem)


def test_a_bug_in_packing_a_submission_stops_no_other(
    tmp_path: Path, out: Path, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(path: Path) -> tuple[str, bytes]:
        if path.name == "a":
            raise ZeroDivisionError("oh")
        return packed(path)

    monkeypatch.setattr(marking, "packed", broken)
    folder = hand_in(tmp_path / "class", "a", "b")
    for _ in range(2):  # the second time there is a report, which is not kept
        marked = {checked.report.submission: checked for checked in mark(folder, out)}
        assert marked["a"].status == GuestError.exit_code
        assert "a bug of pyharness: ZeroDivisionError" in marked["a"].report.problem
    assert json_report.load((out / "b.json").read_text())


# ---- a command that is ended ----

PROGRAM = """
import sys
from pathlib import Path
import fake_check
from test_marking import SETTINGS, mark
from pyharness.host import signals
from pyharness.interceptor.rules import marking, workers
if __name__ == "__main__":
    signals.install()
    with workers.local(2) as pool:
        mark(Path(sys.argv[1]), Path(sys.argv[2]), pool=pool)
"""


@pytest.mark.parametrize("signal", ["SIGKILL", "SIGTERM"])
def test_workers_end_with_the_command_and_the_next_one_goes_on(
    tmp_path: Path, out: Path, log: Path, signal: str
) -> None:
    folder = hand_in(tmp_path / "class", "a", "slow", "z")
    (tmp_path / "program.py").write_text(PROGRAM)
    paths = [str(Path(__file__).parent), *sys.path]
    with subprocess.Popen(
        [sys.executable, tmp_path / "program.py", folder, out],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        stderr=subprocess.DEVNULL,
    ) as command:
        _wait(lambda: (out / "a.json").exists() and (out / "z.json").exists())
        _wait(lambda: any(log.glob("slow@*")))  # the other worker may have started late
        (slow,) = log.glob("slow@*")
        worker = psutil.Process(int(slow.name.split("@")[2]))
        getattr(command, {"SIGKILL": "kill", "SIGTERM": "terminate"}[signal])()
        command.wait(60)
    _wait(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)
    (folder / "slow").rename(folder / "fast")
    assert [marked.report.submission for marked in mark(folder, out)] == ["fast"]


def _wait(until: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not until():
        assert time.monotonic() < end
        time.sleep(0.05)


# ---- Dask ----


@pytest.fixture
def cluster(log: Path) -> Iterator[Cluster]:
    """A scheduler with two workers, which know the folder of ``log``."""
    assert log.exists()
    with dask_cluster.cluster() as made:
        yield made


@pytest.mark.filterwarnings("ignore")
def test_dask_repeats_what_a_lost_worker_had(
    tmp_path: Path, out: Path, log: Path, cluster: Cluster
) -> None:
    students = [f"slow-{number}" for number in range(6)]
    folder = hand_in(tmp_path / "class", *students)
    with workers.dask(cluster.address, NoProgress()) as pool:
        _wait(lambda: pool.room() == 4)
        marking = Marking(settings=SETTINGS, marks=Marks(out), check=fake_check.check)
        found: list[Checked] = []
        for marked in marking.mark(submissions(folder), pool, NoProgress()):
            if not found:
                cluster.workers[0].kill()
            found.append(marked)
    assert sorted(marked.report.submission for marked in found) == students
    assert not any(marked.status for marked in found)
    assert {path.stem for path in out.glob("*.json")} == {*students}
    assert set(fake_check.checked(log)) == {*students}


@pytest.mark.filterwarnings("ignore")
def test_a_lost_scheduler_ends_the_command_and_keeps_what_is_done(
    tmp_path: Path, out: Path, log: Path, cluster: Cluster
) -> None:
    folder = hand_in(tmp_path / "class", "a", "slow", "slow-2")
    marking = Marking(settings=SETTINGS, marks=Marks(out), check=fake_check.check)

    def run() -> None:
        with workers.dask(cluster.address, NoProgress()) as pool:
            for _ in marking.mark(submissions(folder), pool, NoProgress()):
                cluster.scheduler.kill()

    with pytest.raises(HostError, match="is lost: start it again"):
        run()
    assert (out / "a.json").exists()
    assert not (out / "slow.json").exists()


def test_without_dask_the_message_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with (
        pytest.raises(UsageError, match="pip install distributed"),
        workers.dask("tcp://127.0.0.1:1", NoProgress()),
    ):
        pass


# ---- the command ----


@pytest.fixture
def run(
    tmp_path: Path, log: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str]]:
    """Run ``pyharness check`` without guests; return the exit status and the output."""
    monkeypatch.setenv("PYHARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(workers, "check", fake_check.check)
    monkeypatch.setattr(saved_states, "ensure", lambda *_args, **_options: None)

    def runs(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(cli, ["check", *words], standalone_mode=False)
        assert not done.exception, done.exception
        return done.return_value, done.output

    return runs


def test_the_command_marks_a_class(tmp_path: Path, run: Callable[..., tuple[int, str]]) -> None:
    folder = hand_in(tmp_path / "a2", "ada", "=grace", "class")
    status, said = run("--class", str(folder), "-n", "2")
    assert status == 0
    assert ["ada", "0.5/2", "intercept-twice"] in [line.split() for line in said.splitlines()]
    out = tmp_path / "a2-marks"
    stems = {path.stem for path in out.glob("*.json")}
    assert {"ada", "=grace", "class"} < stems
    rows = list(csv.DictReader((out / "class.csv").read_text().splitlines()))
    assert [row["student"] for row in rows] == sorted(
        "'=grace" if stem == "=grace" else stem for stem in stems - {"class"}
    )
    assert 'href="ada.html"' in (out / "class.html").read_text()
    seeds = {json.loads(path.read_text())["seed"] for path in out.glob("*.json")}
    assert len(seeds) == 1
    status, said = run("--class", str(folder))
    assert status == 0
    assert "3 of 3 submissions are marked already" in said


def test_the_command_says_what_is_not_marked(
    tmp_path: Path, run: Callable[..., tuple[int, str]]
) -> None:
    folder = hand_in(tmp_path / "a2", "ada", "problem")
    status, said = run("--class", str(folder), "--out", str(tmp_path / "out"))
    assert status == 4
    assert "not marked: 1 of 2 submissions\n  problem: no guest\n" in said


@pytest.mark.parametrize(
    "words",
    [
        ["--class", ".", "."],
        ["--class", ".", "--json"],
        ["--class", ".", "--html", "x.html"],
        [".", "-n", "2"],
        [".", "--json", "--markus"],
        [".", "--junit", "x", "--html", "./x"],
        ["--out", "x"],
        ["--class", ".", "-n", "2", "--scheduler", "tcp://127.0.0.1:1"],
        ["--class", ".", "--guest", "none"],
        ["--class", ".", "--only", "none"],
        ["--class", "/"],
    ],
)
def test_options_that_do_not_fit_are_refused(
    words: list[str], run: Callable[..., tuple[int, str]]
) -> None:
    assert run(*words)[0] == UsageError.exit_code


@pytest.mark.parametrize(
    ("seconds", "said"), [(0, "0 s"), (89, "89 s"), (91, "2 min"), (7260, "2 h 1 min")]
)
def test_the_time_left_is_rounded(seconds: float, said: str) -> None:
    assert _period(seconds) == said
