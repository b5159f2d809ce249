"""Run the table: ``python -m bench [--only WORD] [--rounds N] [--write]``.

``--only`` takes a part of a line's name, ``--write`` puts the table into docs/performance.md.
"""

from __future__ import annotations

import argparse
import datetime
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import attrs

from bench import clients, fixtures, measure
from bench.measure import Result, compare, timed
from bench.peers import HttpBackend, OpenSsh
from bench.wit_daemon import Wit

REPORT = Path(__file__).resolve().parent.parent / "docs" / "performance.md"
BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"
MIB = 1024 * 1024


def git_seconds(
    *arguments: str, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> float:
    """Seconds that one git command took."""
    return timed(lambda: fixtures.git(*arguments, cwd=cwd, env=env))


@attrs.define
class Bench:
    """The servers side by side, and a folder that goes away."""

    folder: Path
    rounds: int
    large: Path
    small: Path
    wit: Wit
    http: HttpBackend
    ssh: OpenSsh
    our_cpu: measure.CpuAccount
    peer_cpu: measure.CpuAccount
    counter: int = 0

    def fresh(self) -> Path:
        self.counter += 1
        return self.folder / f"work{self.counter}"

    def clone(self, url: str, env: Mapping[str, str] | None = None) -> float:
        target = self.fresh()
        try:
            return git_seconds("clone", "-q", "--bare", url, str(target), env=env)
        finally:
            shutil.rmtree(target, ignore_errors=True)

    def our_ssh(self) -> dict[str, str]:
        return _ssh(self.wit.key)

    def peer_ssh(self) -> dict[str, str]:
        return _ssh(self.ssh.key)

    def peer_http_path(self, name: str) -> Path:
        return self.http.repositories / name

    def our_path(self, name: str) -> Path:
        return self.wit.data / "repos" / "bench" / f"{name}.git"


def _ssh(key: Path) -> dict[str, str]:
    return {
        "GIT_SSH_COMMAND": f"ssh -F none -i {key} -o IdentitiesOnly=yes -o BatchMode=yes "
        "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
    }


def clone_http_first(b: Bench) -> list[Result]:
    results = []
    for name, path, rounds in (("large", b.large, b.rounds), ("small", b.small, b.rounds * 3)):

        def ours(name: str = name) -> float:
            b.wit.restart()  # nothing is cached in a daemon that has just started
            return b.clone(b.wit.url(name))

        mine, theirs = measure.alternate(
            rounds,
            ours,
            lambda path=path: b.clone(f"file://{path}"),  # type: ignore[misc]
        )
        results.append(
            compare(
                f"full clone over HTTP, first time ({name})",
                "git clone file://",
                mine,
                theirs,
                at_most=1.10,
            )
        )
    return results


def clone_http_cached(b: Bench) -> list[Result]:
    results = []
    for name, path in (("large", b.large), ("small", b.small)):
        body = clients.clone_request(path)
        url = b.wit.url(name)
        b.our_cpu.add(b.wit.pids)
        clients.receive_only(url, body)
        many = 1 if name == "large" else 20

        def spent(
            account: measure.CpuAccount, url: str, body: bytes = body, many: int = many
        ) -> float:
            before = account.seconds()
            for _ in range(many):
                clients.receive_only(url, body)
            return (account.seconds() - before) / many

        mine, theirs = measure.alternate(
            b.rounds,
            lambda url=url: spent(b.our_cpu, url),  # type: ignore[misc]
            lambda name=name: spent(b.peer_cpu, b.http.url(f"{name}.git")),  # type: ignore[misc]
        )
        results.append(
            compare(
                f"full clone over HTTP, pack cached: server CPU ({name})",
                "http-backend behind nginx",
                mine,
                theirs,
                at_most=0.25,
                unit="CPU s",
            )
        )
    return results


def eight_clones(b: Bench) -> list[Result]:
    body = clients.clone_request(b.large)
    peaks: dict[str, list[measure.PeakMemory]] = {"ours": [], "peer": []}

    def measured(kind: str, pids: list[int], url: str) -> float:
        with measure.PeakMemory(pids) as used:
            seconds = clients.at_once(8, url, body)
        peaks[kind].append(used)
        return seconds

    def ours() -> float:
        b.wit.restart()
        return measured("ours", b.wit.pids, b.wit.url("large"))

    mine, theirs = measure.alternate(
        b.rounds, ours, lambda: measured("peer", b.http.pids, b.http.url("large.git"))
    )

    def peak(kind: str, what: str) -> float:
        sizes: list[int] = [getattr(used, what) for used in peaks[kind]]
        return statistics.median(sizes) / MIB

    against = "http-backend behind nginx"
    return [
        compare(
            "8 clones of one tip at once: until all have the last byte",
            against,
            mine,
            theirs,
            at_most=0.35,
        ),
        compare(
            "the same 8 clones: peak memory of daemon and git, RSS",
            against,
            peak("ours", "rss"),
            peak("peer", "rss"),
            at_most=0.25,
            unit="MiB",
        ),
        compare(
            "the same, PSS (shared pages once)",
            against,
            peak("ours", "pss"),
            peak("peer", "pss"),
            at_most=0.25,
            unit="MiB",
        ),
    ]


def clone_ssh(b: Bench) -> list[Result]:
    def ours() -> float:
        b.wit.restart()
        return b.clone(b.wit.ssh_url("large"), b.our_ssh())

    large = measure.alternate(b.rounds, ours, lambda: b.clone(b.ssh.url("large.git"), b.peer_ssh()))
    small = measure.alternate(
        b.rounds * 3,
        lambda: b.clone(b.wit.ssh_url("small"), b.our_ssh()),
        lambda: b.clone(b.ssh.url("small.git"), b.peer_ssh()),
    )
    return [
        compare(
            f"full clone over SSH ({name})",
            "OpenSSH sshd with git-shell",
            mine,
            theirs,
            at_most=1.15,
        )
        for name, (mine, theirs) in (("large", large), ("small", small))
    ]


def polls(b: Bench) -> list[Result]:
    results = []
    for name in ("large", "small"):
        mine, theirs = measure.alternate(
            b.rounds,
            lambda name=name: clients.polls_per_second(b.wit.url(name), b.folder),  # type: ignore[misc]
            lambda name=name: clients.polls_per_second(  # type: ignore[misc]
                b.http.url(f"{name}.git"), b.folder
            ),
        )
        results.append(
            compare(
                f"v2 ls-refs polls, 16 at once ({name})",
                "http-backend behind nginx",
                mine,
                theirs,
                at_least=4.0,
                unit="/s",
            )
        )
    return results


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


LINES: list[tuple[str, Callable[[Bench], list[Result]]]] = [
    ("start", start_up),
    ("clone-http", clone_http_first),
    ("clone-cached", clone_http_cached),
    ("eight", eight_clones),
    ("clone-ssh", clone_ssh),
    ("polls", polls),
    ("small-work", small_work),
    ("push-large", push_large),
    ("memory", memory),
]


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--only", action="append", choices=[name for name, _ in LINES])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    folder = Path(
        tempfile.mkdtemp(
            prefix="bench-", dir=fixtures.CACHE.parent if fixtures.CACHE.parent.exists() else None
        )
    )
    os.environ.pop("GIT_DIR", None)
    large, small = fixtures.large(), fixtures.small()
    peer_repositories = folder / "peer"
    for name, source in (("large", large), ("small", small)):
        shutil.copytree(source, peer_repositories / f"{name}.git", copy_function=os.link)
        shutil.copy(source / "config", peer_repositories / f"{name}.git" / "new-config")
        (peer_repositories / f"{name}.git" / "new-config").replace(
            peer_repositories / f"{name}.git" / "config"
        )
    wit = Wit(folder / "wit", {"large": large, "small": small})
    http = HttpBackend(folder / "nginx", peer_repositories)
    ssh = OpenSsh(folder / "sshd", peer_repositories)
    our_cpu, peer_cpu = measure.CpuAccount("wit"), measure.CpuAccount("peer")
    peer_cpu.add(http.pids)
    bench = Bench(folder, options.rounds, large, small, wit, http, ssh, our_cpu, peer_cpu)
    lines = [measure.HEADER]
    print(measure.HEADER, flush=True)
    missed = 0
    try:
        for name, line in LINES:
            if options.only and name not in options.only:
                continue
            for result in line(bench):
                missed += not result.met
                lines.append(result.row())
                print(result.row(), flush=True)
    finally:
        for server in (ssh, http, wit):
            server.stop()
        our_cpu.close()
        peer_cpu.close()
        shutil.rmtree(folder, ignore_errors=True)
    if options.write:
        write_report(lines, options.rounds)
    print(f"{missed} goals not reached", file=sys.stderr)
    return 0


def write_report(lines: list[str], rounds: int) -> None:
    """Put the table between the two marks in docs/performance.md."""
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    text = REPORT.read_text()
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    table = "\n".join(lines)
    REPORT.write_text(
        f"{head}{BEGIN}\n\nMeasured {today}, {os.cpu_count()} cores, medians of {rounds} rounds or "
        f"more, `make bench`:\n\n{table}\n\n{END}{tail}"
    )


if __name__ == "__main__":
    sys.exit(main())
