"""Which commit was the last to change each entry of a directory: the walk, without any I/O.

The answer is, for each entry, that of ``git log -1 -- <entry>``: from the commit one looks at, go
to the first parent that has the same entry, and so on; the commit none of whose parents has the
same is the last that changed it (git-log(1), "History Simplification", default mode). All entries
go along this chain together, in groups that part where they must.

``git rev-list`` gives the commits, newest first, and ``git diff-tree --stdin -m`` what each changed
in the directory, towards each of its parents. (rev-list could leave out what does not matter to the
directory, by the changed-path filters of the commit-graph. But it then makes up parents while it
goes, and where commits have equal times, as those of scripts have, some of them come out wrong:
seen with git 2.39.)
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping

import attrs

Answers = dict[bytes, str]
"""The id of the last commit for the name of each entry."""

MAX_EARLY = 50_000
"""Names of changed entries that are kept of commits that came before any of their children did;
clocks that went wrong bring that about."""

_NOTHING: frozenset[bytes] = frozenset()
_FIRST_LINE = re.compile(rb"commit ([0-9a-f]+)((?: [0-9a-f]+)*)(?: \(from ([0-9a-f]+)\))?\n")


@attrs.define
class _Changes:
    """What one commit changed, towards each of its parents."""

    parents: tuple[str, ...]
    names: dict[str, set[bytes]]
    """By parent; for a commit without parents by ""."""

    @property
    def weight(self) -> int:
        return 1 + sum(map(len, self.names.values()))


class Walk:
    """Feed it the output of git; then ``answers`` is what is known, ``waiting`` what is not.

    ``waiting`` has groups of names by the commit at which their search goes on: a walk that was
    broken off can be taken up there. ``known`` are answers found earlier, by commit.
    """

    def __init__(
        self,
        folder: bytes,
        waiting: Mapping[str, Iterable[bytes]],
        known: Mapping[str, Answers],
        answers: Answers | None = None,
    ) -> None:
        self.answers: Answers = dict(answers or {})
        self.waiting = {commit: set(names) for commit, names in waiting.items()}
        self._prefix = folder + b"/" if folder else b""
        self._known = known
        self._early: OrderedDict[str, _Changes] = OrderedDict()
        self._early_weight = 0
        self._rest = b""
        self._path_next = False
        self._commit = ""
        self._changes = _Changes((), {})
        self._names: set[bytes] = set()
        for commit in list(self.waiting):
            self._arrive(commit)

    @property
    def done(self) -> bool:
        return not self.waiting

    def feed(self, data: bytes) -> None:
        """Output of ``git diff-tree --stdin -m --always --raw -z --pretty=short --parents``."""
        *tokens, self._rest = (self._rest + data).split(b"\0")
        for token in tokens:
            if self.done:
                return
            if self._path_next:
                self._path_next = False
                self._add(token)
            elif token.startswith(b"commit "):
                # No other line begins with a colon: those of the message are indented.
                self._begin(token)
                self._path_next = b"\n:" in token
            else:
                self._path_next = token.startswith(b":")

    def end(self) -> None:
        """The output has ended; what is fed next is of another look."""
        self.feed(b"\0")
        self._settle()
        self._path_next = False

    def _add(self, path: bytes) -> None:
        if path.startswith(self._prefix):
            self._names.add(path[len(self._prefix) :].partition(b"/")[0])

    def _begin(self, token: bytes) -> None:
        match = _FIRST_LINE.match(token)
        assert match is not None, token[:200]
        commit = match[1].decode()
        if commit != self._commit:
            self._settle()
            self._commit = commit
            self._changes = _Changes(tuple(match[2].decode().split()), {})
        parents = self._changes.parents
        if match[3] is not None and len(parents) > 1:
            towards = match[3].decode()
        else:
            towards = parents[0] if parents else ""
        self._names = set()
        if len(parents) < 2 or match[3] is not None:
            self._changes.names[towards] = self._names

    def _settle(self) -> None:
        """The commit that was read last is complete."""
        if not self._commit:
            return
        self._early[self._commit] = self._changes
        self._early_weight += self._changes.weight
        reached = [self._commit]
        self._commit = ""
        while reached:
            commit = reached.pop()
            if commit in self.waiting and commit in self._early:
                changes = self._early.pop(commit)
                self._early_weight -= changes.weight
                self._pass(commit, changes)
                reached.extend(changes.parents)
        while self._early_weight > MAX_EARLY:
            self._early_weight -= self._early.popitem(last=False)[1].weight

    def _pass(self, commit: str, changes: _Changes) -> None:
        """Send the names that wait at ``commit`` on to its parents; what is left it changed."""
        group = self.waiting.pop(commit)
        for parent in changes.parents:
            stay = group & changes.names.get(parent, _NOTHING)
            group -= stay
            if group:
                others = self.waiting.get(parent)
                self.waiting[parent] = group if others is None else group | others
                self._arrive(parent)
            group = stay
        self.answers.update(dict.fromkeys(group, commit))

    def _arrive(self, commit: str) -> None:
        """Names have come to wait at ``commit``; perhaps its answers are known."""
        known = self._known.get(commit)
        if known is not None:
            group = self.waiting.pop(commit)
            self.answers.update((name, known[name]) for name in group if name in known)
            if left := group - known.keys():
                self.waiting[commit] = left
