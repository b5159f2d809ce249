"""What git's side of a push and its policy tell each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import attrs

from wit.git.repository import BareRepository


@attrs.frozen
class RefUpdate:
    """One ref that a push wants to change; the all-zero id stands for "no such ref"."""

    ref: bytes
    old: str
    new: str


@attrs.frozen
class Quarantine:
    """Where the objects of a push wait, as git's environment names it."""

    repo: BareRepository
    object_directory: str
    """Empty if the push brought no objects."""
    alternates: str

    @property
    def environment(self) -> Mapping[str, str]:
        """For commands that look at the pushed objects and at the repository's own."""
        if not self.object_directory:
            return {}
        return {
            "GIT_OBJECT_DIRECTORY": self.object_directory,
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": self.alternates,
        }


@attrs.frozen
class Verdict:
    """What the policy says: nothing refused means go on."""

    refused: Mapping[bytes, str]
    """ref -> the reason, a sentence for the client"""
    messages: tuple[str, ...] = ()


class Push(Protocol):
    """One push, as its policy sees it."""

    @property
    def id(self) -> str:
        """Unique; letters, digits and ``-``. It stands in the reflog."""
        ...

    @property
    def actor_name(self) -> str: ...

    @property
    def user_key(self) -> str:
        """Whose share of the git processes this is."""
        ...

    @property
    def max_bytes(self) -> int | None:
        """The largest pack; None: no limit."""
        ...

    async def decide(
        self, quarantine: Quarantine, updates: list[RefUpdate], options: list[str]
    ) -> Verdict:
        """Whether these updates may be made; raising refuses all of them."""
        ...

    async def finished(self) -> None:
        """git has ended, however it ended. Called once, if git was started at all."""
        ...


def reflog_identity(push_id: str) -> str:
    """The e-mail address by which reflog entries name their push."""
    return f"{push_id}@push.wit"
