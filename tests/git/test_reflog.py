from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wit.git.push import RefUpdate, reflog_identity
from wit.git.reflog import Entry, LogView, came_true, parse_reflog, read_log

ZERO, A, B, C = "0" * 40, "a" * 40, "b" * 40, "c" * 40
REF = b"refs/heads/main"
OURS, THEIRS = "push-ours", "push-theirs"


def line(old: str, new: str, push: str = THEIRS, time: int = 100) -> bytes:
    return f"{old} {new} Ada <{reflog_identity(push)}> {time} +0000\tpush\n".encode()


def view(*lines: bytes) -> LogView:
    return LogView(lines[0] if lines else b"", b"".join(lines))


def judged(old: str, new: str, log: LogView, value: str | None, since: float = 100.0) -> bool:
    return came_true(RefUpdate(REF, old, new), OURS, since, log, value)


def test_an_update_is_confirmed_by_the_ref() -> None:
    assert judged(A, B, view(line(ZERO, A), line(A, B, OURS)), B)
    assert judged(ZERO, B, view(line(ZERO, B, OURS)), B)
    assert not judged(A, B, view(line(ZERO, A), line(A, B, OURS)), A), "killed before the rename"
    assert not judged(A, B, view(line(ZERO, A), line(A, B)), B), "somebody else did the same"
    assert not judged(A, B, view(), B)


def test_an_update_is_confirmed_by_who_came_next() -> None:
    assert judged(A, B, view(line(A, B, OURS), line(B, C)), C)
    assert judged(A, B, view(line(A, B, OURS), line(B, C)), A), "only the next one was cut off"
    assert not judged(A, B, view(line(A, B, OURS), line(A, C)), C)
    assert not judged(A, B, view(line(A, B, OURS), line(A, B)), B), "the next one really did it"


def test_a_deletion_is_confirmed_by_absence_or_a_new_beginning() -> None:
    assert judged(A, ZERO, view(), None)
    assert not judged(A, ZERO, view(), A), "the log went first, then git was killed"
    assert not judged(A, ZERO, view(line(ZERO, A, time=50)), A)
    assert judged(A, ZERO, view(line(ZERO, C, time=150)), C)
    assert not judged(A, ZERO, view(line(ZERO, A, time=100)), A), "made in the same second, before"


def test_reading_and_parsing(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "refs" / "heads" / "main"
    log.parent.mkdir(parents=True)
    first = line(ZERO, A, OURS)
    more = b"".join(line(A, A, time=number) for number in range(1000))
    log.write_bytes(first + more + b"garbage\n" + A.encode())
    seen = read_log(str(tmp_path), REF, OURS)
    assert seen.first == first
    assert parse_reflog(seen.tail)[0] == Entry(ZERO, A, b"push-ours@push.wit", 100)
    assert len(parse_reflog(seen.tail)) == 1001
    short = read_log(str(tmp_path), REF, THEIRS)
    assert len(short.tail) == 64 * 1024, "found near the end: no need to read it all"
    assert read_log(str(tmp_path), b"refs/heads/none", OURS) == LogView()
    assert read_log(str(tmp_path), b"refs/heads", OURS) == LogView()
    assert read_log(str(tmp_path), b"refs/../../etc/passwd", OURS) == LogView()


@given(st.binary(max_size=300))
def test_parsing_never_fails(data: bytes) -> None:
    for entry in parse_reflog(data):
        assert len(entry.old) >= 40


@given(st.lists(st.tuples(st.sampled_from([A, B, C]), st.booleans(), st.booleans()), max_size=8))
def test_exactly_what_happened_is_found(steps: list[tuple[str, bool, bool]]) -> None:
    """Pushes one after the other; each writes its entry, and some are cut off before the rename."""
    value: str = ZERO
    lines: list[bytes] = []
    pushes: list[tuple[str, RefUpdate, bool]] = []
    for number, (new, cut_off, _) in enumerate(steps):
        if new == value:
            continue
        push = f"push-{number:04}"
        lines.append(line(value, new, push))
        pushes.append((push, RefUpdate(REF, value, new), not cut_off))
        if not cut_off:
            value = new
    log = view(*lines)
    for push, update, happened in pushes:
        current = None if value == ZERO else value
        assert came_true(update, push, 1.0, log, current) is happened


@pytest.mark.parametrize("name", [b"A <x> B", b"", b"a\tb"])
def test_odd_committer_names(name: bytes) -> None:
    text = b"%b %b %b <push-ours@push.wit> 1 +0000\tpush\n" % (A.encode(), B.encode(), name)
    (entry,) = parse_reflog(text)
    assert entry.new == B
