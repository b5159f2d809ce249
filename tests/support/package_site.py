"""A daemon with an npm registry of small limits, and people who publish there."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from tests.support import site as sites
from tests.support.daemon import PASSWORD, Daemon
from tests.support.npm import Answer, Registry, document
from tests.support.site import Run, Site

MIB = 1024 * 1024
SETTINGS = {
    "WIT_LIMITS_STANDARD": "0",
    "WIT_LIMITS_STANDARD_ANONYMOUS": "0",
    "WIT_PACKAGES_MAX_TARBALL_BYTES": str(80 * MIB),
    "WIT_PACKAGES_MAX_UNPACKED_BYTES": str(100 * MIB),
    "WIT_PACKAGES_MAX_FILES": "1000",
    "WIT_PACKAGES_MAX_MANIFEST_BYTES": str(2 * MIB),
}
SCOPES = ("packages:read", "packages:write")

_numbers = itertools.count(1)


@attrs.define
class PackageSite:
    """The people: two users without any special rights, and nobody at all.

    Bob has a public repository, ``bob/open``, and a private one, ``bob/closed``.
    """

    site: Site
    bob: Registry
    carol: Registry
    nobody: Registry

    @property
    def daemon(self) -> Daemon:
        return self.site.daemon

    def token(self, name: str, *scopes: str) -> Registry:
        """The registry as ``name`` sees it with a new token."""

        async def make(core: Any) -> str:
            user = await core.users.by_username(name)
            _, token = await core.tokens.create(user["id"], "npm", list(scopes))
            return str(token)

        return Registry(self.nobody.url, self.site.do(make))

    def publish(self, manifest: dict[str, Any], packed: bytes | None = None) -> Answer:
        """As bob, who may; anything but a success is an error."""
        answer = self.bob.publish(document(manifest, packed))
        assert answer.status in (200, 201), answer
        return answer

    def events(self, kind: str, repository: str = "bob/open") -> list[dict[str, Any]]:
        found = self.daemon.events(repository)
        return [event["payload"] for event in found if event["type"] == kind]

    def blobs(self) -> set[str]:
        """Names of the files in which tarballs are, those on their way included."""
        folder = self.daemon.data_dir / "packages"
        found = [*folder.glob("blobs/*/*/*"), *folder.glob("uploads/*")]
        return {path.name for path in found}


def new_package(version: str = "1.0.0", repository: str = "bob/open") -> dict[str, Any]:
    """A manifest with a name that nobody has used."""
    name = f"attacked-{next(_numbers)}"
    return {"name": name, "version": version, "repository": repository}


@contextmanager
def package_site(
    run: Run, folder: Path, settings: dict[str, str] | None = None
) -> Iterator[PackageSite]:
    daemon = Daemon(folder / "data", environment={**SETTINGS, **(settings or {})})
    with contextmanager(sites.open_site)(daemon, folder, run) as site:
        url = daemon.url("api/packages")
        nobody = Registry(url)
        found = PackageSite(site, nobody, nobody, nobody)

        async def enter(core: Any) -> None:
            await core.users.create("carol", "carol@example.org", PASSWORD, "user", verified=True)

        site.do(enter)
        site.create("bob/open", private=False)
        site.create("bob/closed", private=True)
        found.bob, found.carol = (found.token(name, *SCOPES) for name in ("bob", "carol"))
        yield found
