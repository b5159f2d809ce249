"""What may be seen of a daemon's process from outside, and what must be true after an attack."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import psutil

from tests.support.daemon import Daemon, wait_until
from wit.daemon import RECONCILE_SECONDS
from wit.git.maintenance import LOCK as MAINTENANCE_LOCK


class Quarry:
    """What an attack may not change: how the daemon's process looks from outside."""

    def __init__(self, daemon: Daemon) -> None:
        assert daemon.process is not None
        self.daemon = daemon
        self.process = psutil.Process(daemon.process.pid)

    def children(self) -> list[psutil.Process]:
        """git and whatever it started, zombies too: all but the keeper of sandboxes with all that
        is in them."""
        found = {child.pid: child for child in self.process.children(recursive=True)}
        for child in list(found.values()):
            with suppress(psutil.Error):
                if any(word.endswith("/local/keeper/__main__.py") for word in child.cmdline()):
                    for inside in (child, *child.children(recursive=True)):
                        found.pop(inside.pid, None)
        return list(found.values())

    def gits(self, *words: str) -> list[psutil.Process]:
        """The daemon's processes whose command line has all these words."""
        found = []
        for child in self.children():
            try:
                line = child.cmdline()
            except psutil.Error:
                continue
            if all(word in line for word in words):
                found.append(child)
        return found

    def working(self) -> list[psutil.Process]:
        """Its children but those that read objects, which wait a while for the next request."""
        waiting = {child.pid for child in self.gits("--batch-command")}
        return [child for child in self.children() if child.pid not in waiting]

    def fds(self) -> int:
        """Open descriptors, but those of SQLite's log, which each connection opens when it is used
        for the first time."""
        targets = []
        for entry in Path(f"/proc/{self.process.pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                targets.append(os.readlink(entry))
        return sum(not target.endswith("-wal") for target in targets)

    def rss(self) -> int:
        """Resident memory in bytes."""
        return int(self.process.memory_info().rss)

    def leftovers(self) -> list[Path]:
        """Quarantines, directories of pushes, and lock files other than wit's own, which stays."""
        repos = self.daemon.data_dir / "repos"
        try:
            found = [*(repos / ".wit" / "pushes").glob("*"), *repos.glob("*/*.git/**/*.lock")]
            found += repos.glob("*/*.git/objects/*tmp_objdir*")
        except FileNotFoundError as error:
            return [Path(error.filename)]  # it went while we looked: look again
        return [path for path in found if path.name != MAINTENANCE_LOCK]

    def check(self) -> None:
        """The daemon answers, and nothing is left of what was attacked."""
        assert self.daemon.process is not None
        assert self.daemon.process.poll() is None, self.daemon.log()[-4000:]
        wait_until(lambda: not self.working(), what="the end of all git processes")
        # Two pushes that were cut off side by side leave it to the next reconciliation.
        wait_until(
            lambda: not self.leftovers(),
            RECONCILE_SECONDS + 15,
            what="removal of what pushes leave behind",
        )
        wait_until(lambda: self.daemon.get("readyz")[0] == 200, what="an answer of the daemon")
