"""What needs no sandbox: quoting, the log, the marks of a terminal, archives."""

from __future__ import annotations

import io
import shlex
import subprocess
from base64 import b64encode
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.sandboxes.support import make_tar
from wit.errors import Invalid
from wit.sandboxes.daytona import archives, scripts
from wit.sandboxes.daytona.files import listed, usage, workspace_path
from wit.sandboxes.daytona.log_stream import Decoder, Demultiplexer
from wit.sandboxes.daytona.pty import Marked
from wit.sandboxes.provider import Channel

HOSTILE = [
    "",
    " ",
    "'",
    '"',
    "'\"'\"'",
    "\n",
    "a\n; id\n",
    "$(id)",
    "`id`",
    "${HOME}",
    "\\",
    "\\'",
    "a' ; id ; '",
    "*",
    "~",
    "!!",
    "#",
    "&& id",
    "-n",
    "ü ☃ 🐍",
    "\x01\x01\x01",
    "\t\r\x7f",
    "=",
]


def _given_to(text: str, shell: str) -> list[str]:
    """The arguments that a shell gives on, when it reads the text as the daemon's does."""
    ran = subprocess.run([shell], input=text.encode(), capture_output=True, check=True)
    return [part.decode() for part in ran.stdout.split(b"\0")[:-1]]


PRINT = ["sh", "-c", 'for a; do printf "%s\\0" "$a"; done', "sh"]


@pytest.mark.attack(67)
@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_hostile_arguments_stay_arguments(shell: str) -> None:
    assert _given_to(scripts.quoted([*PRINT, *HOSTILE]), shell) == HOSTILE


@given(
    st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), max_size=8)
)
def test_any_arguments_are_words_of_their_own(arguments: list[str]) -> None:
    quoted = scripts.quoted(["program", *arguments])
    assert shlex.split(quoted) == ["program", *arguments]


@pytest.mark.parametrize("argv", [[], ["a\0b"], ["ok", "\0"]])
def test_no_arguments(argv: list[str]) -> None:
    with pytest.raises(Invalid):
        scripts.quoted(argv)


@pytest.mark.attack(67)
def test_variables_are_set_and_nothing_else() -> None:
    env = {"A": "'; echo planted; '", "B": "$(echo planted)\nx", "C_1": ""}
    text = scripts.exports(env) + 'printf \'%s\\0\' "$A" "$B" "$C_1"'
    assert _given_to(text, "sh") == list(env.values())
    for name in ("A B", "A;id", "1A", "", "A=", "A\n"):
        with pytest.raises(Invalid):
            scripts.exports({name: "x"})


LOG = b"\x01\x01\x01one\n\x02\x02\x02two\x01\n\x01\x01\x01\x01three\x02\x02\n"


@given(st.lists(st.integers(0, len(LOG)), max_size=6))
def test_markers_split_anywhere(cuts: list[int]) -> None:
    demultiplexer, seen = Demultiplexer(), dict.fromkeys(Channel, b"")
    ends = [0, *sorted(cuts), len(LOG)]
    for start, end in pairwise(ends):
        for channel, data in demultiplexer.feed(LOG[start:end]):
            seen[channel] += data
    assert seen == {Channel.STDOUT: b"one\n\x01three\x02\x02\n", Channel.STDERR: b"two\x01\n"}


@given(st.binary(max_size=200), st.binary(max_size=200), st.integers(1, 50))
def test_encoded_output(out: bytes, err: bytes, size: int) -> None:
    log = b"\x01\x01\x01" + b64encode(out) + b"\n\x02\x02\x02" + b64encode(err) + b"\n"
    log += b"\x01\x01\x01=7\n\x02\x02\x02=7\n\x01\x01\x01bm8=\n"
    decoder, seen, cost = Decoder(), dict.fromkeys(Channel, b""), 0
    for at in range(0, len(log), size):
        for said in decoder.feed(log[at : at + size]):
            seen[said.output.channel] += said.output.data
            cost += said.cost
    assert (seen[Channel.STDOUT], seen[Channel.STDERR]) == (out, err)
    assert decoder.complete and decoder.code == 7
    assert cost == sum(len(b64encode(part)) + 1 for part in (out, err) if part)


def test_the_shells_own_words_are_shown() -> None:
    said = list(Decoder().feed(b"\x02\x02\x02sh: 1: mkfifo: not found\n"))
    assert [one.output.data for one in said] == [b"sh: 1: mkfifo: not found\n"]


def test_a_line_without_end_is_bounded() -> None:
    decoder = Decoder()
    for _ in range(100):
        assert list(decoder.feed(b"x" * 10_000)) == []
    assert len(decoder._lines[Channel.STDOUT]) <= 64 * 1024


@given(st.integers(1, 30), st.binary(max_size=60))
def test_marks_split_anywhere(size: int, printed: bytes) -> None:
    marked, seen = Marked("mark"), b""
    printed = printed.replace(b"mark", b"")
    stream = b"$ exec sh -c\r\n\x1emark\x1e" + printed + b"\x1emark:130\x1eafter"
    for at in range(0, len(stream), size):
        seen += marked.feed(stream[at : at + size])
    assert (seen, marked.code) == (printed, 130)


def test_what_was_held_back_is_shown_at_the_end() -> None:
    marked = Marked("mark")
    assert marked.feed(b"bash: no such file") == b"" and marked.rest() == b"bash: no such file"


@pytest.mark.parametrize("path", ["..", "a/../..", "/etc", "/workspace/../etc", "", "a\0"])
def test_paths_outside(path: str) -> None:
    with pytest.raises(Invalid):
        workspace_path(path)


def test_an_archive_is_read_to_its_end() -> None:
    whole = make_tar(("file", b"x" * 5000))
    archives.check(io.BytesIO(whole))
    for size in (0, 700, 4000):
        with pytest.raises(Invalid):
            archives.check(io.BytesIO(whole[:size]))


def test_a_list_of_files() -> None:
    fields = ["b\nc", "f", "12", "644", "1700000000.5", "", "a", "l", "3", "777", "1.0", "to"]
    text = b64encode("".join(f"{field}\0" for field in fields).encode()).decode()
    first, second = listed(f"a profile's greeting\n{text}")
    assert (first.name, first.kind, first.size, first.target) == ("a", "symlink", 0, "to")
    assert (second.name, second.kind, second.size, second.mode) == ("b\nc", "file", 12, 0o644)


def test_usage_of_what_is_known() -> None:
    known = usage("memory=5\nmemory_limit=max\ncpu_micros=1500000\ndisk=2\nnonsense")
    assert (known.memory_bytes, known.memory_limit, known.disk_bytes) == (5, None, 2048)
    assert known.cpu_seconds == 1.5 and known.processes is None and known.out_of_memory == 0
