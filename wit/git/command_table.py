"""Everything that wit may ask git to do: sub-commands, their flags, the kinds of their values.

:mod:`wit.git.command` makes command lines of it, and of nothing else. An entry is added here when a
command is needed, with exactly the flags that are needed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import attrs


@attrs.frozen
class Kind:
    """One kind of value: a name for messages, and whether a text is of this kind."""

    name: str
    fits: Callable[[str], bool]


def _pattern(name: str, pattern: str) -> Kind:
    compiled = re.compile(pattern)
    return Kind(name, lambda text: compiled.fullmatch(text) is not None)


def _is_path(text: str) -> bool:
    return text.startswith("/") and "\0" not in text and "\n" not in text


def _is_ref(text: str) -> bool:
    """The part of gitrevisions(7) that keeps a name from being anything but a name."""
    return (
        re.fullmatch(r"(?:HEAD|refs/[^\x00-\x20\x7f~^:?*\[\\]+)", text) is not None
        and ".." not in text
        and "@{" not in text
        and "//" not in text
        and not text.endswith(("/", ".", ".lock"))
    )


OID = _pattern("an object id", r"[0-9a-f]{40}|[0-9a-f]{64}")
INTEGER = _pattern("a number", r"[0-9]{1,12}")
WORD = _pattern("a word", r"[A-Za-z0-9][A-Za-z0-9_.-]*")
REF = Kind("a full reference name", _is_ref)
BRANCH = Kind("a branch name", lambda text: text[:1] != "-" and _is_ref(f"refs/heads/{text}"))
PATH = Kind("an absolute path", _is_path)
TREE_PATH = Kind("a path within a tree", lambda text: text != "" and text[0] != "/")
PROTOCOL = _pattern("a protocol", r"https?|ssh|git|file")
URL = _pattern("an address", r"(?:https?|ssh|git)://[A-Za-z0-9\[][\x21-\x7e]*")
SOURCE = Kind("an address or an absolute path", lambda text: URL.fits(text) or _is_path(text))
REFSPEC = _pattern("a refspec", r"\+?(?:HEAD|refs/[\w./*-]+):(?:HEAD|refs/[\w./*-]+)")
KEY = _pattern("a configuration key", r"[A-Za-z][\w-]*(?:\.[\x21-\x7e]+)?\.[A-Za-z][\w-]*")
REVISION = Kind("an object id or a full reference name", lambda t: OID.fits(t) or _is_ref(t))
RANGE = Kind("a revision, perhaps excluded", lambda text: REVISION.fits(text.removeprefix("^")))
FORMAT = _pattern("a format", r"[\x20-\x7e]*")
EMPTY = _pattern("nothing", r"")


@attrs.frozen
class Command:
    """What one sub-command may be given: plain flags, flags with a value, kinds of operands."""

    flags: frozenset[str] = frozenset()
    values: Mapping[str, Kind] = attrs.field(factory=dict)
    operands: tuple[Kind, ...] = ()
    """The kind of each operand; the last one stands for any number of further ones."""
    verb: str | None = None
    """A word that follows the sub-command (``commit-graph write``)."""
    paths: bool = False
    """Whether paths within the tree may follow, each taken literally."""


def _command(
    flags: str = "",
    *operands: Kind,
    verb: str | None = None,
    paths: bool = False,
    **values: Kind,
) -> Command:
    return Command(
        frozenset(flags.split()),
        {f"--{name.replace('_', '-')}": kind for name, kind in values.items()},
        operands,
        verb,
        paths,
    )


COMMANDS: Mapping[str, Command] = {
    "upload-pack": _command("--stateless-rpc --strict --advertise-refs", PATH),
    "receive-pack": _command("--stateless-rpc --advertise-refs", PATH),
    "init": _command(
        "--bare --quiet", PATH, object_format=WORD, initial_branch=BRANCH, template=EMPTY
    ),
    "rev-list": _command(
        "--stdin --objects --no-object-names --in-commit-order --use-bitmap-index --count "
        "--all --left-right --quiet --disk-usage --parents --not --first-parent "
        "--no-commit-header --topo-order --ignore-missing",
        RANGE,
        max_count=INTEGER,
        max_age=INTEGER,
        filter=FORMAT,
        format=FORMAT,
        missing=WORD,
    ),
    "cat-file": _command(
        "--batch --batch-check --batch-command --buffer --batch-all-objects --unordered "
        "-e -t -s -p",
        REVISION,
        batch=FORMAT,
        batch_check=FORMAT,
    ),
    "merge-base": _command("--is-ancestor --all", REVISION),
    "merge-tree": _command("--write-tree --name-only -z --messages", REVISION),
    "diff-tree": _command(
        "-r -z --root --no-commit-id --name-only --name-status --raw --stdin -m --numstat -p "
        "--no-renames --no-ext-diff --no-textconv --always --parents",
        REVISION,
        paths=True,
        diff_filter=WORD,
        pretty=WORD,
        unified=INTEGER,
    ),
    "ls-tree": _command("-r -z -l -t --full-tree --name-only", REVISION),
    "for-each-ref": _command("", REF, format=FORMAT, count=INTEGER),
    "show-ref": _command("--head --dereference --verify", REF),
    "update-ref": _command("--stdin -z --create-reflog"),
    "symbolic-ref": _command("--quiet", REF),
    "reflog-expire": Command(
        frozenset({"--all"}), {"--expire": WORD, "--expire-unreachable": WORD}, (), "expire"
    ),
    "pack-refs": _command("--all --prune"),
    "repack": _command(
        "-a -d -A -l -q -n -f --cruft --write-midx --write-bitmap-index --keep-unreachable "
        "--pack-kept-objects",
        geometric=INTEGER,
        threads=INTEGER,
        window_memory=WORD,
        cruft_expiration=FORMAT,
        unpack_unreachable=FORMAT,
    ),
    "prune-packed": _command("--quiet"),
    "prune": _command("--no-progress", expire=FORMAT),
    "multi-pack-index": _command("--bitmap --no-progress", verb="write"),
    "commit-graph": _command(
        "--reachable --changed-paths --no-progress --split", verb="write", split=WORD
    ),
    "count-objects": _command("-v"),
    "fsck": _command(
        "--connectivity-only --no-dangling --no-progress --full --strict --no-reflogs"
    ),
    "index-pack": _command("--stdin --strict --fix-thin", PATH, max_input_size=INTEGER),
    "unpack-objects": _command("-q --strict"),
    "pack-objects": _command("--stdout --revs --thin --delta-base-offset -q --all", PATH),
    "hash-object": _command("-w --stdin", path=FORMAT),
    "mktree": _command("-z --missing"),
    "commit-tree": _command("", OID),
    "config": _command("--get --local --add --unset-all --replace-all", KEY, FORMAT),
    "clone": _command("--mirror --bare --progress --quiet --no-tags", SOURCE, PATH, template=EMPTY),
    "fetch": _command(
        "--prune --progress --quiet --no-tags --tags --atomic --no-write-fetch-head --force "
        "--no-auto-maintenance",
        SOURCE,
        REFSPEC,
    ),
    "ls-remote": _command("--symref --heads --tags --quiet", SOURCE),
    "archive": _command("", REVISION, format=WORD, prefix=FORMAT),
    "bundle": _command("--all --quiet", PATH, verb="create"),
    "version": _command("--build-options"),
}
"""Everything that wit may ask git to do."""
