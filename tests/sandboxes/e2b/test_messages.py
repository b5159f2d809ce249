"""Messages of the process service, to and from JSON."""

from __future__ import annotations

from typing import Any

import pytest

from wit.errors import Invalid
from wit.sandboxes.e2b.connect import ProtocolError
from wit.sandboxes.e2b.messages import Started, parse_event, start_message
from wit.sandboxes.provider import Channel, Command, Exit, Output, TerminalSize


def test_starting_on_pipes() -> None:
    command = Command(["sh", "-c", "echo $1", "sh", "a b;'"], cwd="src", env={"A": "1"})
    assert start_message(command, "m") == {
        "process": {
            "cmd": "/usr/bin/nice",
            "args": ["-n", "0", "--", "sh", "-c", "echo $1", "sh", "a b;'"],
            "envs": {"A": "1", "WIT_EXECUTION": "m"},
            "cwd": "/workspace/src",
        },
        "stdin": True,
    }


def test_starting_on_a_terminal() -> None:
    message = start_message(Command(["sh"], "/", terminal=TerminalSize(80, 24)), "m")
    assert message["pty"] == {"size": {"cols": 80, "rows": 24}} and "stdin" not in message
    assert message["process"]["envs"]["TERM"] == "xterm-256color"
    own = Command(["sh"], env={"TERM": "dumb"}, terminal=TerminalSize(80, 24))
    assert start_message(own, "m")["process"]["envs"]["TERM"] == "dumb"


@pytest.mark.parametrize(
    "command",
    [
        Command([]),
        Command(["a\0"]),
        Command(["\udc80"]),
        Command(["a"], cwd="\0"),
        Command(["a"], env={"A=B": "x"}),
        Command(["a"], env={"": "x"}),
        Command(["a"], env={"A": "x\0"}),
    ],
)
def test_commands_that_cannot_be(command: Command) -> None:
    with pytest.raises(Invalid):
        start_message(command, "m")


@pytest.mark.parametrize(
    "event,meaning",
    [
        ({"start": {"pid": 42}}, Started(42)),
        ({"data": {"stdout": "aGk="}}, Output(Channel.STDOUT, b"hi")),
        ({"data": {"stderr": "aGk="}}, Output(Channel.STDERR, b"hi")),
        ({"data": {"pty": "aGk="}}, Output(Channel.STDOUT, b"hi")),
        ({"data": {}}, None),
        ({"keepalive": {}}, None),
        ({"of the future": {}}, None),
        ({"end": {"exited": True, "status": "exit status 0"}}, Exit(0)),
        ({"end": {"exitCode": 3, "exited": True, "status": "exit status 3"}}, Exit(3)),
        ({"end": {"exitCode": -1, "status": "signal: killed"}}, Exit(137, "KILL")),
        (
            {"end": {"exitCode": -1, "status": "signal: segmentation fault (core dumped)"}},
            Exit(139, "SEGV"),
        ),
        ({"end": {"exitCode": -1, "status": "signal: trace/breakpoint trap"}}, Exit(133, "TRAP")),
        ({"end": {"exitCode": -1, "status": "signal: unheard of"}}, Exit(255)),
        ({"end": {}}, Exit(255)),
    ],
)
def test_events(event: dict[str, Any], meaning: object) -> None:
    assert parse_event({"event": event}) == meaning


def test_no_event_at_all() -> None:
    assert parse_event({}) is None and parse_event({"event": 5}) is None


@pytest.mark.parametrize(
    "event",
    [{"start": {"pid": "x"}}, {"data": {"stdout": "a"}}, {"end": {"exitCode": [], "exited": True}}],
)
def test_events_that_make_no_sense(event: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError):
        parse_event({"event": event})
