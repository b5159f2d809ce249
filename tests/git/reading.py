"""What reads repositories, put together for tests, and repositories to read, made by git itself."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from wit.config import Git as GitConfig
from wit.git.command import Git
from wit.git.diff_text import Diffs
from wit.git.governor import Governor
from wit.git.history import History
from wit.git.last_commits import LastCommitFinder
from wit.git.object_reader import ObjectReader
from wit.git.reachability import Reachability
from wit.git.refs import RefReader
from wit.git.repository import BareRepository
from wit.git.revisions import Revisions
from wit.git.trees import Trees
from wit.metrics import Metrics
from wit.runtime import Runtime

HIDDEN = ("refs/wit", "refs/merge-queue")


@attrs.frozen
class Parts:
    governor: Governor
    reader: ObjectReader
    revisions: Revisions
    trees: Trees
    history: History
    diffs: Diffs
    last_commits: LastCommitFinder
    suspicions: list[tuple[str, str]]


@contextmanager
def parts(runtime: Runtime, run: Any) -> Iterator[Parts]:
    """Closed in the end; then no slot of the governor's may be held."""
    program = Git.find()
    governor = Governor(GitConfig(), runtime, Metrics())
    suspicions: list[tuple[str, str]] = []

    def suspect(key: str, why: str) -> None:
        suspicions.append((key, why))

    made = Parts(
        governor=governor,
        reader=ObjectReader(program, runtime, governor, suspect),
        revisions=Revisions(RefReader(runtime, HIDDEN), Reachability(program, runtime, governor)),
        trees=Trees(program, runtime, governor),
        history=History(program, runtime, governor),
        diffs=Diffs(program, runtime, governor),
        last_commits=LastCommitFinder(program, runtime, governor),
        suspicions=suspicions,
    )
    yield made
    run(made.reader.close())
    assert governor.running == 0


def git(path: Path | str, *words: str, stdin: bytes | str = b"") -> str:
    """Run the real git in the repository at ``path``; its output."""
    data = stdin.encode() if isinstance(stdin, str) else stdin
    done = subprocess.run(
        ["git", "-C", str(path), *words], input=data, check=True, capture_output=True
    )
    return done.stdout.decode("utf-8", "surrogateescape").strip()


def imported(path: Path, stream: str | bytes, object_format: str = "sha1") -> BareRepository:
    """A bare repository made of a stream for ``git fast-import``; HEAD is main."""
    subprocess.run(
        ["git", "init", "-q", "--bare", "-b", "main", f"--object-format={object_format}", path],
        check=True,
    )
    data = stream.encode("utf-8", "surrogateescape") if isinstance(stream, str) else stream
    git(path, "fast-import", "--quiet", "--force", stdin=data)
    return BareRepository(path.name, str(path), object_format)


def commit(
    branch: str,
    message: str,
    changes: Mapping[str, str | None],
    *,
    parents: tuple[str, ...] = (),
    at: int = 1_600_000_000,
    mark: int | None = None,
    author: str = "Ann <ann@example.org>",
) -> str:
    """One commit of a stream. ``changes``: content by path, None removes; a path may begin with a
    mode and a space (``120000 link``). ``parents``: names or marks, the first one ``from``."""
    lines = [f"commit refs/heads/{branch}"]
    if mark is not None:
        lines.append(f"mark :{mark}")
    who = f"{author} {at} +0000"
    lines += [f"author {who}", f"committer {who}", _data(message)]
    for number, parent in enumerate(parents):
        lines.append(f"{'merge' if number else 'from'} {parent}")
    for path, content in changes.items():
        mode, space, name = path.partition(" ")
        if not (space and mode.isdigit()):
            mode, name = "100644", path
        if content is None:
            lines.append(f"D {quoted(name)}")
        elif mode == "160000":
            lines.append(f"M 160000 {content} {quoted(name)}")
        else:
            lines += [f"M {mode} inline {quoted(name)}", _data(content)]
    return "\n".join(lines) + "\n\n"


def quoted(path: str) -> str:
    """As git-fast-import(1) wants it; surrogates stand for bytes that are not UTF-8."""
    data = path.encode("utf-8", "surrogateescape")
    safe = (chr(b) if 0x20 <= b < 0x7F and b not in b'"\\' else f"\\{b:03o}" for b in data)
    return '"' + "".join(safe) + '"'


def _data(text: str) -> str:
    return f"data {len(text.encode('utf-8', 'surrogateescape'))}\n{text}"
