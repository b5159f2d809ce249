"""A repository that is broken on disk harms no other, and says so itself."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.daemon import git
from tests.support.site import Door, Site, new_name
from tests.support.wire import (
    ZERO,
    commands,
    fetch_v2,
    history,
    ls_refs,
    post,
    push_history,
    read_report,
)
from wit.git.names import parse_full_name

pytestmark = pytest.mark.attack(27)


def _garble_packed_refs(folder: Path) -> None:
    git("-C", str(folder), "pack-refs", "--all", "--prune")
    (folder / "packed-refs").write_bytes(b"# pack-refs with: peeled\n\xff\xfe not a ref at all\n")


def _cut_packed_refs(folder: Path) -> None:
    git("-C", str(folder), "pack-refs", "--all", "--prune")
    data = (folder / "packed-refs").read_bytes()
    (folder / "packed-refs").write_bytes(data[:-20])


def _remove_packs(folder: Path) -> None:
    git("-C", str(folder), "repack", "-adq")
    for path in (folder / "objects" / "pack").iterdir():
        path.unlink()


def _cut_pack(folder: Path) -> None:
    git("-C", str(folder), "repack", "-adq")
    for path in (folder / "objects" / "pack").glob("*.pack"):
        path.chmod(0o644)
        path.write_bytes(path.read_bytes()[:40])


def _empty_objects(folder: Path) -> None:
    git("-C", str(folder), "unpack-objects", check=False)
    for path in (folder / "objects").glob("??/*"):
        path.chmod(0o644)
        path.write_bytes(b"")


def _remove_head(folder: Path) -> None:
    (folder / "HEAD").unlink()


def _garble_config(folder: Path) -> None:
    (folder / "config").write_text("[core\nbroken")


def _loose_ref_garbage(folder: Path) -> None:
    (folder / "refs" / "heads" / "main").write_text("no id\n")


def _loop(folder: Path) -> None:
    (folder / "refs" / "heads" / "main").write_text("ref: refs/heads/main\n")


def _remove_all(folder: Path) -> None:
    shutil.rmtree(folder)


DAMAGE: list[Callable[[Path], None]] = [
    _garble_packed_refs, _cut_packed_refs, _remove_packs, _cut_pack, _empty_objects, _remove_head,
    _garble_config, _loose_ref_garbage, _loop, _remove_all,
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
def test_the_others_are_unaffected(site: Site, damage: Callable[[Path], None]) -> None:
    broken, sound = new_name(), new_name()
    made = push_history(site.daemon, site.alice, broken)
    push_history(site.daemon, site.alice, sound)
    damage(site.disk(broken))

    other = history(b"other\n", made.commit)
    attempts = [
        (2, "git-upload-pack", ls_refs("peel", "symrefs")),
        (2, "git-upload-pack", fetch_v2([made.commit])),
        (0, "git-receive-pack", commands([(ZERO, other.commit, "refs/heads/new")]) + other.pack),
    ]
    for version, service, body in attempts:
        answer = post(site.daemon, site.alice, broken, service, body, version=version)
        assert answer.status in (200, 503) or "damaged" in answer.text, answer
        assert "internal error" not in answer.text, answer
        assert "Traceback" not in answer.text
        assert str(site.daemon.data_dir) not in answer.text, answer
        if service == "git-receive-pack" and answer.status == 200:
            report = read_report(answer.body)
            assert report.refs or report.messages, answer
    for kind in ("http", "ssh"):
        door = Door(site, kind, 2, site.alice)
        assert door.git("ls-remote", door.url(broken), check=False).returncode in (0, 128)
        assert made.commit in door.git("ls-remote", door.url(sound)).stdout
    more = history(b"more\n")
    body = commands([(ZERO, more.commit, "refs/heads/more")]) + more.pack
    answer = post(site.daemon, site.alice, sound, "git-receive-pack", body, version=0)
    assert read_report(answer.body).refs == {"refs/heads/more": "ok"}
    if site.disk(broken).exists():
        shutil.rmtree(site.disk(broken))


def test_a_missing_pack_never_makes_a_complete_looking_clone(site: Site, tmp_path: Path) -> None:
    name = new_name()
    push_history(site.daemon, site.alice, name)
    _remove_packs(site.disk(name))
    for kind in ("http", "ssh"):
        door = Door(site, kind, 2, site.alice)
        done = door.git("clone", "-q", door.url(name), str(tmp_path / kind), check=False)
        assert done.returncode != 0


def test_a_repository_marked_read_only_takes_no_push(site: Site) -> None:
    """What an operator (or a later check) writes into ``read_only_reason`` is told and holds."""
    name = new_name()
    made = push_history(site.daemon, site.alice, name)
    full_name = parse_full_name(name)

    async def work(core):  # type: ignore[no-untyped-def]
        repo = await core.repos.get(full_name)
        await core.repos.set_read_only(repo["id"], "its packs are damaged")

    site.do(work)
    other = history(b"other\n")
    body = commands([(ZERO, other.commit, "refs/heads/new")]) + other.pack
    answer = post(site.daemon, site.alice, name, "git-receive-pack", body, version=0)
    assert answer.status == 403 and "its packs are damaged" in answer.text
    assert made.commit in git("ls-remote", site.daemon.url(name, "alice", site.alice.token)).stdout
