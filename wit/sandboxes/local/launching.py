"""Starting a command in a local sandbox: what it may use, its streams, and its bubblewrap."""

from __future__ import annotations

import os

from wit.errors import Invalid, Unavailable
from wit.runtime import Runtime
from wit.sandboxes.local.boxes import Box
from wit.sandboxes.local.execution import Ends, LocalExecution, open_pipes, terminal_ends
from wit.sandboxes.local.host import Host
from wit.sandboxes.local.keeper.walls import Who
from wit.sandboxes.local.link import Keeper, close_all, first
from wit.sandboxes.local.paths import absolute
from wit.sandboxes.local.profile import LAUNCHER, PROXY_ENVIRONMENT, options
from wit.sandboxes.local.store import lost
from wit.sandboxes.provider import Command, Limits

OPEN_FILES = 4096
"""Descriptors of one process."""
MAX_OPTIONS = 8000
"""bubblewrap takes 9000."""


async def launch(
    runtime: Runtime, keeper: Keeper, host: Host, box: Box, command: Command
) -> LocalExecution:
    """Start a command that was checked (:mod:`.checks`); one of the box's executions until it ends.

    To be run to its end. Raises Invalid, SandboxLost, Unavailable.
    """
    env = {
        **(PROXY_ENVIRONMENT if box.proxy is not None else {}),
        **box.record.env,
        **command.env,
    }
    given = options(host.layout, absolute(command.cwd), env, terminal=command.terminal is not None)
    if len(given) > MAX_OPTIONS:
        raise Invalid("the environment has too many variables")
    box.commands += 1
    values = {
        "who": box.who,
        "groups": box.group.joined,
        "bwrap": host.bwrap,
        "options": given,
        "argv": [*LAUNCHER, *command.argv],
        "seccomp": host.seccomp.hex(),
        "rlimits": _rlimits(host, box.who, box.record.limits, box.disk["bytes"]),
        "terminal": command.terminal and (command.terminal.columns, command.terminal.rows),
    }
    ends, theirs, told = _open_streams(command)
    try:
        try:
            if box.gone:
                raise lost()
            answers = await keeper.begin("launch", values, [told, *theirs, *box.walls])
        finally:
            close_all(theirs)
        try:
            pid, (pidfd, *master) = await first(answers)
        except BaseException:
            answers.close()
            raise
    except BaseException:
        if ends is not None:
            ends.close()
        os.close(told)
        raise
    execution = LocalExecution(
        runtime,
        keeper,
        id=str(box.commands),
        who=box.who,
        ends=ends or terminal_ends(master[0]),
        process=(pid, pidfd),
        told=told,
        walls=box.walls,
        answers=answers,
        seconds=command.seconds,
        out_of_memory=box.group.out_of_memory,
        ended=box.executions.discard,
    )
    box.executions.add(execution)
    if box.gone:
        execution.kill("lost")
    return execution


def _open_streams(command: Command) -> tuple[Ends | None, list[int], int]:
    """Pipes, unless it wants a terminal, and a file for bubblewrap's words. Raises Unavailable."""
    try:
        ends, theirs = open_pipes() if command.terminal is None else (None, [])
        return ends, theirs, os.memfd_create("told")
    except OSError as error:
        raise Unavailable("the server has no descriptors left for a command") from error


def _rlimits(host: Host, who: Who, limits: Limits, disk_bytes: int) -> list[tuple[str, int]]:
    found = [
        ("RLIMIT_CORE", 0),
        ("RLIMIT_NOFILE", OPEN_FILES),
        ("RLIMIT_FSIZE", disk_bytes),
    ]
    if who["mode"] != "same":
        found.append(("RLIMIT_NPROC", limits.processes + 8))
    if host.cgroups.version == 0:
        found.append(("RLIMIT_DATA", limits.memory_bytes))
    return found
