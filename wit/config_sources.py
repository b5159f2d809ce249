"""Where the settings come from: defaults < DATA_DIR/wit.toml < environment < flags.

Every problem of every source is found before anything is refused, and each is one line that names
the source, the key, the value (unless it may hold a password) and what was expected.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from wit.config import Config
from wit.config_file import toml_value, write_default
from wit.config_rules import KEYS, PATHS, SECRETS, SECTIONS, TYPES, convert
from wit.errors import ConfigError
from wit.redaction import MASK, redact

FLAGS = {
    "http": "server.http",
    "public-url": "server.public_url",
    "ssh": "ssh.listen",
    "metrics": "metrics.listen",
    "database": "database.url",
    "repos": "repositories.dir",
    "git": "git.binary",
    "log-level": "log.level",
    "log-format": "log.format",
}
"""Flag (without ``--``) -> key. A program may give keys themselves (``server.http``) instead."""


@attrs.frozen
class Setting:
    """One value as it came, before it is understood."""

    key: str
    value: object
    source: str
    """For errors and ``config print``: a path, ``environment NAME`` or ``flag --NAME``."""
    folder: Path
    """What a relative path in the value is relative to."""
    split: bool = False
    """Whether commas separate the items of a list."""


@attrs.frozen
class Loaded:
    """A configuration and, for each ``section.key``, where its value came from."""

    config: Config
    sources: Mapping[str, str]


def load(
    data_dir: Path | None,
    flags: Mapping[str, object],
    environ: Mapping[str, str],
    *,
    write_default: bool,
) -> Config:
    """The configuration. Raises ConfigError, which lists every problem at once."""
    return read(data_dir, flags, environ, write_default=write_default).config


def read(
    data_dir: Path | None,
    flags: Mapping[str, object],
    environ: Mapping[str, str],
    *,
    write_default: bool,
) -> Loaded:
    """As :func:`load`, and where each value came from.

    Flags that are None or an empty list count as not given, and so do empty variables.
    """
    folder, folder_source = choose_data_dir(data_dir, environ)
    if write_default:
        _write_default(folder)
    problems: list[str] = []
    values: dict[str, Any] = {}
    sources = dict.fromkeys(TYPES, "default") | {"data_dir": folder_source}
    for setting in (
        *_from_file(folder / "wit.toml", problems),
        *_from_environment(environ, problems),
        *_from_flags(flags, problems),
    ):
        try:
            values[setting.key] = _understand(setting)
        except ValueError as error:
            problems.append(_complaint(setting, str(error)))
        sources[setting.key] = setting.source
    config = _build(folder, values)
    if config.database.pool_min > config.database.pool_max:
        problems.append(
            f"{sources['database.pool_min']}: database.pool_min = {config.database.pool_min} is "
            f"more than database.pool_max = {config.database.pool_max}"
        )
    if config.accounts.cookie_same_site == "none" and not config.public_url.startswith("https:"):
        problems.append(
            f"{sources['accounts.cookie_same_site']}: accounts.cookie_same_site = none needs "
            "server.public_url with https://, as browsers take such cookies from nowhere else"
        )
    if problems:
        raise ConfigError("\n".join(problems))
    return Loaded(config, sources)


def choose_data_dir(given: Path | None, environ: Mapping[str, str]) -> tuple[Path, str]:
    """The data folder, absolute, and why it is that one."""
    if given is not None:
        return _absolute(str(given), Path.cwd()), "flag --data-dir"
    for name in ("WIT_DATA_DIR", "DATA_DIR"):
        if environ.get(name):
            return _absolute(environ[name], Path.cwd()), f"environment {name}"
    here = Path.cwd() / "var"
    if here.is_dir():
        return here, "default: ./var exists"
    return Path.home() / ".wit", "default: no ./var here"


def render(loaded: Loaded) -> str:
    """Every effective value with its source, as TOML, without passwords."""
    lines = [f"# data folder: {loaded.config.data_dir} ({loaded.sources['data_dir']})"]
    for section in SECTIONS:
        lines += ["", f"[{section}]"]
        part = getattr(loaded.config, section)
        for field in attrs.fields(type(part)):
            key = f"{section}.{field.name}"
            value = redact(toml_value(getattr(part, field.name)))
            if key in KEYS and getattr(part, field.name):
                value = f'"{MASK}"'
            lines.append(f"{field.name} = {value}  # {loaded.sources[key]}")
    return "\n".join(lines)


def _write_default(folder: Path) -> None:
    try:
        write_default(folder)
    except OSError as error:
        raise ConfigError(
            f"cannot write {folder / 'wit.toml'}: {error.strerror}; "
            "give another folder with --data-dir or WIT_DATA_DIR"
        ) from None


def _build(folder: Path, values: Mapping[str, Any]) -> Config:
    sections: dict[str, Any] = {}
    for section, cls in SECTIONS.items():
        prefix = f"{section}."
        own = {key.removeprefix(prefix): values[key] for key in values if key.startswith(prefix)}
        sections[section] = cls(**own)
    return Config(data_dir=folder, **sections)


def _understand(setting: Setting) -> Any:
    value = convert(setting.key, setting.value, split=setting.split)
    if setting.key in PATHS:
        if isinstance(value, tuple):
            return tuple(str(_absolute(item, setting.folder)) for item in value)
        return str(_absolute(value, setting.folder)) if value else ""
    if setting.key == "database.url":
        return re.sub(r"^postgres:", "postgresql:", value)
    return value


def _absolute(path: str, folder: Path) -> Path:
    try:
        return Path(os.path.normpath(folder / Path(path).expanduser()))
    except RuntimeError:  # ~nobody-of-that-name
        raise ValueError("a path of an existing user's home") from None


def _complaint(setting: Setting, expected: str) -> str:
    shown = "the value" if setting.key in SECRETS else redact(repr(setting.value))[:200]
    return f"{setting.source}: {setting.key}: {shown} is not right; expected {expected}"


def _unknown(source: str, name: str, known: Mapping[str, str]) -> str:
    """``known``: what could have been meant -> how to write it."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    hint = f"; did you mean {known[close[0]]}?" if close else '; "wit config print" lists all keys'
    return f"{source}: unknown key {name!r}{hint}"


