"""Bare repositories on disk: what they are, and how one comes into being."""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import suppress

import attrs
from dulwich.config import ConfigFile
from twisted.internet.defer import CancelledError

from wit.errors import Conflict, Invalid, NotFound, Unavailable
from wit.git.command import Git
from wit.git.process import run
from wit.runtime import Runtime

OBJECT_FORMATS = ("sha1", "sha256")

UNFINISHED_PREFIX = ".new-"
"""Folders with such names are repositories whose creation was cut off; they can be removed."""

_CONFIG = "[core]\n\tlogAllRefUpdates = always\n"
"""The reflogs are what pushes are reconciled from after a crash (docs/architecture.md)."""


@attrs.frozen
class BareRepository:
    """A repository that exists.

    ``key`` is its stable identity (it survives a rename), for limits and caches; ``path`` is
    absolute; ``object_format`` is ``sha1`` or ``sha256``.
    """

    key: str
    path: str
    object_format: str = "sha1"


def is_bare(path: str) -> bool:
    """Whether ``path`` looks like a bare repository to git (``is_git_directory``). Blocks."""
    return (
        os.path.isfile(os.path.join(path, "config"))
        and os.path.isdir(os.path.join(path, "objects"))
        and os.path.isdir(os.path.join(path, "refs"))
        and os.path.lexists(os.path.join(path, "HEAD"))
    )


def open_bare(key: str, path: str) -> BareRepository:
    """The repository at ``path``, its object format read from its configuration. Blocks.

    Raises NotFound if there is none, Invalid if its configuration cannot be read.
    """
    if not is_bare(path):
        raise NotFound("repository not found")
    return BareRepository(key, path, object_format(path))


def object_format(path: str) -> str:
    """``extensions.objectFormat`` of the repository at ``path``. Blocks. Raises Invalid."""
    try:
        config = ConfigFile.from_path(os.path.join(path, "config"))
    except (OSError, ValueError) as error:
        raise Invalid(f"the configuration of this repository cannot be read: {error}") from error
    try:
        name = config.get((b"extensions",), b"objectformat").decode("ascii", "replace").lower()
    except KeyError:
        return "sha1"
    if name not in OBJECT_FORMATS:
        raise Invalid(f"this repository has the unknown object format {name[:20]!r}")
    return name


async def create_bare(
    git: Git,
    runtime: Runtime,
    path: str,
    object_format: str = "sha1",
    default_branch: str = "main",
) -> None:
    """Make an empty repository at ``path``, whole or not at all.

    It is made beside its place and renamed into it. Raises Conflict if something is there
    already, Invalid for a format or branch name that git does not take, and Unavailable if the
    disk does not take it.
    """
    if object_format not in OBJECT_FORMATS:
        raise Invalid(f"the object format is one of {', '.join(OBJECT_FORMATS)}")
    unfinished = os.path.join(
        os.path.dirname(path), UNFINISHED_PREFIX + runtime.random_bytes(8).hex()
    )
    try:
        command = git.command(
            "init",
            "--bare",
            "--quiet",
            ("--template", ""),
            ("--object-format", object_format),
            ("--initial-branch", default_branch),
            operands=[unfinished],
        )
    except ValueError as error:
        raise Invalid(f"{default_branch[:60]!r} is not a valid branch name") from error
    try:
        await runtime.in_thread(os.makedirs, os.path.dirname(path), exist_ok=True)
        done = await run(runtime, command)
        if done.code != 0:
            raise Unavailable(f"git init failed: {_last_line(done.stderr)}")
        await runtime.in_thread(_install, unfinished, path)
    except OSError as error:
        raise Unavailable(f"the repository cannot be written: {error.strerror}") from error
    finally:
        with suppress(CancelledError):
            await runtime.in_thread(shutil.rmtree, unfinished, ignore_errors=True)


def _install(unfinished: str, path: str) -> None:
    """Finish the configuration and move the repository to its place."""
    with open(os.path.join(unfinished, "config"), "a", encoding="ascii") as config:
        config.write(_CONFIG)
        config.flush()
        os.fsync(config.fileno())
    if os.path.lexists(path):
        raise Conflict("there is a repository of this name already")
    try:
        os.rename(unfinished, path)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
            raise Conflict("there is a repository of this name already") from None
        raise


def _last_line(stderr: bytes) -> str:
    lines = stderr.decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else "no reason given"
