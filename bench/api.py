"""The lines about the API, beside a Node server that does the same work on the same tables."""

from __future__ import annotations

import concurrent.futures
import json
import os
import re
import shutil
import statistics
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import psutil

from bench import fixtures, measure
from bench.measure import MIB, Result, compare
from bench.side_by_side import Bench
from bench.wit_daemon import OWNER, PASSWORD, Wit
from tests.support.postgres import PostgresServer

NODE = Path(__file__).parent / "node"
CONNECTIONS = 32
SECONDS = 5
PEER = "hono + tRPC + pg in Node"


@attrs.frozen
class Load:
    """What wrk measured."""

    rate: float
    """Requests per second."""
    p99: float
    """Seconds."""


def load(url: str, token: str, seconds: int = SECONDS) -> Load:
    """CONNECTIONS kept-alive connections that ask for ``url`` again and again."""
    done = subprocess.run(
        [
            *("wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency"),
            *("-H", f"Authorization: Bearer {token}", url),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    rate = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)\b", done.stdout)
    if "Non-2xx" in done.stdout or rate is None or p99 is None:
        raise RuntimeError(done.stdout + done.stderr)
    unit = {"us": 1e-6, "ms": 1e-3, "s": 1.0}[p99[2]]
    return Load(float(rate[1]), float(p99[1]) * unit)


class NodePeer:
    """bench/node/server.mjs, one process."""

    def __init__(self, database_url: str, log: Path) -> None:
        if not (NODE / "node_modules").is_dir():
            command = ["npm", "ci", "--silent", "--no-audit", "--no-fund"]
            subprocess.run(command, cwd=NODE, check=True)
        self._process = subprocess.Popen(
            ["node", str(NODE / "server.mjs")],
            env={
                **os.environ,
                "DATABASE_URL": database_url,
                "LOG": str(log),
                "NODE_ENV": "production",
            },
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        self.address = f"http://127.0.0.1:{int(self._process.stdout.readline())}"

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(10)


@contextmanager
def served(b: Bench, engine: str) -> Iterator[tuple[Wit, NodePeer, str]]:
    """wit on ``engine`` and the peer on PostgreSQL, each with one repository; the peer's token."""
    server = PostgresServer()
    server.start()
    folder = b.fresh()
    wit = peer = second = None
    try:
        url = server.new_database()
        if engine == "PostgreSQL":
            wit = Wit(folder, {}, url)
        else:
            wit = Wit(folder, {})
            second = Wit(b.fresh(), {}, url)  # fills the peer's database
            second.create("small")
            second.stop()
        wit.create("small")
        peer = NodePeer(url, folder / "peer.log")
        yield wit, peer, (second or wit).token
    finally:
        if wit is not None:
            wit.stop()
        if peer is not None:
            peer.stop()
        server.remove()
        shutil.rmtree(folder, ignore_errors=True)


def get_url(address: str, calls: int = 1) -> str:
    """The address of ``calls`` calls of repos.get in one batch."""
    one = {"json": {"owner": OWNER, "repo": "small"}}
    if calls == 1:
        return f"{address}/trpc/repos.get?input={urllib.parse.quote(json.dumps(one))}"
    many = json.dumps({str(number): one for number in range(calls)})
    names = ",".join(["repos.get"] * calls)
    return f"{address}/trpc/{names}?batch=1&input={urllib.parse.quote(many)}"


def api(b: Bench) -> list[Result]:
    results = []
    for engine, goal in (("PostgreSQL", 0.8), ("SQLite", 1.5)):
        with served(b, engine) as (wit, peer, token):
            ours = f"http://127.0.0.1:{wit.port}"
            rest = f"/api/v1/repos/{OWNER}/small"
            for what, path in (("tRPC repos.get", ""), (f"GET {rest}", rest)):
                mine: list[Load] = []
                theirs: list[Load] = []
                for number in range(b.rounds):
                    pair = [
                        (mine, (ours, wit.token)),
                        (theirs, (peer.address, token)),
                    ]
                    for found, (address, secret) in pair if number % 2 else reversed(pair):
                        url = address + path if path else get_url(address)
                        found.append(load(url, secret))
                results.append(
                    compare(
                        f"{what}, {CONNECTIONS} connections, {engine}",
                        PEER,
                        statistics.median(one.rate for one in mine),
                        statistics.median(one.rate for one in theirs),
                        at_least=goal,
                        unit="/s",
                    )
                )
                results.append(_p99(what, engine, mine, theirs))
            if engine == "SQLite":
                results += [_batch(b, wit), _directory(b, wit), _sign_ins(wit), _flat(wit)]
    return results


def _p99(what: str, engine: str, mine: list[Load], theirs: list[Load]) -> Result:
    line = compare(
        f"the same, p99 ({what}, {engine})",
        PEER,
        statistics.median(one.p99 for one in mine) * 1000,
        statistics.median(one.p99 for one in theirs) * 1000,
        at_most=float("inf"),
        unit="ms",
    )
    return attrs.evolve(line, goal="–")


def _batch(b: Bench, wit: Wit) -> Result:
    address = f"http://127.0.0.1:{wit.port}"
    single, ten = measure.alternate(
        b.rounds,
        lambda: 1 / load(get_url(address), wit.token, 3).rate,
        lambda: 1 / load(get_url(address, 10), wit.token, 3).rate,
    )
    return compare(
        "a batch of 10 calls", "one call", ten * 1e6, single * 1e6, at_most=4.0, unit="µs"
    )


def _directory(b: Bench, wit: Wit) -> Result:
    """The last commit of each of 1 000 files in a history of 20 000 commits, as a page asks."""
    wit.add("wide", fixtures.wide())
    given = {"json": {"owner": OWNER, "repo": "wide", "ref": "main", "path": "src/d0"}}
    request = urllib.request.Request(
        f"http://127.0.0.1:{wit.port}/trpc/repos.getTreeCommits"
        f"?input={urllib.parse.quote(json.dumps(given))}",
        headers={"Authorization": f"Bearer {wit.token}"},
    )

    def ask() -> float:
        started = time.perf_counter()
        with urllib.request.urlopen(request, timeout=120) as answer:
            found = json.load(answer)["result"]["data"]["json"]
        if len(found["entries"]) < 1000 or not found["complete"]:
            raise RuntimeError(f"{len(found['entries'])} entries, complete: {found['complete']}")
        return time.perf_counter() - started

    ask()
    took = statistics.median(ask() for _ in range(max(5, b.rounds))) * 1000
    return Result(
        "last commits of a directory of 1 000 files, 20 000 commits, warm",
        f"{took:.0f} ms",
        "–",
        "–",
        None,
        "< 300 ms",
        took < 300,
    )


def _sign_ins(wit: Wit) -> Result:
    """/health while 100 people sign in with their passwords at once."""
    address = f"http://127.0.0.1:{wit.port}"
    body = json.dumps({"username": OWNER, "password": PASSWORD}).encode()

    def sign_in(_: int) -> int:
        request = urllib.request.Request(
            f"{address}/api/auth/sign-in/username",
            body,
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=120) as answer:
            return int(answer.status)

    took: list[float] = []
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            started = time.perf_counter()
            urllib.request.urlopen(f"{address}/health", timeout=30).read()
            took.append(time.perf_counter() - started)
            time.sleep(0.005)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with concurrent.futures.ThreadPoolExecutor(100) as people:
            statuses = list(people.map(sign_in, range(100)))
    finally:
        done.set()
        watcher.join()
    if set(statuses) != {200}:
        raise RuntimeError(f"signing in was answered {statuses}")
    p99 = sorted(took)[int(len(took) * 0.99)] * 1000
    return Result(
        "GET /health, p99, during 100 password sign-ins at once",
        f"{p99:.0f} ms",
        "–",
        "–",
        None,
        "< 50 ms",
        p99 < 50,
    )


def _flat(wit: Wit) -> Result:
    """Memory of the daemon from 20 000 requests to 220 000."""
    url = get_url(f"http://127.0.0.1:{wit.port}")
    process = psutil.Process(wit.process.pid)
    asked, before = 0.0, 0
    while asked < 220_000:
        asked += load(url, wit.token, SECONDS).rate * SECONDS
        if not before and asked > 20_000:
            before, asked = process.memory_info().rss, 20_000.0
    grown = (process.memory_info().rss - before) / MIB
    return Result(
        "daemon's memory after 200 000 more requests",
        f"{grown:+.1f} MiB",
        "–",
        "–",
        None,
        "+ ≤ 8 MiB",
        grown <= 8,
    )
