"""What git's servers say before a pack moves, made from a ref snapshot without running git.

Protocol v2: gitprotocol-v2(5). Pushes (v0 and v1): gitprotocol-pack(5), "Reference Discovery".
The bytes are those of C git of the same version, but for the agent.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from typing import TypeVarTuple

import attrs

from wit import __version__
from wit.git.pktline import FLUSH, Marker, Packet, ProtocolError, encode
from wit.git.refname import zero_oid
from wit.git.refs import Ref, RefSnapshot
from wit.runtime import Runtime

Words = TypeVarTuple("Words")

AGENT = f"agent=wit/{__version__}".encode()
"""One word of printable characters."""

MAX_PREFIXES = 65536
"""More prefixes than this are taken as none at all, as git does: the client filters anyway."""

REFS_ON_REACTOR = 500
"""Refs in an answer, above which it is encoded in a thread."""

SERVICES = frozenset({"git-upload-pack", "git-receive-pack"})


@attrs.frozen
class LsRefsRequest:
    """The arguments of ``ls-refs``."""

    peel: bool = False
    symrefs: bool = False
    unborn: bool = False
    prefixes: tuple[bytes, ...] = ()
    """Only refs that begin with one of these; all refs if there are none."""


@attrs.frozen
class Command:
    """A request of protocol v2: ``ls-refs``, ``fetch``."""

    name: str
    capabilities: tuple[bytes, ...]
    arguments: tuple[bytes, ...]


def service_header(service: str) -> bytes:
    """What comes first in the answer to ``info/refs`` in v0 and v1: gitprotocol-http(5)."""
    if service not in SERVICES:
        raise ValueError(f"{service!r} is no service")
    return encode(b"# service=%b\n" % service.encode()) + FLUSH


def v2_capabilities(object_format: str) -> bytes:
    """The capability advertisement of protocol v2."""
    lines = (
        b"version 2",
        AGENT,
        b"ls-refs=unborn",
        b"fetch=shallow wait-for-done filter",
        b"server-option",
        b"object-format=" + object_format.encode(),
    )
    return b"".join(encode(line + b"\n") for line in lines) + FLUSH


def parse_command(packets: Sequence[Packet], object_format: str) -> Command:
    """A request of protocol v2, from its first packet up to its flush.

    Raises ProtocolError if it is none, or asks for another object format.
    """
    if not packets or packets[-1] is not Marker.FLUSH:
        raise ProtocolError("the request does not end with a flush packet")
    head: list[bytes] = []
    arguments: list[bytes] = []
    part = head
    for packet in packets[:-1]:
        if isinstance(packet, bytes):
            part.append(packet.removesuffix(b"\n"))
        elif packet is Marker.DELIM and part is head:
            part = arguments
        else:
            raise ProtocolError("a flush or delimiter packet stands in the wrong place")
    commands = [line[8:] for line in head if line.startswith(b"command=")]
    if len(commands) != 1:
        raise ProtocolError("the request names no command, or several")
    for line in head:
        key, _, value = line.partition(b"=")
        if key == b"object-format" and value != object_format.encode():
            raise ProtocolError(f"mismatched object format: the repository uses {object_format}")
    return Command(
        name=commands[0].decode("ascii", "replace"),
        capabilities=tuple(line for line in head if not line.startswith(b"command=")),
        arguments=tuple(arguments),
    )


def parse_ls_refs(packets: Iterable[Packet]) -> LsRefsRequest:
    """The arguments of an ``ls-refs`` request.

    ``packets`` are either the arguments alone or the whole request, command and flush included.
    Raises ProtocolError for an argument that does not exist.
    """
    lines = list(packets)
    if lines and lines[-1] is Marker.FLUSH:
        lines.pop()
    if Marker.DELIM in lines:
        lines = lines[lines.index(Marker.DELIM) + 1 :]
    elif lines and lines[0] in (b"command=ls-refs", b"command=ls-refs\n"):
        lines = []
    flags = set()
    prefixes: dict[bytes, None] = {}
    for line in lines:
        if isinstance(line, Marker):
            raise ProtocolError("expected a flush packet after the arguments of ls-refs")
        argument = line.removesuffix(b"\n")
        if argument in (b"peel", b"symrefs", b"unborn"):
            flags.add(argument)
        elif argument.startswith(b"ref-prefix "):
            prefixes[argument[11:]] = None
        else:
            shown = argument[:80].decode("utf-8", "replace")
            raise ProtocolError(f"unexpected argument of ls-refs: {shown!r}")
    return LsRefsRequest(
        peel=b"peel" in flags,
        symrefs=b"symrefs" in flags,
        unborn=b"unborn" in flags,
        prefixes=tuple(prefixes) if len(prefixes) < MAX_PREFIXES else (),
    )


def ls_refs(snapshot: RefSnapshot, request: LsRefsRequest) -> bytes:
    """The answer to ``ls-refs``."""
    lines = _head_line(snapshot, request)
    lines += [_ref_line(ref, request) for ref in _with_prefix(snapshot.refs, request.prefixes)]
    return b"".join(lines) + FLUSH


def receive_pack_v0(snapshot: RefSnapshot, object_format: str, protocol: int) -> bytes:
    """The reference discovery of a push; ``protocol`` 1 says its version first, 0 and 2 do not."""
    capabilities = (
        b"report-status report-status-v2 delete-refs side-band-64k quiet atomic ofs-delta "
        b"push-options object-format=%b %b" % (object_format.encode(), AGENT)
    )
    lines = [b"%b %b" % (ref.oid.encode(), ref.name) for ref in snapshot.refs]
    if not lines:
        lines = [zero_oid(object_format).encode() + b" capabilities^{}"]
    lines[0] += b"\0" + capabilities
    version = encode(b"version 1\n") if protocol == 1 else b""
    return version + b"".join(encode(line + b"\n") for line in lines) + FLUSH


async def encoded(
    runtime: Runtime,
    build: Callable[[RefSnapshot, *Words], bytes],
    snapshot: RefSnapshot,
    *words: *Words,
) -> bytes:
    """``build(snapshot, *words)``, remembered for the next one who asks the same.

    ``build`` is one of the functions above. It works in a thread if there are many refs.
    """
    # A digest, because clients choose how long a request is.
    key = (snapshot.version, build, blake2b(repr(words).encode()).digest())
    answer = snapshot.answers.get(key)
    if answer is None:
        if len(snapshot.refs) <= REFS_ON_REACTOR:
            answer = build(snapshot, *words)
        else:
            answer = await runtime.in_thread(build, snapshot, *words)
        snapshot.answers.put(key, answer)
    return answer


def _head_line(snapshot: RefSnapshot, request: LsRefsRequest) -> list[bytes]:
    if request.prefixes and not b"HEAD".startswith(request.prefixes):
        return []
    target = b""
    if request.symrefs and snapshot.head is not None:
        target = b" symref-target:" + snapshot.head
    if snapshot.head_oid is None:
        return [encode(b"unborn HEAD%b\n" % target)] if request.unborn and target else []
    branch = snapshot.by_name.get(snapshot.head) if snapshot.head is not None else None
    peeled = b""
    if request.peel and branch is not None and branch.peeled is not None:
        peeled = b" peeled:" + branch.peeled.encode()
    return [encode(b"%b HEAD%b%b\n" % (snapshot.head_oid.encode(), target, peeled))]


def _ref_line(ref: Ref, request: LsRefsRequest) -> bytes:
    line = b"%b %b" % (ref.oid.encode(), ref.name)
    if request.symrefs and ref.symref is not None:
        line += b" symref-target:" + ref.symref
    if request.peel and ref.peeled is not None:
        line += b" peeled:" + ref.peeled.encode()
    return encode(line + b"\n")


def _with_prefix(refs: tuple[Ref, ...], prefixes: tuple[bytes, ...]) -> Iterable[Ref]:
    """The refs that begin with one of the prefixes, in order, each once."""
    if not prefixes:
        return refs
    chosen: list[Ref] = []
    end = 0
    for prefix in sorted(prefixes):
        # Sorted prefixes give ascending ranges; one may lie within the one before it.
        start = max(end, bisect_left(refs, prefix, key=_name))
        end = start
        while end < len(refs) and refs[end].name.startswith(prefix):
            end += 1
        chosen += refs[start:end]
    return chosen


def _name(ref: Ref) -> bytes:
    return ref.name
