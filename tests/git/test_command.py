"""What may and may not get onto a git command line and into its environment."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wit.errors import ConfigError
from wit.git.command import Git, Invocation, protocol_version
from wit.git.command_table import COMMANDS

OID = "1" * 40


@pytest.fixture(scope="module")
def git() -> Git:
    return Git.find()


def test_builds_a_command_line(git: Git) -> None:
    command = git.command(
        "rev-list", "--objects", ("--max-count", 5), git_dir="/r/a.git", operands=[OID, "^" + OID]
    )
    assert command.argv == (
        git.binary,
        "--git-dir=/r/a.git",
        "rev-list",
        "--objects",
        "--max-count=5",
        "--end-of-options",
        OID,
        f"^{OID}",
    )
    assert git.command("commit-graph", "--reachable").argv[1:] == (
        "commit-graph",
        "write",
        "--reachable",
    )


@pytest.mark.attack(2, 3)
@pytest.mark.parametrize(
    ("name", "options", "operands"),
    [
        ("daemon", [], []),
        ("upload-pack", ["--exec=x"], ["/r/a.git"]),
        ("upload-pack", [], ["a.git"]),
        ("upload-pack", [], ["--exec=x"]),
        ("rev-list", ["--output=/etc/passwd"], []),
        ("rev-list", [], ["--output=/etc/passwd"]),
        ("rev-list", [], ["refs/heads/../x"]),
        ("rev-list", [], ["refs/heads/a:b"]),
        ("rev-list", [("--max-count", "5 --exec")], []),
        ("rev-list", [("--objects", "x")], []),
        ("update-ref", [], ["refs/heads/main"]),
        ("init", [("--initial-branch", "--exec")], ["/r"]),
        ("clone", [], ["ext::sh -c id", "/r"]),
        ("clone", [], ["-oProxyCommand=id", "/r"]),
        ("clone", [], ["ssh://-oProxyCommand=id/x", "/r"]),
        ("clone", [], ["file:///r", "/r"]),
        ("cat-file", ["-e"], [OID + "^{tree}"]),
        ("cat-file", ["-e"], [OID + "\n"]),
    ],
)
def test_refuses_what_the_table_does_not_have(
    git: Git, name: str, options: list[Any], operands: list[str]
) -> None:
    with pytest.raises(ValueError):
        git.command(name, *options, operands=operands)


@pytest.mark.attack(3)
@given(text=st.text(max_size=40), kind=st.sampled_from(["operand", "branch", "dir", "key"]))
def test_no_text_becomes_an_option_of_its_own(text: str, kind: str) -> None:
    git = Git("/usr/bin/git", (2, 39, 5))
    try:
        if kind == "operand":
            command = git.command("rev-list", operands=[text])
            assert command.argv[-2:] == ("--end-of-options", text)
        elif kind == "branch":
            command = git.command("init", ("--initial-branch", text), operands=["/r"])
            assert command.argv[2] == f"--initial-branch={text}"
            assert not text.startswith("-")
        elif kind == "dir":
            command = git.command("rev-list", git_dir=text)
            assert command.argv[1] == f"--git-dir={text}" and text.startswith("/")
        else:
            command = git.command("rev-list", environment={text: "x"})
            assert text.startswith(("WIT_", "GIT_", "TMPDIR"))
    except ValueError:
        return
    assert "\0" not in "".join(command.argv)


@pytest.mark.attack(57)
def test_nothing_of_the_daemons_environment_is_inherited(
    git: Git, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://canary-secret@x/y")
    monkeypatch.setenv("GIT_SSH_COMMAND", "canary-secret")
    monkeypatch.setenv("LD_PRELOAD", "")
    command = git.command("version")
    assert "canary" not in repr(command)
    assert set(command.env) - {key for key in command.env if key.startswith("GIT_")} == {
        "PATH",
        "HOME",
        "LANG",
        "LC_ALL",
    }
    with pytest.raises(ValueError):
        git.command("version", environment={"LD_PRELOAD": "x"})


@pytest.mark.attack(1)
@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("version=2", 2),
        ("version=1", 1),
        ("version=0", 0),
        ("version=1:version=2", 2),
        ("key=value:version=2:other", 0),
        ("key=value:version=2", 2),
        ("version=3", 0),
        ("version=22", 0),
        ("version=2\n", 0),
        ("--split-string=id", 0),
        ("", 0),
        ("version=2;id", 0),
        (":".join(["a=b"] * 50), 0),
    ],
)
def test_protocol_version(git: Git, text: str, version: int) -> None:
    assert protocol_version(text) == version
    env = git.command("upload-pack", operands=["/r"], protocol=text).env
    assert env.get("GIT_PROTOCOL") == (f"version={version}" if version else None)


def test_configuration_goes_through_the_environment_and_the_last_value_wins(git: Git) -> None:
    command = git.command("config", "--get", operands=["gc.auto"], config=[("gc.auto", "7")])
    done = subprocess.run(command.argv, env=command.env, capture_output=True, text=True)
    assert done.stdout == "7\n"
    assert "gc.auto" not in command.argv[:-1]


def test_the_network_is_closed_unless_opened(git: Git, tmp_path: Path) -> None:
    source = tmp_path / "source.git"
    subprocess.run(["git", "init", "-q", "--bare", source], check=True)
    command = git.command("ls-remote", operands=[str(source)])
    done = subprocess.run(command.argv, env=command.env, capture_output=True, text=True)
    assert done.returncode == 128
    assert "transport 'file' not allowed" in done.stderr
    command = git.command("ls-remote", operands=[str(source)], allow_protocols=["file"])
    assert subprocess.run(command.argv, env=command.env).returncode == 0
    with pytest.raises(ValueError):
        git.command("ls-remote", operands=[str(source)], allow_protocols=["ext"])


def test_git_knows_every_flag_of_the_table(git: Git, tmp_path: Path) -> None:
    """A misspelt flag in the table would only show in the command that uses it."""
    subprocess.run(["git", "init", "-q", "--bare", tmp_path / "a.git"], check=True)
    for name, spec in COMMANDS.items():
        for flag in [*spec.flags, *(f"{flag}=1" for flag in spec.values)]:
            words = [name.removesuffix(f"-{spec.verb}"), *([spec.verb] if spec.verb else [])]
            done = subprocess.run(
                [git.binary, f"--git-dir={tmp_path}/a.git", *words, flag],
                env=git.command("version").env,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                cwd=tmp_path,
            )
            said = done.stderr.decode("utf-8", "replace")
            for complaint in ("unknown option", "unknown switch", "unrecognized argument"):
                assert complaint not in said, (name, flag, said)


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_find_says_what_is_wrong(tmp_path: Path) -> None:
    assert Git.find().version >= (2, 38)
    for binary, words in [
        (str(tmp_path / "none"), "there is no program"),
        (script(tmp_path / "old", "echo git version 2.37.9"), "is git 2.37.9; wit needs 2.38"),
        (script(tmp_path / "other", "echo hello"), "is not git"),
        (script(tmp_path / "broken", "exit 3"), "does not run"),
    ]:
        with pytest.raises(ConfigError, match=words) as raised:
            Git.find(binary)
        assert raised.value.message.startswith("git.binary: ")
    assert Git.find(script(tmp_path / "new", "echo git version 2.50.1.windows.1")).version == (
        2,
        50,
        1,
    )


def test_name_is_the_sub_command(git: Git) -> None:
    assert git.command("rev-list", git_dir="/r").name == "rev-list"
    assert Invocation(("git", "--version"), {}).name == "git"
    assert os.path.isabs(git.binary)
