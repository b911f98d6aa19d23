# SPDX-License-Identifier: GPL-2.0
"""The rules, the schemes, and how a submission is packed; needs no guest."""

import io
import json
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import classic
import pytest
from deep_folder import deep_folder

from pyharness.errors import UsageError
from pyharness.interceptor.rules import catalogue, scheme, submission
from pyharness.interceptor.rules.class_folder import digest
from pyharness.linux.syscalls import Syscalls


def test_each_rule_comes_after_those_that_it_needs() -> None:
    seen: set[str] = set()
    for rule in catalogue.RULES:
        assert rule.id not in seen
        assert set(rule.after) <= seen
        seen.add(rule.id)


def test_titles_are_sentences() -> None:
    for rule in catalogue.RULES:
        assert re.fullmatch(r"[A-Z].*\.", rule.title), rule.id


def test_one_rule_takes_along_what_it_needs() -> None:
    chosen = [rule.id for rule in catalogue.chosen(["log-line"])]
    assert chosen[-1] == "log-line"
    assert "builds" in chosen
    assert "storm" not in chosen
    with pytest.raises(UsageError, match="pyharness rules"):
        catalogue.chosen(["no such rule"])


def test_one_rule_that_is_left_out_is_refused() -> None:
    with pytest.raises(UsageError, match="the scheme leaves the rule storm out"):
        catalogue.chosen(["log-line", "storm"], without=["storm"])
    with pytest.raises(UsageError, match=r"table-read-only is not decided on amd64: .* i386"):
        catalogue.chosen(["table-read-only"], architecture="amd64")


@pytest.mark.parametrize("name", scheme.shipped())
def test_shipped_schemes_are_right(name: str) -> None:
    assert scheme.load(name, catalogue.IDS).name == name


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({"pointz": {}}, "pointz is unknown"),
        ({"points": {"no-such": 1}}, "points.no-such is unknown"),
        ({"points": {"builds": "five"}}, "points.builds is 'five'"),
        ({"points": {"builds": True}}, "points.builds is True"),
        ({"points": {"builds": -1}}, "points.builds is -1"),
        ({"points": {"builds": float("nan")}}, "points.builds is nan"),
        ({"points": 3}, "points is not a table"),
        ({"hidden": "builds"}, "hidden is not a list"),
        ({"hidden": [["builds"]]}, "hidden names"),
        ({"without": ["no-such"]}, "no-such"),
        ({"without": ["builds"]}, "on which all others depend"),
        ({"readings": {"number-of-syscalls": "maybe"}}, "'maybe', not one of refused, either"),
        ({"readings": {"number-of-syscalls": ["either"]}}, "not one of"),
        ({"limits": {"seconds": 0}}, "limits.seconds is 0"),
    ],
)
def test_a_wrong_scheme_is_refused(found: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        scheme.parse("mine", found, catalogue.IDS)


@pytest.mark.parametrize("text", [None, b"\xff\xfe", b"points = ["])
def test_a_scheme_that_cant_be_read_is_refused(tmp_path: Path, text: bytes | None) -> None:
    path = tmp_path / "mine.toml"
    if text is not None:
        path.write_bytes(text)
    with pytest.raises(UsageError, match=r"mine\.toml"):
        scheme.load(str(path), catalogue.IDS)


def test_nothing_outside_of_the_folder_is_packed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("the answers")
    folder = tmp_path / "it"
    (folder / ".git").mkdir(parents=True)
    (folder / ".git" / "config").write_text("x")
    (folder / "Kbuild").write_text("obj-m := it.o\n")
    (folder / "it.ko").write_bytes(b"built before")
    (folder / "link.c").symlink_to(secret)
    os.mkfifo(folder / "fifo.c")
    name, data = submission.packed(folder)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert sorted(archive.getnames()) == ["Kbuild", "link.c"]
        assert archive.getmember("link.c").issym()
    assert name == "submission.tar"
    assert b"the answers" not in data


def test_a_hard_link_is_packed_as_a_file(tmp_path: Path) -> None:
    (tmp_path / ".interceptor.c.bak").write_text("int x;\n")
    for name in ("a.c", "interceptor.c"):
        (tmp_path / name).hardlink_to(tmp_path / ".interceptor.c.bak")
    _, data = submission.packed(tmp_path)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert {member.name: member.size for member in archive} == {"a.c": 7, "interceptor.c": 7}


def test_a_folder_of_too_many_levels_is_refused(tmp_path: Path) -> None:
    refused = pytest.raises(UsageError, match="more than 50 levels of folders: it is not a module")
    with deep_folder(tmp_path), refused:
        submission.packed(tmp_path)


def test_a_folder_of_too_many_files_is_refused(tmp_path: Path) -> None:
    for number in range(101):
        (tmp_path / str(number)).mkdir()
        for other in range(100):
            (tmp_path / str(number) / str(other)).touch()
    with pytest.raises(UsageError, match="has more than 10,000 files: it is not a module's source"):
        submission.packed(tmp_path)


def test_a_folder_is_packed_in_one_order(tmp_path: Path) -> None:
    for name in ("b/z/y.c", "b/a.c", "b.c", "a/x.c", "b/.git/config", "b/old.ko"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    _, data = submission.packed(tmp_path)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert archive.getnames() == ["a", "a/x.c", "b", "b/a.c", "b/z", "b/z/y.c", "b.c"]


def test_what_is_no_submission_is_refused(tmp_path: Path) -> None:
    (tmp_path / "it.rar").write_bytes(b"Rar!")
    for path in (tmp_path / "it.rar", tmp_path / "none"):
        with pytest.raises(UsageError, match="name a module's folder"):
            submission.find(path)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("", 0),
        ("#define MY_CUSTOM_SYSCALL 0\n", 0),
        ("#define MY_CUSTOM_SYSCALL (17)\n", 17),
        ("#define MY_CUSTOM_SYSCALL __NR_restart_syscall\n", 0),
        ("#define MY_CUSTOM_SYSCALL (BASE + 3)\n", 0),
        ("#define MY_CUSTOM_SYSCALL 99999999999\n", 0),
        ("#define MY_CUSTOM_SYSCALL -5\n", 0),
        ("/*\n#define MY_CUSTOM_SYSCALL 7\n*/\n//\n#define MY_CUSTOM_SYSCALL 8 // not 9\n", 8),
    ],
)
def test_the_number_is_the_headers(text: str, number: int) -> None:
    assert submission.interface(text, Syscalls("i386")).custom_syscall == number


