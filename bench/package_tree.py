"""A large tree of real packages, fetched once from the registry that npm is set up for."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

from bench.fixtures import CACHE
from wit.packages.versions import Version, parse_version

FOLDER = CACHE / "packages"
WANTED = dict.fromkeys(
    ("jest", "@babel/preset-env", "@babel/preset-react", "express", "mocha", "react", "react-dom"),
    "*",
)
"""Together more than 400 packages, of which none is called like a module of node: npm takes no new
packages with such names, and neither does wit. Which versions, the first run decides."""

AT_ONCE = 40
"""Packages that one ``npm pack`` fetches."""

KEPT = (
    "dependencies", "optionalDependencies", "peerDependencies", "peerDependenciesMeta", "bin",
    "engines", "os", "cpu", "libc", "description", "license",
)  # fmt: skip
"""Fields of a manifest that an installation looks at, and a few of those that it does not."""


@attrs.frozen
class Package:
    """One version and the file that it is in."""

    name: str
    version: str
    file: Path

    def manifest(self, repository: str) -> dict[str, Any]:
        """What its package.json says, but for the repository."""
        found = _package_json(self.file)
        kept = {field: found[field] for field in KEPT if field in found}
        return {
            **kept, "name": self.name, "version": self.version, "repository": repository,
        }  # fmt: skip


def tree() -> list[Package]:
    """All packages of the tree, older versions of a package first."""
    if not (FOLDER / "complete").exists():
        shutil.rmtree(FOLDER, ignore_errors=True)
        _fetch()
        (FOLDER / "complete").touch()
    found = [
        Package(name, version, FOLDER / "tarballs" / _file(name, version))
        for name, version in _locked()
    ]
    return sorted(found, key=lambda one: (one.name, _order(one.version)))


def project(folder: Path, *, locked: bool) -> Path:
    """A project that wants the tree, in a new folder, with a lockfile or without."""
    folder.mkdir(parents=True)
    shutil.copy(FOLDER / "package.json", folder)
    if locked:
        shutil.copy(FOLDER / "package-lock.json", folder)
    return folder


def _order(version: str) -> Version:
    found = parse_version(version)
    assert found is not None, version
    return found


def _fetch() -> None:
    (FOLDER / "tarballs").mkdir(parents=True)
    description = {"name": "bench", "version": "1.0.0", "private": True, "dependencies": WANTED}
    (FOLDER / "package.json").write_text(json.dumps(description))
    print("fetching the packages of the npm lines", flush=True)
    resolve = ("install", "--package-lock-only", "--omit-lockfile-registry-resolved")
    _npm(*resolve, "--no-audit", "--no-fund", cwd=FOLDER)
    specs = [f"{name}@{version}" for name, version in _locked()]
    for start in range(0, len(specs), AT_ONCE):
        _npm("pack", "--ignore-scripts", *specs[start : start + AT_ONCE], cwd=FOLDER / "tarballs")


def _locked() -> Iterator[tuple[str, str]]:
    lock = json.loads((FOLDER / "package-lock.json").read_text())
    found = {
        (entry.get("name") or place.rpartition("node_modules/")[2], entry["version"])
        for place, entry in lock["packages"].items()
        if place and not entry.get("inBundle")
    }
    yield from sorted(found)


def _file(name: str, version: str) -> str:
    """The name that ``npm pack`` gives to a tarball."""
    return f"{name.removeprefix('@').replace('/', '-')}-{version}.tgz"


def _package_json(file: Path) -> dict[str, Any]:
    with tarfile.open(file) as archive:
        for member in archive:
            if member.name.count("/") == 1 and member.name.endswith("/package.json"):
                content = archive.extractfile(member)
                assert content is not None
                found: dict[str, Any] = json.load(io.TextIOWrapper(content, "utf-8-sig"))
                return found
    raise RuntimeError(f"{file} has no package.json")


def _npm(*words: str, cwd: Path) -> None:
    done = subprocess.run(["npm", "--silent", *words], cwd=cwd, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"npm {words[0]}: {done.stdout}{done.stderr}")
