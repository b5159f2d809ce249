"""What npm's clients send when they publish, made by hand; and asking a registry without them."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import tarfile
import urllib.error
import urllib.request
from collections.abc import Mapping
from email.message import Message
from typing import Any
from urllib.parse import quote

import attrs

ABBREVIATED = "application/vnd.npm.install-v1+json"


@attrs.frozen
class Answer:
    status: int
    headers: Message
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@attrs.frozen
class Registry:
    """Requests to the registry at ``url``, with ``token`` if there is one."""

    url: str
    token: str = attrs.field(default="", repr=False)

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """``body`` is sent as it is if it is bytes, else as JSON."""
        sent = dict(headers or {})
        if self.token:
            sent["Authorization"] = f"Bearer {self.token}"
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        if body is not None:
            sent.setdefault("Content-Type", "application/json")
        request = urllib.request.Request(
            f"{self.url}/{path}", data=body, headers=sent, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return Answer(answer.status, answer.headers, answer.read())
        except urllib.error.HTTPError as refused:
            return Answer(refused.code, refused.headers, refused.read())

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, headers=headers)

    def publish(self, document: dict[str, Any]) -> Answer:
        return self.ask("PUT", escaped(document["name"]), document)


def escaped(name: str) -> str:
    """The name in a path, as npm writes it."""
    return quote(name, safe="@")


def tarball(manifest: Mapping[str, Any], files: Mapping[str, bytes] | None = None) -> bytes:
    """What ``npm pack`` makes: a folder ``package`` with package.json and the files."""
    members = {"package.json": json.dumps(manifest).encode(), **(files or {})}
    return tar_of({f"package/{name}": content for name, content in members.items()})


def tar_of(members: Mapping[str, bytes | tarfile.TarInfo]) -> bytes:
    """A gzip'd tar of files, and of members that are no files."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                content.name = name
                archive.addfile(content)
                continue
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return gzip.compress(packed.getvalue(), 1, mtime=0)


def digests(data: bytes) -> dict[str, str]:
    """``shasum`` and ``integrity`` of a tarball."""
    sha512 = base64.b64encode(hashlib.sha512(data).digest()).decode()
    shasum = hashlib.sha1(data, usedforsecurity=False).hexdigest()
    return {"shasum": shasum, "integrity": f"sha512-{sha512}"}


def document(
    manifest: Mapping[str, Any],
    packed: bytes | None = None,
    *,
    tag: str = "latest",
    access: str | None = None,
) -> dict[str, Any]:
    """The body of ``npm publish`` for one version; the tarball is made if there is none."""
    name, version = manifest["name"], manifest["version"]
    packed = tarball(manifest) if packed is None else packed
    file = f"{name}-{version}.tgz"
    return {
        "_id": name,
        "name": name,
        "description": manifest.get("description", ""),
        "dist-tags": {tag: version},
        "versions": {
            version: {
                **manifest,
                "_id": f"{name}@{version}",
                "dist": {
                    **digests(packed),
                    "tarball": f"http://localhost/{name}/-/{file}",
                },
            }
        },
        "access": access,
        "_attachments": {
            file: {
                "content_type": "application/octet-stream",
                "data": base64.b64encode(packed).decode(),
                "length": len(packed),
            }
        },
    }
