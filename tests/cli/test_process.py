"""The ``wit`` program itself: exit status, streams, signals, speed of what needs no database."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from wit.cli.grammar import make_parser
from wit.cli.main import handler
from wit.git.maintenance import LOCK

WIT = [sys.executable, "-m", "wit.cli.main"]


def wit(*words: object, stdin: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith("WIT_")} | environ
    return subprocess.run(
        [*WIT, *map(str, words)], input=stdin, capture_output=True, text=True, env=env, timeout=60
    )


def every_command(parser, words=()):
    for action in parser._actions:
        if hasattr(action, "choices") and isinstance(action.choices, dict):
            for name, child in action.choices.items():
                yield from every_command(child, (*words, name))
            return
    yield words, parser


def test_every_command_names_a_function_that_is_there():
    commands = dict(every_command(make_parser("0")))
    assert len(commands) > 35
    for parser in commands.values():
        assert callable(handler(parser_defaults(parser)))


def parser_defaults(parser):
    from argparse import Namespace

    return Namespace(**parser._defaults)


def test_the_fixed_forms(tmp_path):
    data = tmp_path / "data"
    made = wit("--data-dir", data, "user", "create", "alice", "--email", "a@example.org",
               "--password-stdin", "--admin", stdin="correct horse battery\n")  # fmt: skip
    assert (made.returncode, made.stdout) == (0, "")
    token = wit("--data-dir", data, "token", "create", "alice", "--name", "ci", "--scopes",
                "repo:read,repo:write")  # fmt: skip
    assert token.stdout.startswith("wit_")
    assert len(token.stdout) == 45
    assert (data / "wit.toml").stat().st_mode & 0o777 == 0o600
    assert wit("user", "list", WIT_DATA_DIR=str(data)).stdout.count("alice") == 2


def test_refusals_and_usage(tmp_path):
    refused = wit("--data-dir", tmp_path, "user", "suspend", "nobody")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == "wit: there is no user 'nobody'\n"
    assert wit("frobnicate").returncode == 2
    assert wit("token", "create", "alice").returncode == 2
    assert wit("--version").stdout.startswith("wit ")
    assert wit("--help").returncode == 0


def test_a_wrong_setting_is_one_sentence(tmp_path):
    (tmp_path / "wit.toml").write_text("[git]\nmax_process = 1\n")
    done = wit("--data-dir", tmp_path, "config", "print")
    assert done.returncode == 1
    assert done.stderr == (
        f"wit: {tmp_path}/wit.toml: unknown key 'git.max_process'; "
        "did you mean git.max_processes?\n"
    )


def test_an_unreachable_database_is_one_sentence(tmp_path):
    done = wit("--data-dir", tmp_path, "user", "list",
               DATABASE_URL="postgresql://u:canary@127.0.0.1:1/x")  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("wit: ")
    assert "Traceback" not in done.stderr
    assert "canary" not in done.stderr


def test_help_loads_neither_twisted_nor_the_database():
    code = (
        "import sys; from wit.cli.grammar import make_parser; make_parser('0');"
        "import wit.cli.main;"
        "print([m for m in ('twisted', 'sqlalchemy', 'alembic') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_cancels_and_cleans_up(tmp_path, number):
    data = tmp_path / "data"
    wit("--data-dir", data, "user", "create", "alice", "--email", "a@example.org")
    wit("--data-dir", data, "repo", "create", "alice/tools")
    held = os.open(data / "repos/alice/tools.git" / LOCK, os.O_CREAT | os.O_RDWR)
    fcntl.flock(held, fcntl.LOCK_EX)
    file = Path(tmp_path / "b.tar")
    with subprocess.Popen(
        [*WIT, "--data-dir", str(data), "backup", str(file)],
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    ) as running:  # fmt: skip
        for line in running.stderr:
            if line.startswith("saving alice/tools"):
                break
        assert file.with_name("b.tar.partial").exists()
        running.send_signal(number)
        rest = running.stderr.read()
        assert running.wait(30) == 130
    os.close(held)
    assert rest.strip().splitlines()[-1] == "wit: interrupted"
    assert not list(tmp_path.glob("b.tar*"))


def test_a_reader_that_went_away_is_no_error(tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    with subprocess.Popen(
        [*WIT, "--data-dir", str(tmp_path), "config", "print"],
        stdout=writing, stderr=subprocess.PIPE, text=True,
    ) as running:  # fmt: skip
        os.close(writing)
        assert running.stderr.read() == ""
