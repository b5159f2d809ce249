"""The lines about small work, pushes, memory and the start."""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench import clients, fixtures, measure
from bench.measure import MIB, Result, compare
from bench.side_by_side import Bench, git_seconds


def small_work(b: Bench) -> list[Result]:
    """ls-remote, fetch of one commit and push of one commit, on both doors, on the small and the
    large repository."""
    results = []
    rounds = b.rounds * 5
    for name, path in (("small", b.small), ("large", b.large)):
        for door, against, ours, peer, extra in (
            (
                "SSH",
                "OpenSSH sshd",
                b.wit.ssh_url(name),
                b.ssh.url(f"{name}.git"),
                (b.our_ssh(), b.peer_ssh()),
            ),
            (
                "HTTP",
                "http-backend behind nginx",
                b.wit.url(name, signed_in=True),
                b.http.url(f"{name}.git", signed_in=True),
                ({}, {}),
            ),
        ):
            goal = 1.0 if door == "SSH" else 1.1
            if door == "SSH":
                mine, theirs = measure.alternate(
                    rounds,
                    partial(git_seconds, "ls-remote", "-q", ours, env=extra[0]),
                    partial(git_seconds, "ls-remote", "-q", peer, env=extra[1]),
                )
                results.append(
                    compare(f"ls-remote over {door} ({name})", against, mine, theirs, at_most=goal)
                )
            work = b.fresh()
            fixtures.git("clone", "-q", "--shared", "--no-checkout", str(path), str(work))
            reader = b.fresh()
            fixtures.git("clone", "-q", "--bare", "--shared", str(path), str(reader))
            pushes: dict[str, list[float]] = {ours: [], peer: []}
            fetches: dict[str, list[float]] = {ours: [], peer: []}
            for number in range(rounds):
                sides = [(ours, extra[0]), (peer, extra[1])]
                for url, environment in sides if number % 2 else reversed(sides):
                    tree = fixtures.git("rev-parse", "HEAD^{tree}", cwd=work).strip()
                    b.counter += 1
                    made = fixtures.git(
                        "commit-tree", tree, "-p", "HEAD", "-m", f"change {b.counter}", cwd=work
                    ).strip()
                    branch = f"refs/heads/{door}-{number}"
                    pushes[url].append(
                        git_seconds(
                            "push", "-q", url, f"{made}:{branch}", cwd=work, env=environment
                        )
                    )
                    fetches[url].append(
                        git_seconds(
                            *("--git-dir", str(reader), "fetch", "-q", "--no-tags", url),
                            f"{branch}:refs/fetched/{b.counter}",
                            env=environment,
                        )
                    )
                    fixtures.git("push", "-q", url, f":{branch}", cwd=work, env=environment)
            for what, taken in (("fetch of one commit", fetches), ("push of one commit", pushes)):
                results.append(
                    compare(
                        f"{what} over {door} ({name})",
                        against,
                        statistics.median(taken[ours]),
                        statistics.median(taken[peer]),
                        at_most=goal,
                    )
                )
    return results


def push_large(b: Bench) -> list[Result]:
    def push(url: str) -> float:
        return git_seconds("--git-dir", str(b.large), "push", "-q", "--mirror", url)

    def ours() -> float:
        b.counter += 1
        name = f"pushed{b.counter}"
        b.wit.create(name)
        try:
            return push(b.wit.url(name, signed_in=True))
        finally:
            b.wit.cli("repo", "delete", f"bench/{name}", "--yes")

    def peer() -> float:
        b.counter += 1
        path = b.peer_http_path(f"pushed{b.counter}.git")
        fixtures.git("init", "-q", "--bare", str(path))
        try:
            return push(b.http.url(path.name, signed_in=True))
        finally:
            shutil.rmtree(path)

    mine, theirs = measure.alternate(b.rounds, ours, peer)
    return [
        compare(
            "push of the whole large repository over HTTP",
            "http-backend behind nginx",
            mine,
            theirs,
            at_most=1.1,
        )
    ]


def memory(b: Bench) -> list[Result]:
    """The daemon alone, without its git processes, beside itself idle."""
    results = []
    body = clients.clone_request(b.large)

    def daemon_only() -> int:
        text = Path(f"/proc/{b.wit.process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in text.splitlines() if "VmHWM" in line) * 1024

    def grown(work: Callable[[], object]) -> float:
        b.wit.restart()
        clients.receive_only(b.wit.url("small"), clients.clone_request(b.small))
        before = daemon_only()
        work()
        return (daemon_only() - before) / MIB

    def push() -> None:
        b.counter += 1
        b.wit.create(f"pushed{b.counter}")
        url = b.wit.url(f"pushed{b.counter}", signed_in=True)
        fixtures.git("--git-dir", str(b.large), "push", "-q", "--mirror", url)

    def stalled_clients() -> None:
        peers = [clients.stalled(b.wit.url("large"), body) for _ in range(50)]
        clients.receive_only(b.wit.url("large"), body)
        for peer in peers:
            peer.close()

    for what, work in (
        ("during a 300 MB push", push),
        ("during a clone", lambda: clients.receive_only(b.wit.url("large"), body)),
        ("with 50 clients that stopped reading", stalled_clients),
    ):
        used = grown(work)
        results.append(
            Result(
                f"daemon's peak memory {what}",
                f"+ {used:.0f} MiB",
                "itself idle",
                "0",
                None,
                "+ ≤ 64 MiB",
                used <= 64,
            )
        )
    return results


def start_up(b: Bench) -> list[Result]:
    warm = statistics.median(b.wit.restart() for _ in range(b.rounds))
    first = b.wit.first_answer
    return [
        Result(
            f"start-up to first answer ({what})",
            f"{seconds:.2f} s",
            "–",
            "–",
            None,
            "< 2 s",
            seconds < 2,
        )
        for what, seconds in (("empty data folder", first), ("restart", warm))
    ]
