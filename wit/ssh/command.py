"""What a client asks to be executed, checked against a fixed table. Pure.

Nothing of the line is ever executed: it is split as a shell would split it, and only a git service
with exactly one path comes out (attack list, lines 1 and 2).
"""

from __future__ import annotations

import re
import shlex

import attrs

from wit.errors import Invalid
from wit.repositories.traffic import Service

MAX_LINE = 4096
"""Bytes of a command line."""

_SERVICES = {
    "git-upload-pack": Service.UPLOAD_PACK,
    "git-receive-pack": Service.RECEIVE_PACK,
}
_SHOWN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,39}")
_GIT_PROTOCOL = re.compile(rb"[0-9a-zA-Z]+=[0-9a-zA-Z]+(:[0-9a-zA-Z]+=[0-9a-zA-Z]+)*")
_MAX_GIT_PROTOCOL = 256
_HINTS = {
    "git-upload-archive": "git archive --remote does not work over SSH; clone the repository",
    "git-lfs-authenticate": "Git LFS is not available over SSH",
    "git-lfs-transfer": "Git LFS is not available over SSH",
}


@attrs.frozen
class GitCommand:
    """A git service and the path of the repository, as the client wrote it."""

    service: Service
    path: str


def parse_command(line: bytes) -> GitCommand:
    """The git command in ``line``. Raises Invalid with a sentence for everything else."""
    if len(line) > MAX_LINE:
        raise Invalid("the command is too long")
    try:
        words = shlex.split(line.decode("utf-8"))
    except ValueError:  # not UTF-8, or an open quotation
        words = []
    if len(words) >= 2 and words[0] == "git":
        words = [f"git-{words[1]}", *words[2:]]
    name = words[0] if words else ""
    if name in _HINTS:
        raise Invalid(_HINTS[name])
    if name not in _SERVICES:
        what = f"'{name}' is not available" if _SHOWN.fullmatch(name) else "this is not available"
        raise Invalid(f"{what} here: only git clone, fetch, ls-remote and push are")
    if len(words) != 2 or words[1].startswith("-") or "\0" in words[1]:
        raise Invalid(f"{name} takes exactly one path, and no options")
    return GitCommand(_SERVICES[name], words[1])


def parse_git_protocol(value: bytes) -> int | None:
    """The protocol version that a value of GIT_PROTOCOL asks for, or None for a bad value.

    As git does, the highest known of several versions counts, and unknown keys are ignored.
    """
    if len(value) > _MAX_GIT_PROTOCOL or not _GIT_PROTOCOL.fullmatch(value):
        return None
    versions = [0]
    for item in value.split(b":"):
        key, _, number = item.partition(b"=")
        if key == b"version" and number in (b"0", b"1", b"2"):
            versions.append(int(number))
    return max(versions)
