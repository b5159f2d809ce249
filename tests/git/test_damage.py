"""What looks like damage, and what an examination of real repositories finds."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.attacks.test_27_damaged_repositories import DAMAGE, _remove_all, _remove_packs
from tests.git.fetching import git, make_repository
from wit.errors import NotFound, Unavailable
from wit.git import damage
from wit.git.command import Git
from wit.git.damage import examine, sign, verdict
from wit.git.maintenance import MARK, exclusively
from wit.git.repository import BareRepository, open_bare
from wit.runtime import Runtime


@pytest.fixture(scope="module")
def original(tmp_path_factory: Any) -> Path:
    return make_repository(tmp_path_factory.mktemp("repos") / "a.git")


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    git("clone", "-q", "--mirror", "--no-hardlinks", f"file://{original}", tmp_path / "b.git")
    return tmp_path / "b.git"


@pytest.fixture
def look(run: Any, runtime: Runtime) -> Callable[[Path], str | None]:
    def look(folder: Path) -> str | None:
        found: str | None = run(examine(Git.find(), runtime, BareRepository("id", str(folder))))
        return found

    return look


@pytest.mark.parametrize(
    "damage", [d for d in DAMAGE if d is not _remove_all], ids=lambda damage: damage.__name__
)
def test_damage_is_found(folder: Path, look: Any, damage: Callable[[Path], None]) -> None:
    unpack(folder)
    assert look(folder) is None
    damage(folder)
    assert look(folder)


def unpack(folder: Path) -> None:
    """All objects loose."""
    (pack,) = (folder / "objects" / "pack").glob("*.pack")
    moved = folder / "moved.pack"
    pack.rename(moved)
    pack.with_suffix(".idx").unlink()
    assert os.system(f"git -C {folder} unpack-objects -q < {moved}") == 0
    moved.unlink()


def test_a_rotten_byte_in_a_pack_is_found(folder: Path, look: Any) -> None:
    """What the refs lead to is all there; only reading it shows what it is."""
    (pack,) = (folder / "objects" / "pack").glob("*.pack")
    pack.chmod(0o644)
    with pack.open("r+b") as file:
        file.seek(pack.stat().st_size // 2)
        file.write(b"rotten")
    found = look(folder)
    assert found is not None and "checksum mismatch" in found


def test_a_missing_object_deep_down_is_found(folder: Path, look: Any) -> None:
    blob = git("rev-parse", "HEAD:dir/file0", cwd=folder)
    unpack(folder)
    assert look(folder) is None
    (folder / "objects" / blob[:2] / blob[2:]).unlink()
    assert blob in (look(folder) or "")


def _empty(folder: Path) -> None:
    for ref in git("for-each-ref", "--format=%(refname)", cwd=folder).splitlines():
        git("update-ref", "-d", ref, cwd=folder)


def _unborn_head(folder: Path) -> None:
    git("symbolic-ref", "HEAD", "refs/heads/none", cwd=folder)


def _detached_head(folder: Path) -> None:
    git("update-ref", "--no-deref", "HEAD", "refs/heads/side", cwd=folder)


def _stray_reflog(folder: Path) -> None:
    log = folder / "logs" / "refs" / "heads" / "main"
    log.parent.mkdir(parents=True)
    log.write_text(f"{'1' * 40} {'2' * 40} A <a@example.org> 1700000000 +0000\tpush\n")


def _bad_graph(folder: Path) -> None:
    """It can be made anew."""
    git("commit-graph", "write", "--reachable", cwd=folder)
    graph = folder / "objects" / "info" / "commit-graph"
    graph.chmod(0o644)
    data = bytearray(graph.read_bytes())
    data[-40] ^= 0xFF
    graph.write_bytes(data)


def _bad_midx(folder: Path) -> None:
    git("multi-pack-index", "write", cwd=folder)
    midx = folder / "objects" / "pack" / "multi-pack-index"
    midx.chmod(0o644)
    data = bytearray(midx.read_bytes())
    data[-5] ^= 0xFF
    midx.write_bytes(data)


def _leftovers(folder: Path) -> None:
    (folder / "objects" / "tmp_objdir-incoming-abc").mkdir()
    (folder / "objects" / "pack" / "tmp_pack_abc").write_bytes(b"PACK")
    (folder / "refs" / "heads" / "main.lock").write_bytes(b"")


def _old_history(folder: Path) -> None:
    """A commit as some old tools made it: no space before the date, a time zone that is none."""
    tree = git("rev-parse", "HEAD^{tree}", cwd=folder)
    text = f"tree {tree}\nauthor A <a@e>1 +0000\ncommitter A <a@e> 1 +051800\n\nold\n"
    file = folder.parent / "commit"
    file.write_text(text)
    oid = git("hash-object", "-t", "commit", "-w", "--literally", file, cwd=folder)
    git("update-ref", "refs/heads/old", oid, cwd=folder)


@pytest.mark.parametrize(
    "odd",
    [
        _empty, _unborn_head, _detached_head, _stray_reflog, _bad_graph, _bad_midx, _leftovers,
        _old_history,
    ],
    ids=lambda odd: odd.__name__,
)  # fmt: skip
def test_what_is_odd_is_not_damaged(folder: Path, look: Any, odd: Callable[[Path], None]) -> None:
    odd(folder)
    assert look(folder) is None


def test_there_is_no_telling(folder: Path, look: Any) -> None:
    """When the folder (a disk, perhaps) is not there, and while packs are replaced."""
    with exclusively(open_bare("id", str(folder))) as held:
        assert held and look(folder) is None
        _remove_packs(folder)
        with pytest.raises(Unavailable, match="housekeeping"):
            look(folder)
    assert look(folder)
    _remove_all(folder)
    with pytest.raises(NotFound, match="not there"):
        look(folder)


@pytest.mark.parametrize(
    ("code", "output"),
    [
        (-9, ""),
        (-15, "error: refs/heads/main: invalid sha1 pointer 1"),
        (128, "fatal: Out of memory, malloc failed (tried to allocate 9 bytes)"),
        (128, "error: unable to open x: Too many open files\nfatal: packed object x is corrupt"),
        (2, "error: could not read x: Input/output error\nmissing blob 1234"),
        (128, "fatal: mmap failed: Cannot allocate memory"),
        (128, "fatal: something new"),
        (255, "missing blob 1234"),
        (127, ""),
    ],
)
def test_an_end_that_says_nothing(code: int, output: str) -> None:
    with pytest.raises(Unavailable):
        verdict(code, output)


@pytest.mark.parametrize(
    ("code", "output", "found"),
    [
        (0, "notice: HEAD points to an unborn branch (main)", None),
        (1, "error in commit 12: missingSpaceBeforeDate: invalid author/committer line", None),
        (1, "error: 12: object corrupt or missing", "error: 12: object corrupt or missing"),
        (2, "missing blob 1234\n", "missing blob 1234"),
        (4, "something", "git fsck ended with status 4"),
        (128, "fatal: unexpected line in packed-refs", "fatal: unexpected line in packed-refs"),
    ],
)  # fmt: skip
def test_verdicts(code: int, output: str, found: str | None) -> None:
    assert verdict(code, output) == found


@pytest.mark.parametrize(
    "said",
    [
        "fatal: loose object 12 (stored in /r/objects/1/2) is corrupt",
        "error: object file ./objects/1/2 is empty",
        "fatal: git upload-pack: aborting due to possible repository corruption on the remote side",
        "fatal: git upload-pack: not our ref 12",
        "fatal: unexpected line in ./packed-refs: x",
        "error: packfile ./objects/pack/pack-1.pack does not match index",
        "fatal: bad config line 1 in file ./config",
        "fatal: unable to read tree 12",
        "remote: fatal: bad object 12",
        "error: cannot unpack 12 from x.pack at offset 7",
        "fatal: '/r' does not appear to be a git repository",
        "fatal: failed to read object 12: Success",
    ],
)
def test_what_sounds_like_damage(said: str) -> None:
    assert sign(f"hint: nothing\n{said}\nmore\n") == said


@pytest.mark.parametrize(
    "said",
    [
        "",
        "Enumerating objects: 100, done.\nTotal 100 (delta 0), reused 0 (delta 0)",
        "fatal: the remote end hung up unexpectedly",
        "fatal: protocol error: bad line length character: xxxx",
        "error: cannot lock ref 'refs/heads/main': is at 1 but expected 2",
        "fatal: Out of memory, malloc failed",
        "fatal: unable to create thread: Resource temporarily unavailable",
        "fatal: pack exceeds maximum allowed size",
        "fatal: early EOF",
    ],
)
def test_what_does_not(said: str) -> None:
    assert sign(said) is None


def test_packs_replaced_meanwhile_are_no_finding(
    folder: Path, look: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A repack began and ended while the examination read packs that are gone now."""

    async def fsck(*words: Any) -> str:
        (folder / MARK).write_text("0\n")
        return "error: packfile x cannot be accessed"

    monkeypatch.setattr(damage, "_fsck", fsck)
    with pytest.raises(Unavailable, match="housekeeping"):
        look(folder)
