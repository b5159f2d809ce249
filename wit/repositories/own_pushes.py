"""Pushes that wit makes itself, for somebody who uses the API instead of git.

A file that is edited in the browser, a branch that is made or removed there, goes the way of every
push: git receive-pack in a push directory of its own, the objects in a quarantine and looked at by
fsck, the ref rules asked through the hook, the intent written down before and settled after. So
there is one path to a ref; no rule can be forgotten on a second one, and a kill at any point loses
as little as it does with a push (attack list, lines 18, 20, 21 and 24).
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from wit.access.actor import Actor
from wit.access.ref_rules import show
from wit.db.port import Row
from wit.errors import Conflict, Forbidden, Invalid, Unavailable, WitError
from wit.git import pktline
from wit.git.pktline import Parser
from wit.git.push import Quarantine, RefUpdate, Verdict
from wit.git.receive_pack import ReceivePack
from wit.git.refname import zero_oid
from wit.git.refs import RefReader
from wit.latch import Latch
from wit.repositories.manager import RepoManager
from wit.repositories.pushes import LivePush, Pushes
from wit.streams import BytesSink, BytesSource

MAX_REPORT = 1024 * 1024
"""Bytes of git's report and messages."""

_CAPABILITIES = "report-status side-band-64k object-format={} agent=wit"


@attrs.frozen
class _Request:
    id: str


class _OwnPush:
    """A live push that remembers what was decided about it."""

    def __init__(self, push: LivePush, user_key: str) -> None:
        self._push = push
        self.id = push.id
        self.actor_name = push.actor_name
        self.user_key = user_key
        self.max_bytes = push.max_bytes
        self.asked = False
        self.refused: Mapping[bytes, str] = {}
        self.failure: WitError | None = None
        self.settled = Latch()

    async def decide(
        self, quarantine: Quarantine, updates: list[RefUpdate], options: list[str]
    ) -> Verdict:
        self.asked = True
        try:
            verdict = await self._push.decide(quarantine, updates, options)
        except WitError as error:
            self.failure = error
            raise
        self.refused = verdict.refused
        return verdict

    async def finished(self) -> None:
        try:
            await self._push.finished()
        finally:
            self.settled.open()


class OwnPushes:
    """Makes one update of one ref, or says why not."""

    def __init__(
        self, receive_pack: ReceivePack, pushes: Pushes, refs: RefReader, manager: RepoManager
    ) -> None:
        self._receive_pack = receive_pack
        self._pushes = pushes
        self._refs = refs
        self._manager = manager

    async def push(
        self, actor: Actor, repo: Row, update: RefUpdate, pack: bytes, request_id: str
    ) -> None:
        """Returns when the ref is changed and the change is journaled.

        ``actor`` was found to have the right to write to ``repo``. ``pack`` holds what ``update``
        needs, b"" for a deletion. Raises Forbidden with the reason of the rules, Conflict if the
        ref is not (any more) what ``update`` says, Invalid for objects that git refuses, and what
        else a push can fail of: NotFound, Unavailable.
        """
        bare = self._manager.bare(repo)
        request = _Request(request_id)
        push = _OwnPush(self._pushes.begin(actor, repo, request), f"user:{actor.user_id}")
        command = f"{update.old} {update.new} ".encode() + update.ref
        capabilities = _CAPABILITIES.format(bare.object_format).encode()
        source = BytesSource(pktline.encode(command + b"\0" + capabilities) + pktline.FLUSH, pack)
        sink = BytesSink(MAX_REPORT)
        await self._receive_pack.serve_request(bare, 0, source, sink, push)
        if push.asked:
            await push.settled.wait()
        if push.failure is not None:
            raise push.failure
        if update.ref in push.refused:
            reason = push.refused[update.ref]
            current = (await self._refs.snapshot(bare)).by_name.get(update.ref)
            value = zero_oid(bare.object_format) if current is None else current.oid
            raise Conflict(reason) if value != update.old else Forbidden(reason)
        report = _read(sink.value())
        if report.fatal:
            raise Unavailable(report.fatal)
        if report.unpack != "ok":
            raise Invalid(f"git does not take this: {_first_complaint(report.messages)}")
        outcome = report.failed.get(update.ref)
        if outcome is not None:
            if "hook declined" in outcome:
                raise Unavailable("the push rules did not answer; nothing was changed, try again")
            raise Conflict(f"{show(update.ref)} could not be changed: {outcome}")


@attrs.frozen
class _Report:
    """git's answer to a push (gitprotocol-pack(5), "Report Status")."""

    unpack: str
    failed: Mapping[bytes, str]
    """The refs that were not changed, with git's reason."""
    messages: str
    fatal: str


def _read(answer: bytes) -> _Report:
    inner, messages, fatal = b"", b"", b""
    for packet in Parser().feed(answer):
        if isinstance(packet, bytes):
            band, data = packet[:1], packet[1:]
            if band == b"\x01":
                inner += data
            elif band == b"\x02":
                messages += data
            else:
                fatal += packet[4:] if packet.startswith(b"ERR ") else data
    unpack = "git said nothing"
    failed: dict[bytes, str] = {}
    for line in Parser().feed(inner):
        if isinstance(line, bytes):
            word, _, rest = line.rstrip(b"\n").partition(b" ")
            name, _, reason = rest.partition(b" ")
            if word == b"unpack":
                unpack = rest.decode("utf-8", "replace")
            elif word == b"ng":
                failed[name] = reason.decode("utf-8", "replace")
    return _Report(
        unpack,
        failed,
        messages.decode("utf-8", "replace"),
        fatal.decode("utf-8", "replace").strip(),
    )


def _first_complaint(messages: str) -> str:
    """The line of git's that says what is wrong with an object."""
    lines = [line.strip() for line in messages.splitlines() if line.strip()]
    found = next((line for line in lines if line.startswith(("error: ", "fatal: "))), None)
    return found or (lines[-1] if lines else "no reason given")
