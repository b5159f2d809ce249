"""What git says about a damaged repository reaches clients without the server's paths; the log has
all of it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.attacks.test_27_damaged_repositories import (
    _cut_pack,
    _empty_objects,
    _garble_config,
    _garble_packed_refs,
    _remove_packs,
)
from tests.support.daemon import commit, git
from tests.support.quarry import Quarry
from tests.support.site import Door, Site, new_name
from wit.git.names import parse_full_name

pytestmark = pytest.mark.attack(27, 57)


def remove(site: Site, name: str) -> None:
    """As its owner does; an examination may be at work in the folder."""
    full_name = parse_full_name(name)
    site.do(lambda core: core.repos.delete(full_name))


def _rot(folder: Path) -> None:
    """Garbage where a tree or blob begins."""
    git("-C", str(folder), "repack", "-adq")
    for path in (folder / "objects" / "pack").glob("*.pack"):
        path.chmod(0o644)
        data = bytearray(path.read_bytes())
        data[len(data) // 3 : len(data) // 3 + 200] = b"\xaa" * 200
        path.write_bytes(data)


def _lose_a_tree(folder: Path) -> None:
    """One object is missing, in the middle of what a clone packs."""
    tree = git("-C", str(folder), "rev-parse", "main~1^{tree}").stdout.strip()
    (pack,) = (folder / "objects" / "pack").glob("*.pack")
    moved = folder / "moved.pack"
    pack.rename(moved)
    pack.with_suffix(".idx").unlink()
    with moved.open("rb") as packed:
        subprocess.run(["git", "-C", folder, "unpack-objects", "-q"], stdin=packed, check=True)
    moved.unlink()
    path = folder / "objects" / tree[:2] / tree[2:]
    path.chmod(0o644)
    path.write_bytes(b"x" * 100)


DAMAGE = [
    _garble_packed_refs, _remove_packs, _cut_pack, _empty_objects, _garble_config, _rot,
    _lose_a_tree,
]  # fmt: skip


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A clone of the repository, from when it was sound, with something to push."""
    work = tmp_path / "work"
    git("init", "-q", str(work))
    for number in range(8):
        (work / f"noise{number}").write_bytes(bytes(range(256)) * (number + 1) * 10)
        commit(work, f"dir{number}/file")
    return work


@pytest.mark.parametrize("version", [0, 2])
@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
def test_no_path_of_the_server(
    site: Site, damage: Callable[[Path], None], version: int, work: Path, tmp_path: Path
) -> None:
    name = new_name()
    full_name = parse_full_name(name)
    site.do(lambda core: core.repos.import_(full_name, str(work), private=True, allow_local=True))
    damage(site.disk(name))
    commit(work, "more")
    said = []
    for kind in ("http", "ssh"):
        door = Door(site, kind, version, site.alice)
        url = door.url(name)
        for number, arguments in enumerate(
            [
                ("clone", "--progress", url, str(tmp_path / f"{kind}-clone")),
                ("clone", "--depth=2", url, str(tmp_path / f"{kind}-shallow")),
                ("-C", str(work), "fetch", "--refetch", url, "main"),
                ("-C", str(work), "push", url, f"HEAD:refs/heads/new-{kind}-{version}"),
                ("ls-remote", url),
            ]
        ):
            done = door.git(*arguments, check=False)
            said.append((kind, number, done.stdout + done.stderr))
    hidden = str(site.daemon.data_dir.resolve())
    for kind, number, text in said:
        assert hidden not in text, (kind, number)
        assert str(site.daemon.data_dir) not in text, (kind, number)
    Quarry(site.daemon).check()
    remove(site, name)


def test_git_is_quoted_and_the_log_has_the_paths(site: Site, work: Path, tmp_path: Path) -> None:
    """The client learns what is broken, the administrator where it lies."""
    name = new_name()
    full_name = parse_full_name(name)
    site.do(lambda core: core.repos.import_(full_name, str(work), private=True, allow_local=True))
    _cut_pack(site.disk(name))
    commit(work, "more")
    for kind in ("http", "ssh"):
        door = Door(site, kind, 2, site.alice)
        done = door.git("-C", str(work), "push", door.url(name), "HEAD:refs/heads/x", check=False)
        assert done.returncode != 0
        assert re.search(rf"packfile +{name}\.git/objects/pack/\S+ does not match", done.stderr)
    assert f"packfile {site.disk(name)}/objects/pack/" in site.daemon.log()
    remove(site, name)


def test_an_error_in_the_middle_of_a_clone_is_read(site: Site, work: Path, tmp_path: Path) -> None:
    """Whatever was sent already, git shows a sentence and no protocol error."""
    name = new_name()
    full_name = parse_full_name(name)
    site.do(lambda core: core.repos.import_(full_name, str(work), private=True, allow_local=True))
    _lose_a_tree(site.disk(name))
    for kind in ("http", "ssh"):
        door = Door(site, kind, 2, site.alice)
        done = door.git("clone", door.url(name), str(tmp_path / kind), check=False)
        assert done.returncode != 0
        assert "bad band" not in done.stderr
        assert "corrupt" in done.stderr, done.stderr
    remove(site, name)
