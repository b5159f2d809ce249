"""Run the table: ``python -m bench [--only WORD] [--rounds N] [--write]``.

``--only`` takes a part of a line's name, ``--write`` puts the table into docs/performance.md.
"""

from __future__ import annotations

import argparse
import datetime
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench import fixtures, measure
from bench.api import api
from bench.changes import memory, push_large, small_work, start_up
from bench.clones import clone_http_cached, clone_http_first, clone_ssh, eight_clones, polls
from bench.measure import Result
from bench.peers import HttpBackend, OpenSsh
from bench.side_by_side import Bench
from bench.terminals import terminals
from bench.wit_daemon import Wit

REPORT = Path(__file__).resolve().parent.parent / "docs" / "performance.md"
BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"

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
    ("api", api),
    ("terminals", terminals),
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
