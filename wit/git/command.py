"""The only way to a git command line.

A command is built from a table of sub-commands (:mod:`wit.git.command_table`), each with the flags
it may get and the kind of each value. Nothing that is not in the table, and no value that does not
fit its kind, reaches argv; operands always stand behind ``--end-of-options``. The environment is
made from nothing, so that no secret and no setting of the daemon's own surroundings is inherited
(attack list, lines 1 to 3 and 57).

Building a command that the table does not allow is a mistake in wit and raises ``ValueError``;
values that come from users are checked by :mod:`wit.git.refname` before they get here, and once
more here.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping

import attrs

from wit.errors import ConfigError
from wit.git.command_table import COMMANDS, KEY, PATH, PROTOCOL, TREE_PATH, Command, Kind

OLDEST = (2, 38)
"""The oldest git that has everything we use (``merge-tree --write-tree``)."""

Config = Iterable[tuple[str, str]]
Option = str | tuple[str, str | int]
"""A flag of the table, or such a flag with its value."""

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
        env["GIT_ALLOW_PROTOCOL"] = ":".join(_checked(PROTOCOL, name) for name in allow_protocols)
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
