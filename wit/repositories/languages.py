"""Which languages a repository is written in, by the names and sizes of its files.

As in github-linguist, which people compare with: files that are vendored, generated or
documentation are not counted, and neither are links and submodules.
"""

from __future__ import annotations

import re
import stat
from collections import Counter, OrderedDict
from collections.abc import Iterable

from sqlalchemy import bindparam, update
from typing_extensions import TypedDict

from wit.db.port import Database, Row
from wit.db.tables import repositories
from wit.git.revisions import HEAD
from wit.git.trees import File, Trees
from wit.repositories.browsing import Browsing
from wit.repositories.language_table import COLORS, language_of
from wit.repositories.manager import RepoManager
from wit.runtime import Runtime

REMEMBERED = 1000
"""Commits whose languages are remembered, beside the one on each repository's row."""

_EXCLUDED = re.compile(
    r"""(?:^|/)
        (?: (?:vendor|vendors|third[-_]?party|node_modules|bower_components|jspm_packages
             |site-packages|Godeps|Carthage/Build|Pods|dist|\.yarn|\.venv|__pycache__
             |docs?|documentation|javadoc|man|examples?|samples?|demos?|deps|extern|externals?
             |cache|\.git\w*|\.vscode|\.idea|fixtures|testdata|_build|target/debug|target/release)/
         | (?:jquery|bootstrap|d3|react|angular|modernizr|prototype|mootools)[-.\w]*\.(?:js|css)$
         | [^/]*[-.]min\.(?:js|css)$ | [^/]*\.(?:bundle|chunk)\.js$
         | [^/]*(?:_pb2(?:_grpc)?\.pyi?|\.pb\.(?:go|cc|h)|\.g\.dart|\.freezed\.dart
             |\.designer\.cs|\.generated\.\w+|_generated\.\w+|\.d\.ts)$
         | (?:configure|config\.guess|config\.sub|ltmain\.sh|aclocal\.m4|gradlew(?:\.bat)?
             |mvnw(?:\.cmd)?)$
        )""",
    re.VERBOSE,
)
"""Paths that are not counted."""

_STORE = (
    update(repositories)
    .where(repositories.c.id == bindparam("repo"))
    .values(
        language_stats=bindparam("stats"),
        language_stats_commit=bindparam("commit"),
        language_stats_updated_at=bindparam("now"),
    )
)


class Share(TypedDict):
    """One language: ``percentage`` is that of all bytes counted, to one decimal."""

    language: str
    bytes: int
    percentage: float
    color: str


class Languages:
    """Counts, and remembers by commit: for HEAD on the repository's row, else in memory."""

    def __init__(
        self,
        db: Database,
        runtime: Runtime,
        manager: RepoManager,
        browsing: Browsing,
        *,
        trees: Trees,
    ) -> None:
        self._db = db
        self._runtime = runtime
        self._manager = manager
        self._browsing = browsing
        self._trees = trees
        self._remembered: OrderedDict[tuple[str, str], list[Share]] = OrderedDict()

    async def of(self, repo: Row, ref: str, user_key: str | None) -> list[Share]:
        """The largest first. The caller has asked the gate for Level.READ.

        Raises UnknownRevision, TooLarge, TimedOut, Unavailable.
        """
        bare = self._manager.bare(repo)
        oid = (await self._browsing.commit(repo, ref, user_key)).oid
        if oid == repo["language_stats_commit"]:
            stored: list[Share] = repo["language_stats"] or []
            return stored
        key = (repo["id"], oid)
        known = self._remembered.get(key)
        if known is None:
            files = await self._trees.files(bare, oid, user_key)
            known = await self._runtime.in_thread(count, files)
            self._remembered[key] = known
            if len(self._remembered) > REMEMBERED:
                self._remembered.popitem(last=False)
        if ref == HEAD:
            now = self._runtime.now()
            await self._db.execute(_STORE, repo=repo["id"], stats=known, commit=oid, now=now)
        return known


def count(files: Iterable[File]) -> list[Share]:
    """The shares of the languages of ``files``, the largest first."""
    sizes: Counter[str] = Counter()
    for file in files:
        if file.size and stat.S_ISREG(file.mode):
            path = file.path.decode("utf-8", "replace")
            language = language_of(path.rpartition("/")[2])
            if language is not None and not _EXCLUDED.search(path):
                sizes[language] += file.size
    total = sizes.total()
    return [
        {
            "language": language,
            "bytes": size,
            "percentage": round(100 * size / total, 1),
            "color": COLORS[language],
        }
        for language, size in sorted(sizes.items(), key=lambda item: (-item[1], item[0]))
    ]
