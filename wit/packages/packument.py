"""Packuments, the documents in which npm's clients read about a package, made of rows. Pure.

There are two forms (npm, registry, "Package metadata"): the full one, and the abbreviated one with
what installing needs. Both are made as pieces of JSON text, one for each version, so that a package
of thousands of versions is never one big value, and no step takes longer than a version does.

Rows of versions have the columns of ``package_versions`` and ``publisher``, a user name or None.
Manifests were checked and completed (``dist``) when they were published; what the registry alone
knows, such as who published and what is deprecated, replaces what they say.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import attrs

from wit.db.port import Row
from wit.packages.names import PackageName, tarball_file

ABBREVIATED_FIELDS = (
    "name",
    "version",
    "bin",
    "directories",
    "dependencies",
    "devDependencies",
    "optionalDependencies",
    "peerDependencies",
    "peerDependenciesMeta",
    "acceptDependencies",
    "bundleDependencies",
    "bundledDependencies",
    "engines",
    "os",
    "cpu",
    "libc",
    "funding",
    "_hasShrinkwrap",
)
"""What an abbreviated manifest takes over, besides ``dist``, ``deprecated`` and
``hasInstallScript``."""

_INSTALL_SCRIPTS = ("preinstall", "install", "postinstall")
_FROM_LATEST = ("homepage", "keywords", "license", "author", "contributors", "repository", "bugs")
_REPLACED = frozenset(
    ("_attachments", "_npmUser", "deprecated", "maintainers", "readme", "readmeFilename", "users")
)
"""What a published manifest says of itself that only the registry, or the whole package, knows."""


@attrs.frozen
class Site:
    """What the documents say of this registry."""

    url: str
    """Without a slash at the end."""
    host: str

    def tarball(self, name: PackageName, version: str) -> str:
        """The address of a version's tarball."""
        return f"{self.url}/api/packages/{name.full}/-/{quote(tarball_file(name, version))}"

    def attestations(self, name: PackageName, version: str) -> str:
        """The address of what was proved about a version."""
        return f"{self.url}/api/packages/-/npm/v1/attestations/{quote(name.full, '')}@{version}"

    def person(self, username: str) -> dict[str, str]:
        """A person as npm's documents have them; the address is one at which no mail arrives."""
        return {"name": username, "email": f"{username}@users.noreply.{self.host}"}


def revision_text(package: Row) -> str:
    """The ``_rev`` of a package (``id``, ``revision``), in the form that CouchDB gave it."""
    return f"{package['revision']}-{package['id'].replace('-', '')}"


def manifest(site: Site, name: PackageName, package: Row, version: Row) -> dict[str, Any]:
    """The manifest of one version, in its full form."""
    published: Mapping[str, Any] = json.loads(version["manifest"])
    made = {key: value for key, value in published.items() if key not in _REPLACED}
    made |= {
        "name": name.full,
        "version": version["version"],
        "_id": f"{name.full}@{version['version']}",
        "dist": _dist(site, name, version["version"], published["dist"]),
    }
    if version["publisher"] is not None:
        made["_npmUser"] = site.person(version["publisher"])
    if notice := version["deprecated"] or package["deprecated"]:
        made["deprecated"] = notice
    return made


def abbreviated_manifest(
    site: Site, name: PackageName, package: Row, version: Row
) -> dict[str, Any]:
    """The manifest of one version, as far as installing needs it."""
    full = manifest(site, name, package, version)
    made = {key: full[key] for key in ABBREVIATED_FIELDS if key in full}
    made["dist"] = full["dist"]
    if "deprecated" in full:
        made["deprecated"] = full["deprecated"]
    scripts = full.get("scripts")
    if full.get("hasInstallScript") is True or (
        isinstance(scripts, dict) and any(scripts.get(script) for script in _INSTALL_SCRIPTS)
    ):
        made["hasInstallScript"] = True
    return made


def version_entries(
    site: Site, name: PackageName, package: Row, versions: Iterable[Row], *, abbreviated: bool
) -> list[bytes]:
    """``"VERSION":{...}`` for each version."""
    make = abbreviated_manifest if abbreviated else manifest
    return [_entry(row["version"], make(site, name, package, row)) for row in versions]


def abbreviated_document(
    name: PackageName, package: Row, entries: Iterable[bytes], tags: Mapping[str, str]
) -> list[bytes]:
    """The pieces of the abbreviated document; ``package`` has ``updated_at``."""
    head = {
        "name": name.full,
        "modified": timestamp(package["updated_at"]),
        "dist-tags": dict(tags),
    }
    return _document(head, entries)


def full_document(
    site: Site,
    name: PackageName,
    package: Row,
    entries: Iterable[bytes],
    *,
    tags: Mapping[str, str],
    times: Mapping[str, datetime],
    latest: Mapping[str, Any],
    maintainers: Iterable[str],
    stars: Iterable[str],
) -> list[bytes]:
    """The pieces of the full document.

    ``package`` is the whole row, ``times`` says when each version was published, ``latest`` is the
    manifest of the tag latest, and people are user names.
    """
    head: dict[str, Any] = {
        "_id": name.full,
        "_rev": revision_text(package),
        "name": name.full,
        "description": package["description"] or "",
        "dist-tags": dict(tags),
        "maintainers": [site.person(username) for username in maintainers],
        "time": {
            "created": timestamp(package["created_at"]),
            "modified": timestamp(package["updated_at"]),
            **{version: timestamp(time) for version, time in times.items()},
        },
        "users": dict.fromkeys(stars, True),
        "readme": package["readme"] or "",
        "readmeFilename": package["readme_filename"] or "",
    }
    head |= {key: latest[key] for key in _FROM_LATEST if key in latest}
    head |= {key: package[key] for key in ("homepage", "license") if package[key] is not None}
    if (keywords := keywords_of(package)) is not None:
        head["keywords"] = keywords
    return _document(head, entries)


def keywords_of(package: Row) -> list[str] | None:
    """The column, which is JSON text, read."""
    return None if package["keywords"] is None else list(json.loads(package["keywords"]))


def timestamp(time: datetime) -> str:
    """As JavaScript writes dates: UTC, with milliseconds."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _dist(site: Site, name: PackageName, version: str, kept: Mapping[str, Any]) -> dict[str, Any]:
    made = {**kept, "tarball": site.tarball(name, version)}
    if "attestations" in kept:
        made["attestations"] = {**kept["attestations"], "url": site.attestations(name, version)}
    return made


def _document(head: Mapping[str, Any], entries: Iterable[bytes]) -> list[bytes]:
    """One JSON object: ``head``, and ``versions`` made of the entries."""
    pieces = [_json(head)[:-1], b',"versions":{']
    for position, entry in enumerate(entries):
        pieces += [b",", entry] if position else [entry]
    return [*pieces, b"}}"]


def _entry(key: str, value: Any) -> bytes:
    return b"%b:%b" % (_json(key), _json(value))


def _json(value: Any) -> bytes:
    """In ASCII, so that no text that came with a manifest can fail to be written."""
    return json.dumps(value, separators=(",", ":")).encode("ascii")
