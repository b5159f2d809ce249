"""A daemon as a registry, packages to publish, and package managers that know nothing else."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from tests.support import npm as requests
from tests.support.daemon import Daemon
from tests.support.site import Site
from wit.git.names import parse_full_name

NODE = Path(__file__).parents[1] / "node" / "node_modules"
SECONDS = 60
_numbers = itertools.count(1)


@attrs.frozen
class Said:
    """What a program has said in the end."""

    status: int
    out: str
    error: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def all(self) -> str:
        return self.out + self.error


@attrs.frozen
class Registry:
    site: Site
    folder: Path
    tokens: Mapping[str, str]
    """Of people, for packages."""

    @property
    def daemon(self) -> Daemon:
        return self.site.daemon

    @property
    def url(self) -> str:
        return self.daemon.url("api/packages/")

    @property
    def line(self) -> str:
        """What lines about this registry in an npmrc begin with."""
        return self.url.removeprefix("http:")

    def repository(self, owner: str = "alice", *, private: bool = False) -> str:
        """A new one."""
        name = f"{owner}/r{next(_numbers)}"
        self.site.do(lambda core: core.repos.create(parse_full_name(name), private=private))
        return name

    def package(self, repository: str, name: str = "", version: str = "1.0.0", **more: Any) -> Path:
        """The folder of a new package, ready to be published."""
        folder = self.folder / f"package{next(_numbers)}"
        folder.mkdir()
        manifest = {
            "name": name or f"package-{next(_numbers)}",
            "version": version,
            "description": "a package of the tests",
            "main": "index.js",
            "license": "MIT",
            "repository": {"type": "git", "url": f"git+{self.daemon.url(repository)}.git"},
            **more,
        }
        (folder / "package.json").write_text(json.dumps(manifest, indent=2))
        (folder / "index.js").write_text(f"module.exports = {json.dumps(version)}\n")
        (folder / "README.md").write_text("# A package\n")
        return folder

    def project(self, **manifest: Any) -> Path:
        """The folder of a new project that depends on packages."""
        folder = self.folder / f"project{next(_numbers)}"
        folder.mkdir()
        whole = {"name": "project", "version": "1.0.0", "private": True, **manifest}
        (folder / "package.json").write_text(json.dumps(whole))
        return folder

    def environment(self, person: str = "alice") -> dict[str, str]:
        """Of a program with a home of its own, whose only registry is this one."""
        home = self.folder / f"home-{person or 'nobody'}"
        if not home.exists():
            home.mkdir()
            lines = [
                f"registry={self.url}",
                "update-notifier=false",
                "fetch-retries=0",
                "fund=false",
                "audit=false",
            ]
            if person:
                lines.append(f"{self.line}:_authToken={self.tokens[person]}")
            (home / ".npmrc").write_text("\n".join(lines) + "\n")
        ours = ("npm_", "yarn_", "bun_", "pnpm_", "xdg_")
        kept = {key: text for key, text in os.environ.items() if not key.lower().startswith(ours)}
        return {
            **kept,
            "HOME": str(home),
            "npm_config_cache": str(home / "cache"),
            "YARN_CACHE_FOLDER": str(home / "yarn"),
            "BUN_INSTALL_CACHE_DIR": str(home / "bun"),
            "NO_COLOR": "1",
            "CI": "1",
        }

    def run(
        self,
        *command: str,
        cwd: Path | None = None,
        person: str = "alice",
        check: bool = True,
        environment: Mapping[str, str] | None = None,
    ) -> Said:
        done = subprocess.run(
            command,
            cwd=cwd or self.folder,
            env={**self.environment(person), **(environment or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        said = Said(done.returncode, done.stdout, done.stderr)
        assert not check or not done.returncode, (
            f"{command}: {said.all}\n{self.daemon.log()[-3000:]}"
        )
        return said

    def npm(
        self, *words: str, cwd: Path | None = None, person: str = "alice", check: bool = True
    ) -> Said:
        return self.run("npm", *words, cwd=cwd, person=person, check=check)

    def published(self, name: str = "", **more: Any) -> str:
        """The name of a package that alice has published, which takes no time this way."""
        folder = self.package(self.repository(), name, **more)
        manifest = json.loads((folder / "package.json").read_text())
        packed = requests.tarball(manifest, {"index.js": (folder / "index.js").read_bytes()})
        answer = self.by_hand("alice").publish(requests.document(manifest, packed))
        assert answer.status == 200, answer.body
        return str(manifest["name"])

    def by_hand(self, person: str) -> requests.Registry:
        """Requests without a client."""
        return requests.Registry(self.url.rstrip("/"), self.tokens[person])

    def document(self, name: str) -> Any:
        """The packument as alice sees it."""
        answer = self.by_hand("alice").get(requests.escaped(name))
        assert answer.status == 200, answer.body
        return answer.json


def name_of(folder: Path) -> str:
    return str(json.loads((folder / "package.json").read_text())["name"])


def set_version(folder: Path, version: str) -> None:
    manifest = json.loads((folder / "package.json").read_text())
    manifest["version"] = version
    (folder / "package.json").write_text(json.dumps(manifest, indent=2))
    (folder / "index.js").write_text(f"module.exports = {json.dumps(version)}\n")


def required(folder: Path, name: str) -> str:
    """What node finds for ``name`` in a project."""
    done = subprocess.run(
        ["node", "-p", f"require({json.dumps(name)})"],
        cwd=folder, capture_output=True, text=True, check=True, timeout=SECONDS,
    )  # fmt: skip
    return done.stdout.strip()
