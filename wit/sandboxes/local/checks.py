"""What a client may ask to be run, before anything is started for it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from wit.errors import Invalid
from wit.sandboxes.local.execution import check_size
from wit.sandboxes.local.paths import absolute
from wit.sandboxes.provider import Command

ARGUMENT_BYTES, ARGUMENTS_BYTES = 128 * 1024 - 1, 1024 * 1024
"""Of one argument, and of all together (execve(2))."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def check_command(command: Command) -> None:
    """Raises Invalid."""
    if not command.argv or not command.argv[0]:
        raise Invalid("a command needs a program")
    for argument in command.argv:
        if not isinstance(argument, str) or "\0" in argument:
            raise Invalid("an argument is text without NUL characters")
        if len(os.fsencode(argument)) > ARGUMENT_BYTES:
            raise Invalid(f"an argument has {ARGUMENT_BYTES} bytes at most")
    if sum(len(os.fsencode(argument)) + 9 for argument in command.argv) > ARGUMENTS_BYTES:
        raise Invalid(f"all arguments together have {ARGUMENTS_BYTES} bytes at most")
    check_environment(command.env)
    absolute(command.cwd)
    if command.terminal is not None:
        check_size(command.terminal)


def check_environment(env: Mapping[str, str]) -> None:
    """Raises Invalid."""
    for key, value in env.items():
        if not _NAME.fullmatch(key):
            raise Invalid(f"{key[:80]!r} is not a name for a variable")
        if "\0" in value or len(os.fsencode(value)) > ARGUMENT_BYTES:
            raise Invalid(f"the value of {key} has a NUL character or is too long")
