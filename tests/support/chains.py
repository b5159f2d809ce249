"""Packs with a long chain of deltas, as no git would write them."""

from __future__ import annotations

import attrs

from tests.support.wire import BLOB, COMMIT, OFS_DELTA, TREE, commit, entry, oid, pack, tree


@attrs.frozen
class Chain:
    """A pack, and the commit in it that leads to the end of the chain."""

    commit: str
    pack: bytes


def chain_of_deltas(depth: int, kind: int = OFS_DELTA) -> Chain:
    """``depth`` deltas, each upon the one before; the first upon a whole object.

    ``kind`` says how a delta names its base: OFS_DELTA or REF_DELTA.
    """
    content = b"%08d" % 0
    entries = [entry(BLOB, content)]
    for step in range(1, depth + 1):
        base, content = content, b"%08d" % step
        offset = kind == OFS_DELTA
        prefix = distance(len(entries[-1])) if offset else bytes.fromhex(oid(BLOB, base))
        entries.append(entry(kind, delta(8, 8, b"\x08" + content), prefix=prefix))
    root = tree((b"100644", b"file", oid(BLOB, content)))
    top = commit(oid(TREE, root))
    packed = pack([*entries, entry(TREE, root), entry(COMMIT, top)])
    return Chain(oid(COMMIT, top), packed)


def delta(base: int, result: int, *instructions: bytes) -> bytes:
    """Sizes of what it is applied to and of what it makes; copies and insertions."""
    return _number(base) + _number(result) + b"".join(instructions)


def _number(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def distance(value: int) -> bytes:
    """The offset of an OFS_DELTA (gitformat-pack(5))."""
    out = [value & 0x7F]
    while value := value >> 7:
        value -= 1
        out.append(value & 0x7F | 0x80)
    return bytes(reversed(out))
