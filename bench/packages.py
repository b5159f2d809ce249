"""The lines about the npm registry, beside verdaccio, with the same packages in both."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial

import attrs
import psutil

from bench import measure
from bench.measure import MIB, Result, compare, timed
from bench.package_tree import Package, project, tree
from bench.side_by_side import Bench
from bench.wit_daemon import OWNER, Wit
from tests.support.npm import ABBREVIATED, Registry, document, escaped, tarball
from tests.support.verdaccio import Verdaccio

PEER = "verdaccio"
REPOSITORY = "packages"
CONNECTIONS = 32
SECONDS = 5
LARGE = "bench-large"
LARGE_BYTES = 50 * MIB
SMALL_BYTES = 64 * 1024
"""The largest tarball in the mix of small ones."""

MANY = "bench-many-versions"
VERSIONS = 2000
REQUESTS = 10_000


@attrs.frozen
class Peer:
    """One of the two registries; its address names localhost, as wit's own addresses do."""

    name: str
    registry: Registry
    pid: int

    @property
    def url(self) -> str:
        return self.registry.url


def packages(b: Bench) -> Iterator[Result]:
    """Every line of the registry."""
    with ExitStack() as stack:
        ours, theirs = _started(b, stack)
        found = tree()
        print(f"publishing {len(found)} packages to both", flush=True)
        for peer in (ours, theirs):
            _publish_all(peer, found)
            _publish(peer, LARGE, "1.0.0", os.urandom(LARGE_BYTES))
        yield from _installs(b, ours, theirs, len({one.name for one in found}))
        yield _packuments(b, ours, theirs, found)
        yield from _tarballs(b, ours, theirs, found)
        for number in range(VERSIONS):
            _publish(ours, MANY, f"1.{number}.0", b"")
        yield _flat(b, ours)


def _started(b: Bench, stack: ExitStack) -> tuple[Peer, Peer]:
    folder = b.fresh()
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    wit = Wit(folder / "wit", {})
    stack.callback(wit.stop)
    wit.create(REPOSITORY)
    verdaccio = Verdaccio(folder / PEER)
    stack.callback(verdaccio.stop)
    ours = Registry(f"http://localhost:{wit.port}/api/packages", wit.sign_in())
    theirs = Registry(f"http://localhost:{verdaccio.port}", verdaccio.token)
    return Peer("wit", ours, wit.process.pid), Peer(PEER, theirs, verdaccio.process.pid)


# Filling them


def _publish_all(peer: Peer, found: Sequence[Package]) -> None:
    for one in found:
        body = document(one.manifest(f"{OWNER}/{REPOSITORY}"), one.file.read_bytes())
        _sent(peer, body)


def _publish(peer: Peer, name: str, version: str, content: bytes) -> None:
    manifest = {"name": name, "version": version, "repository": f"{OWNER}/{REPOSITORY}"}
    manifest["description"] = "made by the bench"
    _sent(peer, document(manifest, tarball(manifest, {"content": content})))


def _sent(peer: Peer, body: dict[str, object]) -> None:
    answer = peer.registry.publish(body)
    if answer.status not in (200, 201):
        raise RuntimeError(f"{peer.name}: {body['name']}: {answer.status} {answer.body[:500]!r}")


# Installing


def _installs(b: Bench, ours: Peer, theirs: Peer, count: int) -> Iterator[Result]:
    """Beside the seconds the servers' part of them: most of the time is npm's own."""
    for locked, what in ((False, "no lockfile"), (True, "with a lockfile")):
        before = [_cpu(peer) for peer in (ours, theirs)]
        mine, other = measure.alternate(
            b.rounds,
            partial(_install, b, ours, locked),
            partial(_install, b, theirs, locked),
        )
        work = f"cold npm install of {count} packages, {what}"
        yield compare(work, PEER, mine, other, at_most=0.8)
        used = [
            (_cpu(peer) - start) / b.rounds
            for peer, start in zip((ours, theirs), before, strict=True)
        ]
        line = compare("the same, server CPU", PEER, *used, at_most=float("inf"), unit="CPU s")
        yield attrs.evolve(line, goal="–")


def _cpu(peer: Peer) -> float:
    """CPU seconds of the server so far."""
    times = psutil.Process(peer.pid).cpu_times()
    return float(times.user + times.system)


def _install(b: Bench, peer: Peer, locked: bool) -> float:
    """Seconds of one ``npm install`` with nothing in its cache."""
    folder = b.fresh()
    try:
        work = project(folder / "project", locked=locked)
        (folder / "npmrc").write_text("")
        command = [
            *("npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"),
            *("--registry", f"{peer.url}/", "--cache", str(folder / "cache")),
            *("--userconfig", str(folder / "npmrc"), "--no-update-notifier"),
        ]
        took = timed(lambda: subprocess.run(command, cwd=work, check=True, env=_plain()))
        if not (work / "node_modules" / "jest" / "package.json").exists():
            raise RuntimeError(f"{peer.name}: npm install has installed nothing")
        return took
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _plain() -> dict[str, str]:
    """The environment without npm's settings."""
    return {
        name: value for name, value in os.environ.items() if not name.lower().startswith("npm_")
    }


