"""The two repositories that everything is measured on, made once and kept in .cache/bench."""

from __future__ import annotations

import base64
import os
import random
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

CACHE = Path(__file__).resolve().parent.parent / ".cache" / "bench"
LARGE_COMMITS = 20_500
LARGE_BYTES = 310 * 1024 * 1024
SMALL_COMMITS = 60


def environment() -> dict[str, str]:
    """git without the configuration of the person who measures."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    clean.update(
        HOME=str(CACHE),
        GIT_CONFIG_NOSYSTEM="1",
        GIT_TERMINAL_PROMPT="0",
        GIT_AUTHOR_NAME="Bench",
        GIT_AUTHOR_EMAIL="bench@example.org",
        GIT_COMMITTER_NAME="Bench",
        GIT_COMMITTER_EMAIL="bench@example.org",
    )
    return clean


def git(*arguments: str, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(
        ["git", *arguments],
        cwd=cwd,
        env={**environment(), **(env or {})},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode != 0:
        raise RuntimeError(f"git {' '.join(arguments)}: {done.stderr}")
    return done.stdout


def large() -> Path:
    """A bare repository of more than 20 000 commits and 300 MB of packs, packed as a host would."""
    return _made("large.git", LARGE_COMMITS, LARGE_BYTES)


def small() -> Path:
    """A bare repository of a few dozen commits and some 100 kB."""
    return _made("small.git", SMALL_COMMITS, 100 * 1024)


def wide() -> Path:
    """A bare repository of 20 000 commits that change the 1 000 files of one directory."""
    return _made("wide.git", LARGE_COMMITS, 2 * 1024 * 1024, folders=1)


def files(count: int) -> Path:
    """A bare repository of so many files of some 2 KB, and as many commits."""
    return _made(f"files-{count}.git", count, count * 2048)


def _made(name: str, commits: int, size: int, folders: int = 97) -> Path:
    path = CACHE / name
    if (path / "complete").exists():
        return path
    shutil.rmtree(path, ignore_errors=True)
    CACHE.mkdir(parents=True, exist_ok=True)
    (CACHE / ".gitconfig").write_text("[safe]\n\tdirectory = *\n[gc]\n\tauto = 0\n")
    git("init", "-q", "--bare", "-b", "main", str(path))
    print(f"making {name}: {commits} commits, {size // 1024} KiB of packs", flush=True)
    importer = subprocess.Popen(
        ["git", "--git-dir", str(path), "fast-import", "--quiet"],
        stdin=subprocess.PIPE,
        env=environment(),
    )
    assert importer.stdin is not None
    for piece in _stream(commits, size, folders):
        importer.stdin.write(piece)
    importer.stdin.close()
    if importer.wait() != 0:
        raise RuntimeError("git fast-import failed")
    git("--git-dir", str(path), "repack", "-a", "-d", "-q", "--write-bitmap-index")
    git("--git-dir", str(path), "commit-graph", "write", "--reachable", "--changed-paths")
    git("--git-dir", str(path), "pack-refs", "--all")
    (path / "complete").touch()
    return path


def _stream(commits: int, size: int, folders: int) -> Iterator[bytes]:
    """A fast-import stream: each commit rewrites one of many files; contents barely compress."""
    numbers = random.Random(20261122)
    share = size // commits
    for number in range(commits):
        raw = numbers.randbytes(max(64, int(share * numbers.uniform(0.2, 1.8))))
        text = base64.encodebytes(raw) if number % 3 else raw
        folder, file = number % folders, (number * 7) % 1009
        message = f"Change {number}\n\nRewrites one file among many.\n".encode()
        when = 1_600_000_000 + number * 600
        yield b"commit refs/heads/main\n"
        yield b"committer Bench <bench@example.org> %d +0000\n" % when
        yield b"data %d\n%s" % (len(message), message)
        yield b"M 100644 inline src/d%d/f%d.txt\ndata %d\n" % (folder, file, len(text))
        yield text + b"\n"
        if number % 200 == 0:
            yield b"reset refs/tags/v%d\nfrom refs/heads/main\n\n" % number
    yield b"done\n"
