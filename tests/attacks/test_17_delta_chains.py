"""Deltas upon deltas upon deltas: a chain that git would not write is refused before a ref moves."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.chains import chain_of_deltas
from tests.support.daemon import git
from tests.support.quarry import Quarry
from tests.support.site import Site, refs
from tests.support.wire import (
    OFS_DELTA,
    REF_DELTA,
    ZERO,
    Report,
    commands,
    push,
    push_history,
    read_report,
    ssh,
)

pytestmark = pytest.mark.attack(17)

MIB = 1024 * 1024
REF = "refs/heads/deep"


def push_over(door: str, site: Site, name: str, commit: str, packed: bytes) -> Report:
    updates = [(ZERO, commit, REF)]
    if door == "http":
        return push(site.daemon, site.alice, name, updates, packed)
    client = ssh(site.daemon, site.alice, f"git-receive-pack '{name}'")
    answer, complaint = client.communicate(commands(updates) + packed, timeout=120)
    assert client.returncode == 0, complaint
    _, _, report = answer.partition(b"0000")  # what is before it is the advertisement
    return read_report(report)


def packs(site: Site, name: str) -> set[Path]:
    return set((site.disk(name) / "objects" / "pack").glob("*"))


@pytest.mark.parametrize(
    ("depth", "kind", "door"),
    [
        (100_000, OFS_DELTA, "http"),
        (100_000, REF_DELTA, "ssh"),
        (20_000, OFS_DELTA, "ssh"),
        (20_000, REF_DELTA, "http"),
        (4096, OFS_DELTA, "http"),
    ],
)
def test_a_long_chain_is_refused(
    site: Site, new_name: str, depth: int, kind: int, door: str
) -> None:
    made = push_history(site.daemon, site.alice, new_name)
    quarry = Quarry(site.daemon)
    memory, before = quarry.rss(), packs(site, new_name)
    chain = chain_of_deltas(depth, kind)
    report = push_over(door, site, new_name, chain.commit, chain.pack)
    assert report.refs == {REF: "pre-receive hook declined"}
    assert "the pack has a chain of more than 4095 deltas" in report.messages
    quarry.check()
    assert refs(site.disk(new_name)) == {"refs/heads/main": made.commit}
    assert packs(site, new_name) == before
    assert quarry.rss() - memory < 16 * MIB


@pytest.mark.parametrize("kind", [OFS_DELTA, REF_DELTA], ids=["offset", "reference"])
def test_the_longest_chain_that_git_writes_is_taken(site: Site, new_name: str, kind: int) -> None:
    push_history(site.daemon, site.alice, new_name)
    chain = chain_of_deltas(4095, kind)
    report = push_over("http", site, new_name, chain.commit, chain.pack)
    assert report.refs == {REF: "ok"}, report


def test_what_git_itself_packs_is_taken(site: Site, new_name: str, tmp_path: Path) -> None:
    """git repack --depth=4095 of a file with 4300 versions."""
    push_history(site.daemon, site.alice, new_name)
    source = tmp_path / "source.git"
    git("init", "-q", "--bare", str(source))
    stream = bytearray()
    for version in range(4300):
        lines = b"".join(b"a line, number %d\n" % line for line in range(20)) + b"%d\n" % version
        stream += b"commit refs/heads/main\ncommitter T <t@example.org> %d +0000\n" % version
        stream += b"data 1\nx\nM 644 inline file\ndata %d\n%b\n" % (len(lines), lines)
    subprocess.run(["git", "-C", str(source), "fast-import", "--quiet"], input=stream, check=True)
    git("-C", str(source), "repack", "-adfq", "--depth=4095", "--window=3")
    (packed,) = (source / "objects" / "pack").glob("*.pack")
    listed = git("-C", str(source), "verify-pack", "-s", str(packed)).stdout
    deepest = max(
        int(line.split()[3].rstrip(":")) for line in listed.splitlines() if "chain" in line
    )
    assert 100 < deepest <= 4095, listed[-200:]
    head = refs(source)["refs/heads/main"]
    report = push_over("http", site, new_name, head, packed.read_bytes())
    assert report.refs == {REF: "ok"}, report


def test_a_small_push_leaves_no_chain_at_all(site: Site, new_name: str) -> None:
    """Below receive.unpackLimit every object becomes a loose one, which has no base."""
    push_history(site.daemon, site.alice, new_name)
    before = packs(site, new_name)
    chain = chain_of_deltas(6)
    report = push_over("ssh", site, new_name, chain.commit, chain.pack)
    assert report.refs == {REF: "ok"}, report
    assert packs(site, new_name) == before
    found = git("-C", str(site.disk(new_name)), "cat-file", "--batch-check=%(deltabase)",
                "--batch-all-objects").stdout  # fmt: skip
    assert set(found.split()) == {ZERO}