# Asking


@attrs.frozen
class Load:
    """What wrk measured."""

    requests: float
    """Requests per second."""
    size: float
    """Bytes per second."""


def _load(
    b: Bench, peer: Peer, paths: Iterable[str], headers: dict[str, str], seconds: int = SECONDS
) -> Load:
    """CONNECTIONS kept-alive connections that ask for ``paths`` in turn."""
    script = b.folder / "packages.lua"
    base = f"/{peer.url.split('/', 3)[3]}" if peer.url.count("/") > 2 else ""
    listed = ",\n".join(json.dumps(f"{base}/{path}") for path in paths)
    fields = "".join(
        f"wrk.headers[{json.dumps(k)}] = {json.dumps(v)}\n" for k, v in headers.items()
    )
    script.write_text(
        f"{fields}paths = {{\n{listed}\n}}\nnext_one = 0\n"
        "request = function()\n"
        "  next_one = next_one % #paths + 1\n"
        '  return wrk.format("GET", paths[next_one])\n'
        "end\n"
    )
    origin = "/".join(peer.url.split("/")[:3])
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--timeout", "30s"]
    done = subprocess.run(
        [*command, "-s", str(script), origin], capture_output=True, text=True, check=True
    )
    rate = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    size = re.search(r"Transfer/sec:\s+([\d.]+)([KMG]?)B", done.stdout)
    if "Non-2xx" in done.stdout or rate is None or size is None:
        raise RuntimeError(f"{peer.name}: {done.stdout}{done.stderr}")
    unit = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}[size[2]]
    return Load(float(rate[1]), float(size[1]) * unit)


def _packuments(b: Bench, ours: Peer, theirs: Peer, found: Sequence[Package]) -> Result:
    paths = [escaped(name) for name in dict.fromkeys(one.name for one in found)]
    headers = {"Accept": ABBREVIATED, "Accept-Encoding": "gzip"}
    mine, other = measure.alternate(
        b.rounds,
        lambda: _load(b, ours, paths, headers).requests,
        lambda: _load(b, theirs, paths, headers).requests,
    )
    work = f"abbreviated packuments of {len(paths)} packages, {CONNECTIONS} connections"
    return compare(work, PEER, mine, other, at_least=1.5, unit="/s")


def _tarballs(b: Bench, ours: Peer, theirs: Peer, found: Sequence[Package]) -> Iterator[Result]:
    small = [
        _tarball_path(one.name, one.version)
        for one in found
        if one.file.stat().st_size <= SMALL_BYTES
    ]
    for what, paths in (
        (f"{len(small)} small tarballs", small),
        (f"a tarball of {LARGE_BYTES // MIB} MiB", [_tarball_path(LARGE, "1.0.0")]),
    ):
        mine, other = measure.alternate(
            b.rounds,
            partial(_mib_per_second, b, ours, paths),
            partial(_mib_per_second, b, theirs, paths),
        )
        work = f"{what}, {CONNECTIONS} connections"
        yield compare(work, PEER, mine, other, at_least=1.5, unit="MiB/s")


def _mib_per_second(b: Bench, peer: Peer, paths: Sequence[str]) -> float:
    return _load(b, peer, paths, {}).size / MIB


def _tarball_path(name: str, version: str) -> str:
    return f"{name}/-/{name.rpartition('/')[2]}-{version}.tgz"


def _flat(b: Bench, ours: Peer) -> Result:
    """Memory of the daemon while REQUESTS more clients ask for one long packument."""
    process = psutil.Process(ours.pid)
    forms = (
        {"Accept": ABBREVIATED, "Accept-Encoding": "gzip"},
        {"Accept": "application/json", "Accept-Encoding": "gzip"},
        {"Accept": ABBREVIATED},
    )
    for headers in forms:
        _load(b, ours, [MANY], headers)
    before = process.memory_info().rss
    for headers in forms:
        asked = 0.0
        while asked < REQUESTS / len(forms):
            asked += _load(b, ours, [MANY], headers, 2).requests * 2
    grown = (process.memory_info().rss - before) / MIB
    return Result(
        f"daemon's memory after {REQUESTS} more packuments of {VERSIONS} versions",
        f"{grown:+.1f} MiB", "–", "–", None, "+ ≤ 8 MiB", grown <= 8,
    )  # fmt: skip
