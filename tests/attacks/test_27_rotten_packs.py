"""A bit that flips in a pack is noticed by itself, though git's server side does not look at it."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemon import git, wait_until
from tests.support.site import Site, new_name
from tests.support.wire import push_history
from wit.core import Core
from wit.git.names import parse_full_name
from wit.git.scrub import MARK
from wit.repositories.scrubbing import DAY, KEY, KIND

pytestmark = pytest.mark.attack(27)


def packed(site: Site) -> tuple[str, Path]:
    """A repository whose only pack is due, and the pack."""
    name = new_name()
    push_history(site.daemon, site.alice, name, os.urandom(50_000))
    git("-C", str(site.disk(name)), "repack", "-adq")
    (pack,) = (site.disk(name) / "objects" / "pack").glob("*.pack")
    (site.disk(name) / MARK).write_text(f"{pack.name} {time.time() - 100 * DAY:.0f}\n")
    return name, pack


def flip(pack: Path, at: int) -> None:
    status = pack.stat()
    pack.chmod(0o644)
    data = bytearray(pack.read_bytes())
    data[at] ^= 1
    pack.write_bytes(data)
    os.utime(pack, ns=(status.st_atime_ns, status.st_mtime_ns))


def reason(site: Site, name: str) -> str:
    full_name = parse_full_name(name)
    row = site.do(lambda core: core.repos.get(full_name))
    return row["read_only_reason"] or ""


def scrub(site: Site) -> None:
    """What the daemon does every hour, and its end."""

    async def queue(core: Core) -> str:
        return await core.jobs.enqueue(KIND, {}, key=KEY)

    async def running(core: Core) -> list[Any]:
        jobs = await core.jobs.list("queued") + await core.jobs.list("running")
        return [job for job in jobs if job["kind"] == KIND]

    site.do(queue)
    wait_until(lambda: not site.do(running), 40, "the end of the scrubbing")


def verified(site: Site, name: str, pack: Path) -> bool:
    known = dict(line.split() for line in (site.disk(name) / MARK).read_text().splitlines())
    return time.time() - float(known[pack.name]) < DAY


@pytest.mark.parametrize("suffix", [".pack", ".idx"])
def test_the_daemon_finds_it_and_marks_it(each_site: Site, suffix: str) -> None:
    site = each_site
    rotten, pack = packed(site)
    sound, other = packed(site)

    def counted() -> tuple[float, ...]:
        metric = site.daemon.metric
        return (
            metric("wit_packs_verified_total", outcome="sound"),
            metric("wit_packs_verified_total", outcome="damaged"),
            metric("wit_repositories_damaged_total"),
        )

    before = counted()
    flip(pack.with_suffix(suffix), -200)
    scrub(site)
    found = wait_until(lambda: reason(site, rotten), 30, "the mark")
    assert found.startswith("damaged: ")
    assert str(site.daemon.data_dir) not in found
    wait_until(lambda: counted() == tuple(count + 1 for count in before), what="the counters")
    assert reason(site, sound) == ""
    assert verified(site, sound, other)
    assert not verified(site, rotten, pack)
    events = [event for event in site.daemon.events(rotten) if event["type"] == "repo.damaged"]
    assert [event["payload"]["reason"] for event in events] == [found]
    assert f"{rotten}: it takes no pushes: {found}" in site.daemon.wit("doctor", check=False).stdout
    full_name = parse_full_name(rotten)
    site.do(lambda core: core.repos.delete(full_name))


def test_an_administrator_verifies_at_once(site: Site) -> None:
    rotten, pack = packed(site)
    sound, other = packed(site)
    done = site.daemon.wit("repo", "verify", sound)
    assert f"verifying {sound}" in done.stderr and "all packs are sound" in done.stderr
    assert verified(site, sound, other)

    told = site.daemon.wit("doctor", check=False).stdout
    assert f"{rotten}: 1 of its packs were not verified in 60 days" in told
    assert f"{sound}: " not in told
    flip(pack, 30_000)
    done = site.daemon.wit("repo", "verify", rotten, check=False)
    assert done.returncode == 1
    assert f"{pack.name}: pack checksum mismatch" in done.stderr
    assert f"{rotten} takes no pushes: damaged: " in done.stderr
    assert reason(site, rotten).startswith("damaged: ")
    assert site.daemon.wit("repo", "verify", rotten, check=False).returncode == 1
    full_name = parse_full_name(rotten)
    site.do(lambda core: core.repos.delete(full_name))
