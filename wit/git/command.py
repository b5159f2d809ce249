"""The only way to a git command line.

A command is built from a table of sub-commands, each with the flags it may get and the kind of
each value. Nothing that is not in the table, and no value that does not fit its kind, reaches
argv; operands always stand behind ``--end-of-options``. The environment is made from nothing, so
that no secret and no setting of the daemon's own surroundings is inherited (attack list, lines
1 to 3 and 57).

Building a command that the table does not allow is a mistake in wit and raises ``ValueError``;
values that come from users are checked by :mod:`wit.git.refname` before they get here, and once
more here.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping

import attrs

from wit.errors import ConfigError

OLDEST = (2, 38)
"""The oldest git that has everything we use (``merge-tree --write-tree``)."""

Config = Iterable[tuple[str, str]]
Option = str | tuple[str, str | int]
"""A flag of the table, or such a flag with its value."""


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
    "pack-objects": _command("--stdout --revs --thin --delta-base-offset -q --all"),
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

BASE_CONFIG: tuple[tuple[str, str], ...] = (
    ("safe.directory", "*"),
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.quotePath", "false"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("receive.autoGC", "false"),
    ("credential.helper", ""),
    ("protocol.allow", "never"),
    ("http.followRedirects", "false"),
    ("submodule.recurse", "false"),
)
"""For every command. Housekeeping is wit's own business, hooks are named by whoever wants them,
and the network is closed until an import opens one protocol."""

MEMORY_CONFIG: tuple[tuple[str, str], ...] = (
    ("core.packedGitWindowSize", "1m"),
    ("core.packedGitLimit", "32m"),
    ("core.deltaBaseCacheLimit", "16m"),
    ("core.bigFileThreshold", "32m"),
    ("pack.windowMemory", "32m"),
    ("pack.deltaCacheSize", "16m"),
    ("pack.threads", str(min(4, os.cpu_count() or 1))),
)
"""For commands that read or write packs on behalf of clients: what one run may keep in memory.
By git's own defaults it maps whole packs and caches deltas without regard to its neighbours:
a clone of a 280 MB repository took 286 MB then and takes 52 MB now, in the same time."""

_ENVIRONMENT = re.compile(
    r"WIT_[A-Z_]+|GIT_(?:COMMITTER|AUTHOR)_(?:NAME|EMAIL|DATE)|GIT_REFLOG_ACTION|"
    r"GIT_OBJECT_DIRECTORY|GIT_ALTERNATE_OBJECT_DIRECTORIES|GIT_QUARANTINE_PATH|"
    r"GIT_INDEX_FILE|GIT_ALLOC_LIMIT|GIT_PUSH_OPTION_(?:COUNT|[0-9]+)|GIT_SSH_COMMAND|TMPDIR"
)
_PROTOCOL_NAME = _pattern("a protocol", r"https?|ssh|git|file")


@attrs.frozen
class Invocation:
    """A finished command line and the whole environment of the process."""

    argv: tuple[str, ...]
    env: Mapping[str, str]

    @property
    def name(self) -> str:
        """The sub-command, for messages."""
        return next((word for word in self.argv[1:] if not word.startswith("-")), "git")


@attrs.frozen
class Git:
    """The git program that was found, and the builder of its command lines."""

    binary: str
    version: tuple[int, ...]

    @classmethod
    def find(cls, binary: str = "git") -> Git:
        """Look ``binary`` up and ask its version; blocks for some milliseconds, at start only.

        Raises ConfigError, naming ``git.binary``, if it is missing, broken or too old.
        """
        path = shutil.which(binary)
        if path is None:
            raise ConfigError(
                f"git.binary: there is no program {binary!r}; install git "
                f"{'.'.join(map(str, OLDEST))} or newer, or name its path"
            )
        path = os.path.abspath(path)
        try:
            answer = subprocess.run(
                [path, "--version"],
                env=_base_environment(path),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=20,
                check=True,
                text=True,
            ).stdout
        except (OSError, subprocess.SubprocessError) as error:
            raise ConfigError(f"git.binary: {path} does not run: {error}") from error
        match = re.match(r"git version (\d+(?:\.\d+)+)", answer)
        if match is None:
            raise ConfigError(f"git.binary: {path} is not git; it answered {answer[:60]!r}")
        version = tuple(map(int, match[1].split(".")))
        if version < OLDEST:
            raise ConfigError(
                f"git.binary: {path} is git {match[1]}; wit needs "
                f"{'.'.join(map(str, OLDEST))} or newer"
            )
        return cls(path, version)

    def command(
        self,
        name: str,
        *options: Option,
        git_dir: str | None = None,
        operands: Iterable[str] = (),
        paths: Iterable[str] = (),
        config: Config = (),
        environment: Mapping[str, str] | None = None,
        protocol: str | None = None,
        allow_protocols: Iterable[str] = (),
    ) -> Invocation:
        """The command line of ``git <name>``.

        ``paths`` limit it to what is below them, as they are, without any magic of git's
        (gitglossary(7), "pathspec"); bytes that are no UTF-8 as os.fsdecode makes them.
        ``config`` is added behind BASE_CONFIG (the last value wins). ``protocol`` is the value of
        GIT_PROTOCOL that a client sent, dropped unless it is of the known form.
        ``allow_protocols`` are those by which this one command may reach other servers.
        Raises ValueError for whatever the table does not allow.
        """
        command = COMMANDS.get(name)
        if command is None:
            raise ValueError(f"git {name} is not among the commands that wit runs")
        argv = [self.binary]
        if git_dir is not None:
            argv.append(f"--git-dir={_checked(PATH, git_dir)}")
        argv.append(name.removesuffix(f"-{command.verb}"))
        if command.verb is not None:
            argv.append(command.verb)
        argv.extend(_option(name, command, option) for option in options)
        words = [
            _checked(_operand_kind(name, command, at), word) for at, word in enumerate(operands)
        ]
        if words:
            argv += ["--end-of-options", *words]
        limits = [_checked(TREE_PATH, path) for path in paths]
        if limits:
            if not command.paths:
                raise ValueError(f"git {name} takes no paths")
            argv += ["--", *limits]
        return Invocation(
            tuple(argv),
            self._environment(config, environment or {}, protocol, allow_protocols),
        )

    def _environment(
        self,
        config: Config,
        extra: Mapping[str, str],
        protocol: str | None,
        allow_protocols: Iterable[str],
    ) -> dict[str, str]:
        env = _base_environment(self.binary)
        env["GIT_ALLOW_PROTOCOL"] = ":".join(
            _checked(_PROTOCOL_NAME, name) for name in allow_protocols
        )
        settings = [*BASE_CONFIG, *config]
        env["GIT_CONFIG_COUNT"] = str(len(settings))
        for at, (key, value) in enumerate(settings):
            env[f"GIT_CONFIG_KEY_{at}"] = _checked(KEY, key)
            env[f"GIT_CONFIG_VALUE_{at}"] = value
        if protocol is not None and (version := protocol_version(protocol)):
            env["GIT_PROTOCOL"] = f"version={version}"
        for key, value in extra.items():
            if not _ENVIRONMENT.fullmatch(key):
                raise ValueError(f"{key} is not among the variables that git is given")
            env[key] = value
        return env


def protocol_version(text: str) -> int:
    """The highest version that a ``GIT_PROTOCOL`` value (or Git-Protocol header) asks for.

    Pack protocol, "Protocol version 1" and v2: ``key[=value]`` joined by colons, unknown keys
    ignored. Anything malformed counts as version 0 (attack list, line 1).
    """
    if not re.fullmatch(r"[0-9A-Za-z]+=[0-9A-Za-z]+(?::[0-9A-Za-z]+=[0-9A-Za-z]+){0,15}", text):
        return 0
    versions = [part[8:] for part in text.split(":") if part.startswith("version=")]
    return max((int(version) for version in versions if version in ("0", "1", "2")), default=0)


def _base_environment(binary: str) -> dict[str, str]:
    return {
        "PATH": f"{os.path.dirname(binary)}:/usr/local/bin:/usr/bin:/bin",
        "HOME": "/nonexistent",
        "LANG": "C",
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_LITERAL_PATHSPECS": "1",
        "GIT_OPTIONAL_LOCKS": "0",
    }


def _checked(kind: Kind, text: str) -> str:
    if "\0" in text or not kind.fits(text):
        raise ValueError(f"{text[:80]!r} is not {kind.name}")
    return text


def _option(name: str, command: Command, option: Option) -> str:
    flag, value = option if isinstance(option, tuple) else (option, None)
    if value is None:
        if flag in command.flags:
            return flag
    elif flag in command.values:
        return f"{flag}={_checked(command.values[flag], str(value))}"
    raise ValueError(f"git {name} is not given {flag}")


def _operand_kind(name: str, command: Command, at: int) -> Kind:
    if not command.operands:
        raise ValueError(f"git {name} takes no operands")
    return command.operands[min(at, len(command.operands) - 1)]