# Sources


def _from_file(path: Path, problems: list[str]) -> Iterator[Setting]:
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        problems.append(f"{path}: not valid TOML: {error}")
        return
    except OSError as error:
        problems.append(f"{path}: cannot be read: {error.strerror}")
        return
    by_key = {key.partition(".")[2]: _in_section(key) for key in TYPES}
    for section, content in document.items():
        if section not in SECTIONS:
            known = {name: f"[{name}]" for name in SECTIONS}
            problems.append(
                _unknown(str(path), section, known if isinstance(content, dict) else by_key)
            )
        elif not isinstance(content, dict):
            problems.append(f"{path}: {section}: expected the section [{section}] with keys in it")
        else:
            for name, value in content.items():
                key = f"{section}.{name}"
                if key in TYPES:
                    yield Setting(key, value, str(path), path.parent)
                else:
                    problems.append(_unknown(str(path), key, {key: key for key in TYPES}))


def _in_section(key: str) -> str:
    section, _, name = key.partition(".")
    return f"{name} in [{section}]"


def _from_environment(environ: Mapping[str, str], problems: list[str]) -> Iterator[Setting]:
    here = Path.cwd()
    yield from _listening(environ, "server.http", "HOST", "PORT", "3000")
    yield from _listening(environ, "ssh.listen", "SSH_HOST", "SSH_PORT", "2222")
    for name, (key, translate) in _REFERENCE_NAMES.items():
        if environ.get(name):
            value = translate(environ[name])
            yield Setting(key, value, f"environment {name}", here, split=True)
    own = {_variable(key): key for key in TYPES}
    for name, value in environ.items():
        if name in own and value:
            yield Setting(own[name], value, f"environment {name}", here, split=True)
        elif (
            name not in own
            and name not in _REFERENCE_NAMES
            and any(name.startswith(f"WIT_{section.upper()}_") for section in SECTIONS)
        ):
            problems.append(_unknown("environment", name, {known: known for known in own}))


def _variable(key: str) -> str:
    return "WIT_" + key.upper().replace(".", "_")


