"""What a publish request says, without its tarball: checked, and put into the form that is kept.

Pure. The document is that of :mod:`wit.packages.publish_body`. All functions raise Invalid.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import attrs

from wit.errors import Invalid, TooLarge
from wit.packages.blobs import Digests
from wit.packages.names import (
    MAX_NAME,
    PackageName,
    check_tag,
    check_version,
    parse_name,
)
from wit.packages.records import LATEST
from wit.packages.tarballs import Contents
from wit.packages.versions import parse_range

MAX_DEPENDENCIES = 5000
MAX_TAGS = 20
MAX_BUNDLE = 1024 * 1024
MAX_MANIFEST = 512 * 1024
"""Bytes of a version's manifest as it is kept."""

MAX_README = 512 * 1024
MAX_TEXT = 4096
BUNDLE_SUFFIX = ".sigstore"

_INSTALLED = ("dependencies", "optionalDependencies", "peerDependencies")
_MAPS = (*_INSTALLED, "devDependencies")
_NOT_KEPT = frozenset(
    ("dist", "readme", "readmeFilename", "deprecated", "_attachments", "_id", "_npmUser")
)
"""Parts of a manifest that are the registry's own to say, or belong to the whole package."""


@attrs.frozen
class Release:
    """One version that somebody wants to publish."""

    version: str
    manifest: dict[str, Any]
    """What is kept of package.json, without ``dist``."""
    tags: tuple[str, ...]
    restricted: bool
    """``--access restricted``."""
    claimed: Mapping[str, Any]
    """``dist`` as the client computed it."""
    length: int | None
    """Bytes of the tarball, as the client says."""
    about: dict[str, str | None]
    """Columns of the package: description, keywords, license, homepage, readme,
    readme_filename."""
    bundle: dict[str, Any] | None
    """Provenance (a Sigstore bundle)."""
    needs: dict[str, str]
    """What must be installed with it: package name -> range."""


def read_release(document: Mapping[str, Any], name: PackageName, file: str) -> Release:
    """``file`` is the name of the attachment that was the tarball."""
    if document.get("name") != name.full or document.get("_id", name.full) != name.full:
        raise Invalid(f"the request is for {name.full}, but its body is about another package")
    key, published = _published(document, name, file)
    version = check_version(key)
    if published.get("name") != name.full or published.get("version") not in (key, version):
        raise Invalid(f"the manifest in the request is not that of {name.full}@{version}")
    manifest = {key: value for key, value in published.items() if key not in _NOT_KEPT}
    manifest |= {"name": name.full, "version": version}
    if len(json.dumps(manifest)) > MAX_MANIFEST:
        raise TooLarge(f"a package.json may have {MAX_MANIFEST} bytes at most")
    _check_maps(manifest)
    attachments = _mapping(document, "_attachments")
    attachment = _mapping(attachments, file)
    access = document.get("access")
    if access not in (None, "public", "restricted"):
        raise Invalid("access must be public or restricted")
    length = attachment.get("length")
    return Release(
        version=version,
        manifest=manifest,
        tags=_tags(document, key),
        restricted=access == "restricted",
        claimed=_mapping(published, "dist"),
        length=length if isinstance(length, int) else None,
        about=_about(document, published),
        bundle=_bundle(attachments, file, name, key),
        needs=_needs(manifest),
    )


def check_digests(release: Release, digests: Digests) -> None:
    """Raises Invalid unless the bytes that came are those that the client means."""
    claimed = release.claimed
    if release.length not in (None, digests.size):
        raise Invalid(f"the tarball has {digests.size} bytes, not {release.length}; publish again")
    shasum = claimed.get("shasum")
    if shasum is not None and shasum != digests.sha1:
        raise Invalid("the tarball does not have the shasum (SHA-1) that its manifest says")
    integrity = claimed.get("integrity")
    if integrity is None:
        return
    parts = integrity.split() if isinstance(integrity, str) else []
    sha512 = [part.partition("?")[0] for part in parts if part.startswith("sha512-")]
    if not sha512 or any(part != digests.integrity for part in sha512):
        raise Invalid("the tarball does not have the integrity (SHA-512) that its manifest says")


def kept_manifest(release: Release, digests: Digests, contents: Contents) -> dict[str, Any]:
    """The manifest with ``dist``, in which only the tarball's address is missing."""
    dist: dict[str, Any] = {
        "shasum": digests.sha1,
        "integrity": digests.integrity,
        "fileCount": contents.files,
        "unpackedSize": contents.unpacked_bytes,
    }
    if isinstance(signatures := release.claimed.get("signatures"), list):
        dist["signatures"] = signatures
    if release.bundle is not None:
        dist["attestations"] = {"provenance": {"predicateType": _statement(release.bundle)[1]}}
    return {**release.manifest, "_hasShrinkwrap": contents.has_shrinkwrap, "dist": dist}


