"""Tarballs and publish requests as npm makes them, and a registry to send them to."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from tests.repositories.world import World, make_world, name
from wit.access.actor import Actor, Origin
from wit.access.gate import Gate
from wit.config import Config
from wit.db.port import Database
from wit.metrics import Metrics
from wit.packages.names import parse_name
from wit.packages.publishing import Published
from wit.packages.service import Packages
from wit.runtime import Runtime
from wit.streams import BytesSource

HOME = "https://wit.example.org"


def tarball(files: Mapping[str, bytes]) -> bytes:
    """A gzipped tar file with plain files, by path."""
    entries = []
    for path, content in files.items():
        entry = tarfile.TarInfo(path)
        entry.size = len(content)
        entries.append((entry, content))
    return archive(entries)


def archive(entries: list[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as writer:
        for entry, content in entries:
            writer.addfile(entry, io.BytesIO(content))
    return gzip.compress(raw.getvalue(), mtime=0)


def package_tarball(manifest: Mapping[str, Any]) -> bytes:
    files = {"package/package.json": json.dumps(manifest).encode(), "package/index.js": b"1;\n"}
    return tarball(files)


def manifest(full_name: str, version: str, repository: Any = None, **more: Any) -> dict[str, Any]:
    made = {"name": full_name, "version": version, "description": "for a test", **more}
    return made if repository is None else {**made, "repository": repository}


def document(
    package: Mapping[str, Any],
    *,
    data: bytes | None = None,
    tag: str = "latest",
    access: str | None = None,
) -> dict[str, Any]:
    """The body that npm sends for a manifest."""
    data = package_tarball(package) if data is None else data
    full, version = package["name"], package["version"]
    file = f"{full}-{version}.tgz"
    dist = {
        "integrity": "sha512-" + base64.b64encode(hashlib.sha512(data).digest()).decode(),
        "shasum": hashlib.sha1(data, usedforsecurity=False).hexdigest(),
        "tarball": f"http://localhost/{full}/-/{file}",
    }
    return {
        "_id": full,
        "name": full,
        "dist-tags": {tag: version},
        "versions": {version: {**package, "dist": dist}},
        "access": access,
        "_attachments": {
            file: {
                "content_type": "application/octet-stream",
                "data": base64.b64encode(data).decode(),
                "length": len(data),
            }
        },
    }


def source(body: Any, size: int = 1000) -> BytesSource:
    text = json.dumps(body).encode()
    return BytesSource(*(text[at : at + size] for at in range(0, len(text), size)))


@attrs.frozen
class Registry:
    """``ada`` owns ada/tools and, with the organization acme, acme/kit; bob owns bob/own."""

    packages: Packages
    world: World
    ada: Actor
    bob: Actor
    root: Actor

    async def publish(self, actor: Actor, body: Any, full_name: str | None = None) -> Published:
        name = parse_name(full_name or body["name"])
        return await self.packages.publishing.publish(actor, name, source(body), "r1")

    async def release(
        self, full_name: str, version: str, actor: Actor | None = None, **more: Any
    ) -> Published:
        """Publish a small package of ada/tools, or another repository's."""
        tag = more.pop("tag", "latest")
        access = more.pop("access", None)
        more.setdefault("repository", f"git+{HOME}/ada/tools.git")
        made = manifest(full_name, version, **more)
        return await self.publish(actor or self.ada, document(made, tag=tag, access=access))


async def make_registry(db: Database, runtime: Runtime, folder: Path) -> Registry:
    world = await make_world(db, runtime, folder)
    for repo in ("ada/tools", "Acme/kit", "bob/own"):
        await world.manager.create(name(repo), private=False)
    await world.manager.create(name("ada/secret"), private=True)
    root = (await world.users.create("root", "root@example.org"))["id"]
    config = attrs.evolve(
        Config(data_dir=folder), server=attrs.evolve(Config(folder).server, public_url=HOME)
    )
    packages = Packages(config, db, runtime, Metrics(), gate=Gate(db), journal=world.journal)
    return Registry(
        packages,
        world,
        ada=Actor(world.ids["Ada"], "ada", Origin.PASSWORD),
        bob=Actor(world.ids["bob"], "bob", Origin.PASSWORD),
        root=Actor(root, "root", Origin.PASSWORD, is_admin=True),
    )
