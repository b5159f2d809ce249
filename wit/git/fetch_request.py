"""What a client asks of a fetch: reading it within bounds, and understanding it.

A request is taken apart to see what it wants and put together again in one normal form, without
what says only who is asking (agent, session id). So equal requests are equal bytes, and git is
given nothing that was not understood here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import attrs

from wit.errors import Unavailable
from wit.git.advertise import Command
from wit.git.pktline import DELIM, FLUSH, Marker, Packet, Parser, ProtocolError, encode
from wit.git.refname import check_oid
from wit.git.repository import BareRepository
from wit.streams import ByteSource

BUDGET = 64 * 1024 * 1024
"""Bytes of all requests together that are held at one time; one more is refused."""

_PERSONAL = (b"agent=", b"session-id=")


class Budget:
    """Memory that all requests share, so that many clients cannot do what one may not."""

    def __init__(self, size: int = BUDGET) -> None:
        self.left = size

    def take(self, size: int) -> None:
        """Raises Unavailable, with nothing taken, if so much is not left."""
        if size > self.left:
            raise Unavailable("the server is busy with large requests; try again in a moment")
        self.left -= size

    def give(self, size: int) -> None:
        self.left += size


class Requests:
    """The requests in a stream, one after the other; ``with`` it, as it holds memory."""

    def __init__(self, source: ByteSource, limit: int, budget: Budget) -> None:
        self._source = source
        self._limit = limit
        self._budget = budget
        self._held = 0
        self._rest = b""

    async def next(self, *, v2: bool = True) -> list[Packet]:
        """The packets up to a flush and with it; none at the end of the stream.

        Raises ProtocolError, TooLarge, Unavailable, and StreamClosed as the source does.
        """
        parser = Parser(v2=v2, stop_at_flush=True, limit=self._limit)
        self._release()
        data = self.rest()
        packets: list[Packet] = []
        while True:
            self._hold(len(data))
            packets += parser.feed(data)
            if packets and packets[-1] is Marker.FLUSH:
                self._rest = parser.rest()
                return packets
            data = await self._source.read()
            if not data:
                if packets or parser.pending:
                    raise ProtocolError("the request breaks off before its end")
                return []

    async def everything(self) -> list[Packet]:
        """All packets until the stream ends, in protocol v0. Raises as :meth:`next` does."""
        parser = Parser(limit=self._limit)
        packets: list[Packet] = []
        while data := await self._source.read():
            self._hold(len(data))
            packets += parser.feed(data)
        if parser.pending:
            raise ProtocolError("the request breaks off before its end")
        return packets

    def rest(self) -> bytes:
        """What was read beyond the last request."""
        rest, self._rest = self._rest, b""
        return rest

    def __enter__(self) -> Requests:
        return self

    def __exit__(self, *_: object) -> None:
        self._release()

    def _hold(self, size: int) -> None:
        self._budget.take(size)
        self._held += size

    def _release(self) -> None:
        self._budget.give(self._held)
        self._held = 0


@attrs.frozen
class FetchRequest:
    """One stateless request to upload-pack."""

    wants: tuple[str, ...]
    """Sorted, each once."""
    is_clone: bool
    """Nothing is offered as had already and a pack is asked for, so the answer depends on the
    refs and on this request alone."""
    data: bytes = attrs.field(repr=False)
    """The request as git gets it."""

    def cache_key(self, repo: BareRepository, refs_version: str) -> str:
        """Equal for requests that get the same answer."""
        digest = hashlib.blake2b(self.data, digest_size=20)
        digest.update(f"\n{repo.object_format}\n{refs_version}\n{repo.key}".encode())
        return digest.hexdigest()


def from_v2(command: Command, object_format: str) -> FetchRequest:
    """A ``fetch`` command of protocol v2 (gitprotocol-v2(5), "fetch"). Raises ProtocolError."""
    if object_format != "sha1" and not any(
        capability.startswith(b"object-format=") for capability in command.capabilities
    ):
        raise ProtocolError(f"mismatched object format: the repository uses {object_format}")
    wants = _oids(b"want ", command.arguments, object_format)
    others = [line for line in command.arguments if not line.startswith(b"want ")]
    _oids(b"have ", others, object_format)
    head = encode(b"command=fetch") + encode(b"object-format=" + object_format.encode()) + DELIM
    lines = [b"want " + want.encode() for want in wants] + others
    return FetchRequest(
        wants,
        bool(wants) and not any(line.startswith(b"have ") for line in others),
        head + b"".join(map(encode, lines)) + FLUSH,
    )


def from_v0(packets: Sequence[Packet], object_format: str) -> FetchRequest:
    """A whole request of v0 or v1 over HTTP (gitprotocol-pack(5), "upload-request").

    Raises ProtocolError.
    """
    end = packets.index(Marker.FLUSH) if Marker.FLUSH in packets else len(packets)
    upload = [line.removesuffix(b"\n") for line in packets[:end] if isinstance(line, bytes)]
    haves = [line for line in packets[end:] if isinstance(line, bytes)]
    _oids(b"have ", haves, object_format)
    first, capabilities = _split_capabilities(upload)
    wants = _oids(b"want ", first, object_format)
    lines = [b"want " + want.encode() for want in wants]
    if lines:
        lines[0] += b" " + b" ".join(capabilities)
    lines += [line for line in upload if not line.startswith(b"want ")]
    rest = [packet if isinstance(packet, bytes) else Marker.FLUSH for packet in packets[end + 1 :]]
    return FetchRequest(
        wants,
        bool(wants) and [line.removesuffix(b"\n") for line in haves] == [b"done"],
        b"".join(encode(line + b"\n") for line in lines)
        + FLUSH
        + b"".join(encode(packet) if isinstance(packet, bytes) else FLUSH for packet in rest),
    )


def wants_of_v0(packets: Iterable[Packet], object_format: str) -> tuple[str, ...]:
    """The wants of an upload-request that git reads itself. Raises ProtocolError."""
    lines = [line.removesuffix(b"\n") for line in packets if isinstance(line, bytes)]
    return _oids(b"want ", _split_capabilities(lines)[0], object_format)


def _split_capabilities(lines: Sequence[bytes]) -> tuple[list[bytes], list[bytes]]:
    """The want lines without the capabilities that follow the first id, and those, sorted."""
    wants = [line for line in lines if line.startswith(b"want ")]
    capabilities: list[bytes] = []
    if wants:
        keyword, oid, *capabilities = wants[0].replace(b"\0", b" ").split(b" ")
        wants[0] = keyword + b" " + oid
    kept = {word for word in capabilities if word and not word.startswith(_PERSONAL)}
    return wants, sorted(kept)


def _oids(keyword: bytes, lines: Iterable[bytes], object_format: str) -> tuple[str, ...]:
    """The ids behind ``keyword``, sorted, each once."""
    length = 64 if object_format == "sha256" else 40
    oids = set()
    for line in lines:
        if line.startswith(keyword):
            oid = line.removesuffix(b"\n")[len(keyword) :].decode("ascii", "replace")
            if len(oid) != length or not oid.isalnum():
                raise ProtocolError(f"{oid[:80]!r} is not an object id")
            oids.add(check_oid(oid))
    return tuple(sorted(oids))
