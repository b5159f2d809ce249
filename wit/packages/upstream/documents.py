"""A packument of an uplink, checked and made ours. Pure.

What comes from an uplink is believed in nothing but what it says about its own packages: another
name, versions that are none, tarballs on hosts that the uplink's settings do not name or without a
digest are left out.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import attrs

from wit.errors import Invalid
from wit.packages.names import PackageName, check_tag, check_version, tarball_file
from wit.packages.packument import ABBREVIATED_FIELDS
from wit.packages.upstream.json_pieces import PROTOTYPE, JsonPieces

_KEPT = frozenset((*ABBREVIATED_FIELDS, "deprecated", "hasInstallScript"))
_NEVER = frozenset((PROTOTYPE, "constructor", "prototype", "_attachments"))
_OURS = frozenset(("name", "dist-tags", "versions", "time", "modified", "_id"))
_SHA1 = re.compile(r"[0-9a-f]{40}")


@attrs.frozen
class Dist:
    """Where an uplink has a version's tarball, and what is known of its bytes."""

    url: str
    sha512: str
    """In hex; empty if only ``sha1`` is known."""
    sha1: str
    """In hex; empty if not known."""


@attrs.frozen
class Document:
    """A packument in one form."""

    body: bytes = attrs.field(repr=False)
    dists: bytes = attrs.field(repr=False)
    """A line for each version, in which :func:`find_dist` looks."""
    modified: datetime
    left_out: int
    """Versions that were left out."""


def make_document(
    raw: bytes,
    name: PackageName,
    *,
    abbreviated: bool,
    registry: str,
    may_ask: Callable[[str], bool],
    now: datetime,
) -> Document:
    """The document that clients get, of what the uplink answered.

    ``registry`` is our own address, ``.../api/packages``; ``may_ask`` says where tarballs may lie.
    Raises ValueError if it is no packument of ``name``.
    """
    try:
        pieces = JsonPieces(raw.decode("utf-8"))
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    head: dict[str, Any] = {}
    entries: list[str] = []
    dists: dict[str, Dist] = {}
    left_out = 0
    for key in pieces.members():
        if key != "versions":
            value = pieces.value()
            if key in _OURS or not (abbreviated or key in _NEVER):
                head[key] = value
            continue
        for version in pieces.members():
            manifest = pieces.value()
            dist = _dist(manifest, name, version, may_ask)
            if dist is None:
                left_out += 1
                continue
            dists[version] = dist
            ours = _manifest(manifest, name, version, registry, abbreviated)
            entries.append(f"{_json(version)}:{_json(ours)}")
    pieces.end()
    if head.get("name") != name.full:
        raise ValueError(f"it is about {str(head.get('name'))[:80]!r}")
    times = head.get("time")
    time = times.get("modified") if isinstance(times, dict) else None
    modified = _moment(head.get("modified")) or _moment(time) or now
    made = _head(head, name, dists, modified, abbreviated)
    body = f'{_json(made)[:-1]},"versions":{{{",".join(entries)}}}}}'
    return Document(body.encode(), _lines(dists), modified, left_out)


def find_dist(dists: bytes, version: str) -> Dist | None:
    """The line of ``version`` in :attr:`Document.dists`."""
    start = dists.find(b"\n%b " % version.encode())
    if start < 0:
        return None
    line = dists[start + 1 : dists.index(b"\n", start + 1)].decode()
    _, url, sha512, sha1 = line.split(" ")
    return Dist(url, sha512, sha1)


def _lines(dists: Mapping[str, Dist]) -> bytes:
    lines = (f"{version} {dist.url} {dist.sha512} {dist.sha1}\n" for version, dist in dists.items())
    return ("\n" + "".join(lines)).encode()


def _dist(
    manifest: Any, name: PackageName, version: str, may_ask: Callable[[str], bool]
) -> Dist | None:
    """What the manifest says of its tarball; None if this is no version that can be had."""
    try:
        usual = check_version(version) == version
    except Invalid:
        return None
    if not usual or not isinstance(manifest, dict):
        return None
    if manifest.get("name") != name.full or manifest.get("version") != version:
        return None
    said = manifest.get("dist")
    if not isinstance(said, dict):
        return None
    url, shasum = said.get("tarball"), said.get("shasum")
    if not isinstance(url, str) or not may_ask(url):
        return None
    sha1 = shasum if isinstance(shasum, str) and _SHA1.fullmatch(shasum) else ""
    sha512 = sha512_of(said.get("integrity"))
    return Dist(url, sha512, sha1) if sha512 or sha1 else None


def sha512_of(integrity: Any) -> str:
    """The SHA-512 in hex that a text of Subresource Integrity names; empty if it names none."""
    if isinstance(integrity, str):
        for part in integrity.split():
            algorithm, _, digest = part.partition("?")[0].partition("-")
            if algorithm == "sha512":
                try:
                    found = base64.b64decode(digest, validate=True)
                except (binascii.Error, ValueError):
                    continue
                if len(found) == 64:
                    return found.hex()
    return ""


def _manifest(
    manifest: dict[str, Any],
    name: PackageName,
    version: str,
    registry: str,
    abbreviated: bool,
) -> dict[str, Any]:
    if abbreviated:
        made = {key: value for key, value in manifest.items() if key in _KEPT}
    else:
        made = {key: value for key, value in manifest.items() if key not in _NEVER}
    said = dict(manifest["dist"])
    said["tarball"] = f"{registry}/{name.full}/-/{quote(tarball_file(name, version))}"
    if isinstance(said.get("attestations"), dict):
        where = f"{registry}/-/npm/v1/attestations/{quote(name.full, safe='@')}@{version}"
        said["attestations"] = {**said["attestations"], "url": where}
    return {**made, "dist": said}


def _head(
    head: dict[str, Any],
    name: PackageName,
    dists: Mapping[str, Dist],
    modified: datetime,
    abbreviated: bool,
) -> dict[str, Any]:
    """All but the versions."""
    said = head.get("dist-tags")
    tags = {
        tag: version
        for tag, version in (said.items() if isinstance(said, dict) else ())
        if isinstance(version, str) and version in dists and _is_tag(tag)
    }
    when = modified.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if abbreviated:
        return {"name": name.full, "modified": when, "dist-tags": tags}
    said = head.get("time")
    times = {
        key: time
        for key, time in (said.items() if isinstance(said, dict) else ())
        if isinstance(time, str) and (key in dists or key in ("created", "modified"))
    }
    others = {key: value for key, value in head.items() if key not in _OURS}
    return {"_id": name.full, "name": name.full, **others, "dist-tags": tags, "time": times}


def _is_tag(text: str) -> bool:
    try:
        check_tag(text)
    except Invalid:
        return False
    return True


def _moment(value: Any) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _json(value: Any) -> str:
    """In ASCII, so that every text can be written."""
    return json.dumps(value, separators=(",", ":"))