def attestations(release: Release, digests: Digests) -> dict[str, Any] | None:
    """What ``/-/npm/v1/attestations/<name>@<version>`` answers. Raises Invalid if it is about
    another tarball."""
    if release.bundle is None:
        return None
    statement, predicate = _statement(release.bundle)
    subjects = statement.get("subject")
    found = [
        subject["digest"].get("sha512")
        for subject in (subjects if isinstance(subjects, list) else [])
        if isinstance(subject, dict) and isinstance(subject.get("digest"), dict)
    ]
    if digests.sha512 not in found:
        raise Invalid("the provenance is about another tarball")
    return {"attestations": [{"predicateType": predicate, "bundle": release.bundle}]}


def _published(
    document: Mapping[str, Any], name: PackageName, file: str
) -> tuple[str, Mapping[str, Any]]:
    """Key and manifest of the version whose tarball came along."""
    for key, published in _mapping(document, "versions").items():
        if file in _files(name, key, ".tgz"):
            if not isinstance(published, dict):
                raise Invalid(f"the manifest of {key[:80]!r} must be an object")
            return key, published
    raise Invalid(
        f"the attachment {file[:200]!r} is the tarball of no version in the request: it must be "
        f"called {name.full}-VERSION.tgz"
    )


def _files(name: PackageName, version: str, suffix: str) -> tuple[str, str]:
    return f"{name.full}-{version}{suffix}", f"{name.name}-{version}{suffix}"


def _tags(document: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """Those that shall point to this version; the others are as the client found them."""
    tags = [tag for tag, version in _mapping(document, "dist-tags").items() if version == key]
    if len(tags) > MAX_TAGS:
        raise Invalid(f"a version can be published under {MAX_TAGS} tags at most")
    return tuple(check_tag(tag) for tag in tags) or (LATEST,)


def _bundle(
    attachments: Mapping[str, Any], file: str, name: PackageName, key: str
) -> dict[str, Any] | None:
    found = None
    for other, attachment in attachments.items():
        if other == file:
            continue
        data = attachment.get("data") if isinstance(attachment, dict) else None
        if other not in _files(name, key, BUNDLE_SUFFIX) or not isinstance(data, str):
            raise Invalid(f"the attachment {other[:200]!r} is neither the tarball nor provenance")
        if len(data) > MAX_BUNDLE:
            raise TooLarge(f"provenance may have {MAX_BUNDLE} bytes at most")
        try:
            found = json.loads(data)
        except (ValueError, RecursionError):
            raise Invalid("the provenance is not JSON") from None
        if not isinstance(found, dict):
            raise Invalid("the provenance must be a Sigstore bundle")
        _statement(found)
    return found


def _statement(bundle: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """The in-toto statement in a Sigstore bundle, and the type of its predicate."""
    envelope = _mapping(bundle, "dsseEnvelope")
    try:
        statement = json.loads(base64.b64decode(envelope.get("payload", ""), validate=True))
        predicate = statement["predicateType"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise Invalid("the provenance is not a Sigstore bundle with a statement") from None
    if not isinstance(predicate, str) or len(predicate) > MAX_TEXT:
        raise Invalid("the provenance does not say of what type it is")
    return statement, predicate


def _check_maps(manifest: Mapping[str, Any]) -> None:
    total = 0
    for field in _MAPS:
        entries = _mapping(manifest, field)
        total += len(entries)
        for key, value in entries.items():
            if not isinstance(value, str):
                raise Invalid(f"{field} of package.json must map names to ranges")
            parse_name(key)
    if total > MAX_DEPENDENCIES:
        raise Invalid(f"a package can have {MAX_DEPENDENCIES} dependencies at most")


def _needs(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Aliases (``npm:name@range``) count as what they stand for; tags, addresses and files do
    not count."""
    needs: dict[str, str] = {}
    for field in _INSTALLED:
        for key, wanted in _mapping(manifest, field).items():
            name, text = key, wanted
            if wanted.startswith("npm:"):
                name, _, text = wanted.removeprefix("npm:").rpartition("@")
            if name and len(name) <= MAX_NAME and parse_range(text) is not None:
                needs[name] = text
    return needs


def _about(document: Mapping[str, Any], published: Mapping[str, Any]) -> dict[str, str | None]:
    def either(key: str) -> Any:
        return document.get(key) or published.get(key)

    licence = published.get("license")
    if isinstance(licence, dict):
        licence = licence.get("type")
    keywords = published.get("keywords")
    if isinstance(keywords, str):
        keywords = [keyword.strip() for keyword in keywords.split(",")]
    listed = keywords if isinstance(keywords, list) else []
    words = [word for word in listed if isinstance(word, str)]
    return {
        "description": clean_text(published.get("description"), MAX_TEXT),
        "keywords": json.dumps(words[:100]) if words else None,
        "license": clean_text(licence, 200),
        "homepage": clean_text(published.get("homepage"), MAX_TEXT),
        "readme": clean_text(either("readme"), MAX_README),
        "readme_filename": clean_text(either("readmeFilename"), 200),
    }


def clean_text(value: Any, limit: int) -> str | None:
    """At most ``limit`` characters that any database can keep; None for what is no text."""
    if not isinstance(value, str):
        return None
    return value.encode("utf-8", "replace").decode().replace("\0", "")[:limit]


def _mapping(holder: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The object under ``key``; an empty one if there is none."""
    value = holder.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Invalid(f"{key[:80]!r} in the request must be an object")
    return value