def _listening(
    environ: Mapping[str, str], key: str, host_name: str, port_name: str, port: str
) -> Iterator[Setting]:
    """The reference's pair of variables as one endpoint; without HOST we stay on this machine."""
    given = [name for name in (host_name, port_name) if environ.get(name)]
    if not given:
        return
    host = environ.get(host_name) or "127.0.0.1"
    host = "127.0.0.1" if host == "localhost" else host.replace(":", "\\:")
    kind = "tcp6" if ":" in host else "tcp"
    endpoint = f"{kind}:{environ.get(port_name) or port}:interface={host}"
    yield Setting(key, [endpoint], "environment " + ", ".join(given), Path.cwd())


def _from_flags(flags: Mapping[str, object], problems: list[str]) -> Iterator[Setting]:
    for name, value in flags.items():
        if value is None or value in ([], ()):
            continue
        key = FLAGS.get(name, name)
        source = f"flag --{name}" if name in FLAGS else "option"
        if key in TYPES:
            yield Setting(key, value, source, Path.cwd())
        else:
            problems.append(_unknown(source, name, {k: k for k in (*TYPES, *FLAGS)}))


def _same(value: str) -> object:
    return value


def _milliseconds(value: str) -> object:
    return float(value) / 1000 if value.isdecimal() else value


def _renamed(**names: str) -> Callable[[str], object]:
    return lambda value: names.get(value, value)


_REFERENCE_NAMES: dict[str, tuple[str, Callable[[str], object]]] = {
    "BASE_URL": ("server.public_url", _same),
    "AUTH_BASE_URL": ("server.public_url", _same),
    "WIT_SERVER_URL": ("server.public_url", _same),
    "CORS_ORIGINS": ("server.cors_origins", _same),
    "SSH_HOST_KEY_PATH": ("ssh.host_keys", _same),
    "DATABASE_URL": ("database.url", _same),
    "ENCRYPTION_KEY": ("accounts.encryption_key", _same),
    "BETTER_AUTH_SECRET": ("accounts.secret", _same),
    "TRUSTED_ORIGINS": ("accounts.trusted_origins", _same),
    "COOKIE_DOMAIN": ("accounts.cookie_domain", _same),
    "GITHUB_CLIENT_ID": ("accounts.github_client_id", _same),
    "GITHUB_CLIENT_SECRET": ("accounts.github_client_secret", _same),
    "EMAIL_FROM_ADDRESS": ("mail.sender", _same),
    "ANTHROPIC_API_KEY": ("ai.anthropic_key", _same),
    "OPENROUTER_API_KEY": ("ai.openrouter_key", _same),
    "OPENAI_API_KEY": ("ai.openai_key", _same),
    "SANDBOX_PROVIDER": ("sandboxes.provider", _same),
    "SANDBOX_IMAGE": ("sandboxes.docker_image", _same),
    "DOCKER_SOCKET_PATH": ("sandboxes.docker_host", _same),
    "DOCKER_HOST": ("sandboxes.docker_host", _same),
    "DOCKER_CERT_PATH": ("sandboxes.docker_tls_dir", _same),
    "DOCKER_NETWORK": ("sandboxes.docker_network", _same),
    "E2B_API_KEY": ("sandboxes.e2b_api_key", _same),
    "E2B_DOMAIN": ("sandboxes.e2b_domain", _same),
    "E2B_API_URL": ("sandboxes.e2b_api_url", _same),
    "DAYTONA_API_KEY": ("sandboxes.daytona_api_key", _same),
    "DAYTONA_API_URL": ("sandboxes.daytona_api_url", _same),
    "DAYTONA_TARGET": ("sandboxes.daytona_target", _same),
    "DB_POOL_MIN": ("database.pool_min", _same),
    "DB_POOL_MAX": ("database.pool_max", _same),
    "DB_CONNECT_TIMEOUT": ("database.connect_seconds", _milliseconds),
    "REPOS_DIR": ("repositories.dir", _same),
    "LOG_LEVEL": ("log.level", _renamed(fatal="critical")),
    "LOG_FORMAT": ("log.format", _renamed(pretty="text")),
}
"""Variables of the reference server (contract, environment.md); later ones overrule earlier ones,
and wit's own WIT_<SECTION>_<KEY> overrule them all."""