@pytest.mark.test_limit(30)
def test_comments_that_do_not_end_are_read_at_once() -> None:
    text = "#define MY_CUSTOM_SYSCALL 7\n" + "/* " * 300_000
    assert submission.interface(text, Syscalls("i386")).custom_syscall == 7


def test_a_students_own_archive_is_not_looked_into(tmp_path: Path) -> None:
    holes = tmp_path / "holes"
    with holes.open("wb") as file:
        file.truncate(1 << 40)
    archive = tmp_path / "eve.tar"
    line = ["tar", "--sparse", "--format=gnu", "-C", str(tmp_path), "-cf", str(archive), "holes"]
    subprocess.run(line, check=True)
    assert len(digest(*submission.packed(archive))) == 64


@pytest.mark.parametrize(
    ("name", "answer"), [("m\udcf6dul.c", "folder"), ("m\udcf6dul.txt", "problem")]
)
def test_whatever_is_handed_in_is_answered(tmp_path: Path, name: str, answer: str) -> None:
    """A name that is no text makes no traceback."""
    with tarfile.open(tmp_path / "a.tar", "w") as made:
        made.addfile(tarfile.TarInfo(name))
    (tmp_path / "src").mkdir()
    program = Path(submission.__file__).parents[1] / "inside" / "unpack.py"
    fill = Path(submission.__file__).parents[1] / "starter"
    line = list(map(str, (sys.executable, program, tmp_path / "a.tar", tmp_path / "src", fill)))
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    assert answer in json.loads(done.stdout)


def test_there_are_thirty_mutants_and_every_rule_is_broken_by_one() -> None:
    assert len(classic.MUTANTS) >= 30
    broken = {rule for name in classic.MUTANTS for rule in classic.breaks(name)}
    assert broken >= {rule.id for rule in catalogue.RULES if rule.points}
