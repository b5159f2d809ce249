from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wit.errors import Invalid
from wit.git.hook_channel import (
    MAX_ANSWER_LINES,
    Answer,
    PreReceive,
    QuestionParser,
    UpdateOne,
    encode_answer,
    parse_updates,
)
from wit.git.pktline import ProtocolError
from wit.git.push import RefUpdate

OLD, NEW = "1" * 40, "2" * 40
no_nul = st.binary(max_size=30).filter(lambda data: b"\0" not in data)


def encoded(question: PreReceive | UpdateOne, options: list[bytes]) -> bytes:
    if isinstance(question, UpdateOne):
        return b"update\0" + question.ref + b"\0"
    fields = [
        b"pre-receive",
        question.object_directory.encode(),
        question.alternates.encode(),
        str(len(options)).encode(),
        *options,
        question.updates,
    ]
    return b"".join(field + b"\0" for field in fields)


@given(
    options=st.lists(no_nul, max_size=5),
    updates=no_nul,
    ref=no_nul,
    cuts=st.lists(st.integers(0, 400), max_size=6),
)
def test_questions_survive_any_split(
    options: list[bytes], updates: bytes, ref: bytes, cuts: list[int]
) -> None:
    first = PreReceive("/q", "/a:/b", [o.decode("utf-8", "replace") for o in options], updates)
    data = encoded(first, options) + encoded(UpdateOne(ref), [])
    parser = QuestionParser()
    questions = []
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    for start, end in pairwise(edges):
        questions += parser.feed(data[start:end])
    assert questions == [first, UpdateOne(ref)]


@pytest.mark.parametrize("data", [b"hello\0", b"pre-receive\0a\0b\0-1\0", b"\0"])
def test_other_questions_are_not_answered(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        QuestionParser().feed(data)


def test_a_question_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wit.git.hook_channel.MAX_QUESTION", 100)
    parser = QuestionParser()
    parser.feed(b"pre-receive\0" + b"a" * 60 + b"\0")
    with pytest.raises(ProtocolError):
        parser.feed(b"b" * 60)


def test_updates() -> None:
    lines = f"{OLD} {NEW} refs/heads/a\n{NEW} {OLD} refs/heads/é b\n".encode()
    assert parse_updates(lines) == [
        RefUpdate(b"refs/heads/a", OLD, NEW),
        RefUpdate("refs/heads/é b".encode(), NEW, OLD),
    ]
    assert parse_updates(b"") == []
    for bad in (b"x\n", f"{OLD} {NEW}\n".encode(), f"{OLD} xyz refs/heads/a\n".encode()):
        with pytest.raises(Invalid):
            parse_updates(bad)


def test_an_answer_is_lines_that_a_terminal_can_show() -> None:
    answer = Answer(False, ("one\ntwo", "esc \x1b[31m \r \u2028", "x" * 5000))
    lines = encode_answer(answer).decode().split("\n")
    assert lines[:3] == ["|one", "|two", "|esc \ufffd[31m \ufffd \ufffd"]
    assert len(lines[3]) == 1001
    assert lines[4:] == ["refuse", ""]
    assert encode_answer(Answer(True)) == b"accept\n"
    many = encode_answer(Answer(True, tuple(map(str, range(500))))).decode().splitlines()
    assert len(many) == MAX_ANSWER_LINES + 2
    assert many[-2:] == ["|... and 400 more", "accept"]
