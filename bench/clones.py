"""The lines about clones and polls."""

from __future__ import annotations

import statistics

import attrs

from bench import clients, measure
from bench.floor import Recording
from bench.measure import MIB, Result, compare
from bench.side_by_side import Bench


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
    return [*results, *git_over_http(b)]


def git_over_http(b: Bench) -> list[Result]:
    """What is left of the small clone when the server takes no time: no goal, a floor."""
    recording = Recording(b.wit.url("small"))
    try:
        b.clone(recording.url)
        floor, file = measure.alternate(
            b.rounds * 3,
            lambda: b.clone(recording.url),
            lambda: b.clone(f"file://{b.small}"),
        )
        wit, backend = measure.alternate(
            b.rounds * 3,
            lambda: b.clone(b.wit.url("small")),
            lambda: b.clone(b.http.url("small.git")),
        )
    finally:
        recording.close()
    return [
        floor_of(
            "the same, from a server that takes no time (small)", "git clone file://", floor, file
        ),
        floor_of("the same, pack cached (small)", "http-backend behind nginx", wit, backend),
    ]


def floor_of(work: str, against: str, mine: float, theirs: float) -> Result:
    """A line that is there to be compared with others: without a goal."""
    return attrs.evolve(compare(work, against, mine, theirs, at_most=float("inf")), goal="–")


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
