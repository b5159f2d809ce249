"""Run the table: ``python -m bench [--only WORD] [--rounds N] [--write]``.

``--only`` takes a part of a line's name, ``--write`` puts the table into docs/performance.md.
"""

from __future__ import annotations

import argparse
import datetime
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path

from bench import fixtures, measure
from bench.api import api
from bench.changes import memory, push_large, small_work, start_up
from bench.clones import clone_http_cached, clone_http_first, clone_ssh, eight_clones, polls
from bench.measure import Result
from bench.packages import packages
from bench.peers import HttpBackend, OpenSsh
from bench.sandboxes import sandboxes
from bench.side_by_side import Bench
from bench.terminals import terminals
from bench.wit_daemon import Wit

REPORT = Path(__file__).resolve().parent.parent / "docs" / "performance.md"
BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"

LINES: list[tuple[str, Callable[[Bench], Iterable[Result]]]] = [
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
    ("sandboxes", sandboxes),
    ("terminals", terminals),
    ("packages", packages),
]


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--only", action="append", choices=[name for name, _ in LINES])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    os.environ.pop("GIT_DIR", None)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that everything is cleaned up
    lines = [measure.HEADER]
    print(measure.HEADER, flush=True)
    missed = 0
    with ExitStack() as stack:
        bench = set_up(options.rounds, stack)
        for name, line in LINES:
            if options.only and name not in options.only:
                continue
            for result in line(bench):
                missed += not result.met
                lines.append(result.row())
                print(result.row(), flush=True)
    if options.write:
        write_report(lines, options.rounds)
    print(f"{missed} goals not reached", file=sys.stderr)
    return 0


def set_up(rounds: int, stack: ExitStack) -> Bench:
    """The servers, which ``stack`` stops, in a folder that it removes."""
    fixtures.CACHE.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=fixtures.CACHE.parent))
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    large, small = fixtures.large(), fixtures.small()
    peer_repositories = folder / "peer"
    for name, source in (("large", large), ("small", small)):
        target = peer_repositories / f"{name}.git"
        shutil.copytree(source, target, copy_function=os.link)
        shutil.copy(source / "config", target / "new-config")
        (target / "new-config").replace(target / "config")
    our_cpu, peer_cpu = measure.CpuAccount("wit"), measure.CpuAccount("peer")
    stack.callback(our_cpu.close)
    stack.callback(peer_cpu.close)
    wit = Wit(folder / "wit", {"large": large, "small": small})
    stack.callback(wit.stop)
    http = HttpBackend(folder / "nginx", peer_repositories)
    stack.callback(http.stop)
    ssh = OpenSsh(folder / "sshd", peer_repositories)
    stack.callback(ssh.stop)
    peer_cpu.add(http.pids)
    return Bench(folder, rounds, large, small, wit, http, ssh, our_cpu, peer_cpu)


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
