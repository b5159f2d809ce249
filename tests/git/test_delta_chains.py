"""How deep chains of deltas are, against packs of git's and packs of nobody's."""

from __future__ import annotations

import os
import subprocess
from array import array
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.support.chains import chain_of_deltas
from tests.support.wire import BLOB, OFS_DELTA, REF_DELTA, entry, oid, pack
from wit.errors import Unavailable
from wit.git.delta_chains import has_deep_chain
from wit.git.programs.delta_depth import _NO_BASE, deepest, depth_of, in_order
from wit.runtime import Runtime

Deep = Callable[..., bool]


def index(folder: Path, packed: bytes, *options: str) -> str:
    """Have git index a pack in ``folder``, the objects of a repository; the index's path."""
    (folder / "pack").mkdir(parents=True, exist_ok=True)
    path = folder / "pack" / "pack-made.pack"
    path.write_bytes(packed)
    subprocess.run(["git", "index-pack", *options, str(path)], check=True, capture_output=True)
    return str(path.with_suffix(".idx"))


@pytest.fixture
def deep(run: Any, runtime: Runtime, tmp_path: Path) -> Deep:
    def deep(limit: int, object_format: str = "sha1", folder: Path = tmp_path) -> bool:
        return bool(run(has_deep_chain(runtime, str(folder), object_format, limit)))

    return deep


@pytest.mark.parametrize("kind", [OFS_DELTA, REF_DELTA], ids=["offset", "reference"])
@pytest.mark.parametrize("options", [(), ("--index-version=2,0x40",)], ids=["small", "large"])
def test_a_chain_of_known_depth(
    tmp_path: Path, deep: Deep, kind: int, options: tuple[str, ...]
) -> None:
    """With offsets of 31 and of 63 bits in the index."""
    path = index(tmp_path, chain_of_deltas(300, kind).pack, *options)
    assert depth_of(path, 20, 1000) == 300
    assert depth_of(path, 20, 300) == 300
    assert depth_of(path, 20, 299) == 300
    assert depth_of(path, 20, 10) == 11, "no further than needed"
    assert not deep(300)
    assert deep(299)
    assert not deep(303), "a pack that has not more objects is not looked at"


@pytest.mark.parametrize("object_format", ["sha1", "sha256"])
@pytest.mark.parametrize("ofs_delta", ["true", "false"])
def test_it_says_what_git_says(
    tmp_path: Path, deep: Deep, object_format: str, ofs_delta: str
) -> None:
    repo = tmp_path / "r.git"
    words = ["git", "init", "-q", "--bare", f"--object-format={object_format}", str(repo)]
    subprocess.run(words, check=True)
    stream = bytearray()
    for version in range(400):
        content = b"".join(b"line %d\n" % line for line in range(40)) + b"%d\n" % version
        stream += b"commit refs/heads/main\ncommitter T <t@example.org> %d +0000\n" % version
        stream += b"data 1\nx\nM 644 inline file\ndata %d\n%b\n" % (len(content), content)
    git = ["git", "-C", str(repo), "-c", f"repack.useDeltaBaseOffset={ofs_delta}"]
    subprocess.run([*git, "fast-import", "--quiet"], input=stream, check=True)
    subprocess.run([*git, "repack", "-adfq", "--depth=70", "--window=3"], check=True)
    (path,) = (repo / "objects" / "pack").glob("*.idx")
    done = subprocess.run([*git, "verify-pack", "-s", str(path)], capture_output=True, check=True)
    chains = [line for line in done.stdout.decode().splitlines() if line.startswith("chain")]
    said = int(chains[-1].split()[3].rstrip(":"))
    assert said > 10
    assert depth_of(str(path), 32 if object_format == "sha256" else 20, 4095) == said
    assert deep(said - 1, object_format, repo / "objects")
    assert not deep(said, object_format, repo / "objects")


def test_a_base_that_comes_later(tmp_path: Path) -> None:
    """REF_DELTA need not point back."""
    contents = [b"%08d" % number for number in range(6)]
    entries = [
        entry(REF_DELTA, b"\x08\x08\x08" + content, prefix=bytes.fromhex(oid(BLOB, base)))
        for base, content in pairwise(contents)
    ]
    path = index(tmp_path, pack([*reversed(entries), entry(BLOB, contents[0])]))
    assert depth_of(path, 20, 100) == 5


def test_chains_that_never_end() -> None:
    """git makes no index of such packs; whoever did must not have us walk for ever."""
    assert deepest([1, 2, 0], 4095) == 4096
    assert deepest([0], 10) == 11
    assert deepest([_NO_BASE, 0, 1, 1, 3], 10) == 3
    assert deepest([], 10) == 0


def test_sorting_in_parts() -> None:
    offsets = [int.from_bytes(os.urandom(5), "big") for _ in range(3000)]
    assert list(in_order(array("Q", offsets))) == sorted(offsets)
    assert list(in_order(array("I"))) == []


@pytest.mark.parametrize("part", ["pack", "idx"])
def test_what_cannot_be_read_is_not_let_through(tmp_path: Path, deep: Deep, part: str) -> None:
    path = Path(index(tmp_path, chain_of_deltas(50).pack)).with_suffix(f".{part}")
    path.chmod(0o644)
    with path.open("r+b") as file:
        if part == "pack":
            file.truncate(100)
        else:
            file.write(b"\0\0\0\0")  # not version 2
    with pytest.raises(Unavailable, match="try again"):
        deep(10)


def test_without_packs(tmp_path: Path, deep: Deep) -> None:
    assert not deep(10)
    (tmp_path / "pack").mkdir()
    assert not deep(10)
