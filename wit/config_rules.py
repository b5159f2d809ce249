"""What each setting may be: conversion from what a person wrote, and the limits of the value.

Everything here raises :class:`ValueError` whose text is what was *expected*; who calls adds where
the value came from, its key and the value itself.
"""

from __future__ import annotations

import ipaddress
import json
import math
import re
import types
import typing
from collections.abc import Callable
from email.utils import parseaddr
from typing import Any
from urllib.parse import urlsplit

import attrs

from wit import config

SECTIONS: dict[str, type[Any]] = {
    field.name: field.default.__class__
    for field in attrs.fields(config.Config)
    if field.name != "data_dir"
}
"""Section name -> its attrs class, in the order of the file."""

TYPES: dict[str, Any] = {
    f"{section}.{name}": kind
    for section, cls in SECTIONS.items()
    for name, kind in typing.get_type_hints(cls).items()
}
"""``section.key`` -> its type: str, int, float, bool, tuple[str, ...], or a tuple of an attrs class
(a list of tables)."""

TABLES: dict[str, type[Any]] = {
    key: item
    for key, kind in TYPES.items()
    if isinstance(kind, types.GenericAlias) and attrs.has(item := typing.get_args(kind)[0])
}
"""``section.key`` of a list of tables -> the class of one."""

PATHS = frozenset(
    {
        "repositories.dir",
        "ssh.host_keys",
        "sandboxes.local_dir",
        "sandboxes.docker_tls_dir",
        "packages.dir",
    }
)
"""Keys whose values are paths, made absolute by the source they come from."""

KEYS = frozenset(
    {
        "accounts.encryption_key",
        "accounts.secret",
        "accounts.github_client_secret",
        "ai.anthropic_key",
        "ai.openrouter_key",
        "ai.openai_key",
        "sandboxes.e2b_api_key",
        "sandboxes.daytona_api_key",
        "sandboxes.options",
        "packages.s3_access_key",
        "packages.s3_secret_key",
    }
)
"""Keys whose values are secrets from end to end: never shown at all."""

SECRETS = KEYS | {"database.url", "mail.smtp"}
"""Keys whose values may hold a password: never shown in an error."""

Check = Callable[[Any], None]


def convert(key: str, raw: object, *, split: bool = False) -> Any:
    """``raw`` as the type of ``key``, within its limits.

    Text is understood for every type; with ``split`` a list is written with commas. For a list,
    "none" is the empty one. A list of tables as text is JSON. Raises ValueError with what was
    expected.
    """
    if key in TABLES:
        return _tables(key, raw)
    return _convert(key, TYPES[key], raw, split)


def _convert(key: str, kind: Any, raw: object, split: bool) -> Any:
    if isinstance(kind, types.GenericAlias):
        value: Any = _texts(raw, split)
        for item in value:
            _check(key, item)
        return value
    value = _READERS[kind](raw)
    _check(key, value)
    return value


def _tables(key: str, raw: object) -> tuple[Any, ...]:
    cls = TABLES[key]
    expected = f"a list of tables, [[{key}]] in the file or JSON in the environment"
    if isinstance(raw, str):
        try:
            raw = [] if raw.strip() == "none" else json.loads(raw)
        except ValueError:
            raise ValueError(expected) from None
    if not isinstance(raw, list) or not all(isinstance(table, dict) for table in raw):
        raise ValueError(expected)
    fields = typing.get_type_hints(cls)
    required = [field.name for field in attrs.fields(cls) if field.default is attrs.NOTHING]
    found = []
    for table in raw:
        for name in table:
            if name not in fields:
                raise ValueError(f"no key {name!r} in [[{key}]], only " + ", ".join(fields))
        for name in required:
            if name not in table:
                raise ValueError(f"the key {name} in every [[{key}]]")
        values = {}
        for name, value in table.items():
            try:
                values[name] = _convert(f"{key}.{name}", fields[name], value, False)
            except ValueError as error:
                raise ValueError(f"for {name} in [[{key}]] {error}") from None
        found.append(cls(**values))
    return tuple(found)


def _check(key: str, value: Any) -> None:
    rule = RULES.get(key) or _DEFAULT_RULES.get(type(value))
    if rule is not None:
        rule(value)


def _texts(raw: object, split: bool) -> tuple[str, ...]:
    items = raw
    if isinstance(raw, str):
        items = raw.split(",") if split else [raw]
    if not isinstance(items, list | tuple) or not all(isinstance(item, str) for item in items):
        raise ValueError('a list of texts, such as ["a", "b"]')
    texts = tuple(text for item in items if (text := item.strip()))
    return () if texts == ("none",) else texts


def _text(raw: object) -> str:
    if not isinstance(raw, str):
        raise ValueError("a text")
    if "\0" in raw:
        raise ValueError("a text without NUL characters")
    return raw


def _integer(raw: object) -> int:
    try:
        if isinstance(raw, str):
            return int(raw)
    except ValueError:
        pass
    if isinstance(raw, int) and not isinstance(raw, bool):
        return raw
    raise ValueError("a whole number")


def _number(raw: object) -> float:
    try:
        if isinstance(raw, str | int | float) and not isinstance(raw, bool):
            number = float(raw)
            if math.isfinite(number):
                return number
    except (ValueError, OverflowError):
        pass
    raise ValueError("a number")


def _boolean(raw: object) -> bool:
    words = {"true": True, "yes": True, "on": True, "1": True}
    words |= {"false": False, "no": False, "off": False, "0": False}
    if isinstance(raw, str) and raw.lower() in words:
        return words[raw.lower()]
    if isinstance(raw, bool):
        return raw
    raise ValueError("true or false")


_READERS: dict[Any, Callable[[object], Any]] = {
    str: _text, int: _integer, float: _number, bool: _boolean,
}  # fmt: skip


# Limits


def _between(low: float, high: float) -> Check:
    def check(value: float) -> None:
        if not low <= value <= high:
            raise ValueError(f"a number from {low} to {high}")

    return check


def _one_of(*words: str) -> Check:
    def check(value: str) -> None:
        if value not in words:
            raise ValueError("one of " + ", ".join(words))

    return check


def _matching(pattern: str, expected: str) -> Check:
    compiled = re.compile(pattern)

    def check(value: str) -> None:
        if not compiled.fullmatch(value):
            raise ValueError(expected)

    return check


def _network(value: str) -> None:
    try:
        ipaddress.ip_network(value)
    except ValueError:
        raise ValueError("a network such as 10.0.0.0/8 or fd00::/8 (no host bits set)") from None


def _base_url(value: str) -> None:
    expected = "an address such as https://git.example.org, without user, query or fragment"
    try:
        parts = urlsplit(value)
        plain = not (parts.query or parts.fragment or "@" in parts.netloc or parts.port == 0)
    except ValueError:
        raise ValueError(expected) from None
    if value and not (parts.scheme in ("http", "https") and parts.hostname and plain):
        raise ValueError(expected)


def _uplink_url(value: str) -> None:
    if not value:
        raise ValueError("an address such as https://registry.example.org")
    _base_url(value)


def _origin(value: str) -> None:
    if value != "*":
        _exact_origin(value, ", or *")


def _exact_origin(value: str, otherwise: str = "") -> None:
    expected = "an origin such as https://app.example.org (scheme, host, port; no path)"
    try:
        parts = urlsplit(value)
        exact = parts.hostname and value == f"{parts.scheme}://{parts.netloc}"
        if parts.scheme in ("http", "https") and exact and "@" not in value and parts.port != 0:
            return
    except ValueError:
        pass
    raise ValueError(expected + otherwise)


def _smtp_url(value: str) -> None:
    expected = "smtp://user:password@host:587 or smtps://host:465, or nothing"
    try:
        parts = urlsplit(value)
        known = parts.scheme in ("smtp", "smtps") and parts.hostname and parts.port != 0
    except ValueError:
        raise ValueError(expected) from None
    if value and not (known and parts.path in ("", "/") and not parts.query):
        raise ValueError(expected)


def _sender(value: str) -> None:
    address = parseaddr(value)[1]
    if not value.isprintable() or not re.fullmatch(r"[^@\s]+@[^@\s]+", address):
        raise ValueError("an address such as wit <noreply@example.org>")


def _database_url(value: str) -> None:
    if not value:
        return
    expected = "postgresql://user:password@host/name, sqlite:///FILE, or empty for DATA_DIR/wit.db"
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:
        raise ValueError(expected) from None
    if parts.scheme not in ("postgresql", "postgres", "sqlite") or len(parts.path) < 2:
        raise ValueError(expected)


_ENDPOINT_OPTIONS = {
    "tcp": {"interface", "backlog"},
    "tcp6": {"interface", "backlog"},
    "ssl": {"interface", "backlog", "privateKey", "certKey", "extraCertChain", "sslmethod",
            "dhParameters"},
    "unix": {"mode", "backlog"},
    "systemd": {"domain", "index", "name"},
}  # fmt: skip
_FIRST_OPTION = {"tcp": "port", "tcp6": "port", "ssl": "port", "unix": "address"}
_ENDPOINT_EXPECTED = {
    "tcp": "tcp:PORT[:interface=ADDRESS][:backlog=N]",
    "tcp6": "tcp6:PORT[:interface=ADDRESS][:backlog=N]",
    "ssl": "ssl:PORT:privateKey=FILE:certKey=FILE[:extraCertChain=FILE][:interface=ADDRESS]",
    "unix": "unix:PATH[:mode=660][:backlog=N]",
    "systemd": "systemd:domain=INET:name=NAME (or index=N)",
}


def split_endpoint(text: str) -> tuple[str, dict[str, str]]:
    """The type and the options of a Twisted endpoint string; the first unnamed option by its name.

    The grammar is that of ``twisted.internet.endpoints``: ``:`` and ``=`` separate, ``\\`` escapes.
    Raises ValueError with what was expected.
    """
    kind, *options = (part.split("\n", 1) for part in _tokens(text))
    if len(kind) > 1 or kind[0] not in _ENDPOINT_OPTIONS:
        known = ", ".join(_ENDPOINT_OPTIONS)
        raise ValueError(f"an endpoint ({known}) such as tcp:3000:interface=127.0.0.1, or none")
    name, first = kind[0], _FIRST_OPTION.get(kind[0])
    found: dict[str, str] = {}
    for position, option in enumerate(options):
        key = option[0] if len(option) == 2 else first if position == 0 else None
        if key is None or key in found or key not in {*_ENDPOINT_OPTIONS[name], first}:
            raise ValueError(_ENDPOINT_EXPECTED[name])
        found[key] = option[-1]
    return name, found


def _tokens(text: str) -> list[str]:
    """The parts between colons, with the first unescaped ``=`` of each turned into a newline."""
    parts, current, named, characters = [], "", False, iter(text.replace("\n", " "))
    for character in characters:
        if character == "\\":
            current += next(characters, "\\")
        elif character == ":":
            parts.append(current)
            current, named = "", False
        elif character == "=" and not named:
            current, named = current + "\n", True
        else:
            current += character
    return [*parts, current]


def _endpoint(text: str) -> None:
    name, options = split_endpoint(text)
    expected = _ENDPOINT_EXPECTED[name]
    first = _FIRST_OPTION.get(name)
    if first is not None and not options.get(first):
        raise ValueError(expected)
    if "port" in options and not (options["port"].isdecimal() and int(options["port"]) < 65536):
        raise ValueError(f"{expected}, with PORT from 0 to 65535")
    if "backlog" in options and not options["backlog"].isdecimal():
        raise ValueError(expected)
    if "mode" in options and not re.fullmatch("[0-7]{1,4}", options["mode"]):
        raise ValueError(expected)
    if options.get("interface"):
        try:
            ipaddress.ip_address(options["interface"])
        except ValueError:
            raise ValueError(f"{expected}, with ADDRESS an IP address") from None
    if name == "systemd" and (
        options.get("domain") not in ("INET", "INET6", "UNIX")
        or (options.get("index", "").isdecimal()) == bool(options.get("name"))
    ):
        raise ValueError(expected)


_NAMESPACE = _matching(r"refs/[^\s~^:?*\[\\]*[^\s~^:?*\[\\/.]", "a ref namespace such as refs/wit")
_DEFAULT_RULES: dict[type, Check] = {int: _between(1, 2**53), float: _between(0.001, 10**9)}

RULES: dict[str, Check] = {
    "server.http": _endpoint,
    "server.public_url": _base_url,
    "server.grace_seconds": _between(0, 86400),
    "server.trusted_proxies": _network,
    "server.cors_origins": _origin,
    "server.min_bytes_per_second": _between(0, 2**40),
    "ssh.listen": _endpoint,
    "ssh.host_key_algorithms": _one_of(
        "ssh-ed25519", "rsa-sha2-512", "rsa-sha2-256",
        "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521",
    ),
    "ssh.macs": _one_of(*config.Ssh().macs),
    "ssh.login_tries": _between(1, 100),
    "database.url": _database_url,
    "database.pool_min": _between(0, 1000),
    "database.pool_max": _between(1, 1000),
    "database.readers": _between(1, 64),
    "repositories.default_branch": _matching(
        r"(?!.*\.\.)(?!.*@\{)(?!.*//)[A-Za-z0-9_][^\s~^:?*\[\\]*(?<![/.])(?<!\.lock)",
        "a branch name such as main",
    ),
    "repositories.hidden_refs": _NAMESPACE,
    "repositories.read_only_refs": _NAMESPACE,
    "git.binary": _matching(r"[^-].*", "the name or path of the git program"),
    "git.max_processes": _between(1, 10_000),
    "git.max_per_repository": _between(1, 10_000),
    "git.max_per_user": _between(1, 10_000),
    "git.queue_length": _between(0, 10**6),
    "git.pack_cache_bytes": _between(0, 2**53),
    "git.maintenance_seconds": _between(0, 10**9),
    "git.scrub_days": _between(0, 36500),
    "accounts.encryption_key": _matching(
        r"(\S{32,}(\s+\S{32,})*)?",
        "32 or more random characters (openssl rand -hex 32); old keys may follow after a space",
    ),
    "accounts.secret": _matching(r"(\S{32,})?", "32 or more random characters"),
    "accounts.sign_up": _one_of("open", "invitation", "closed", "first-user"),
    "accounts.trusted_origins": _exact_origin,
    "accounts.cookie_domain": _matching(
        r"(\.?[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+)?", "a domain such as example.org, or nothing"
    ),
    "accounts.cookie_same_site": _one_of("lax", "none"),
    "accounts.github_url": _base_url,
    "accounts.github_api_url": _base_url,
    "mail.smtp": _smtp_url,
    "mail.sender": _sender,
    **{f"limits.{field.name}": _between(0, 10**6) for field in attrs.fields(config.Limits)},
    "sandboxes.provider": _matching(r"([a-z][a-z0-9-]{0,31})?", "a provider's name, or none"),
    "sandboxes.network": _one_of("none", "restricted", "full"),
    "sandboxes.networks": _one_of("none", "restricted", "full"),
    "sandboxes.allowed_hosts": _matching(
        r"(\*\.)?[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*(:[0-9]{1,5})?",
        "a host name, perhaps with a port, or *.example.org",
    ),
    "sandboxes.options": _matching(r"[a-z][a-z0-9-]*\.\w+=.*", "name.key=value"),
    "sandboxes.cpus": _between(0.05, 1024),
    "sandboxes.max_cpus": _between(0.05, 1024),
    "sandboxes.memory_bytes": _between(2**24, 2**53),
    "sandboxes.processes": _between(16, 10**6),
    "sandboxes.disk_bytes": _between(2**20, 2**53),
    "sandboxes.idle_seconds": _between(60, 10**9),
    "sandboxes.life_seconds": _between(60, 10**9),
    "sandboxes.keep_seconds": _between(60, 10**9),
    "sandboxes.warm": _between(0, 100),
    "sandboxes.warm_hosted": _between(0, 100),
    "sandboxes.local_disk": _one_of("auto", "image", "folder", "memory"),
    "sandboxes.local_first_id": _between(0, 2**32 - 2**17),
    "sandboxes.docker_pull": _one_of("never", "missing"),
    "sandboxes.e2b_api_url": _base_url,
    "sandboxes.daytona_api_url": _base_url,
    "packages.storage": _one_of("local", "s3"),
    "packages.s3_endpoint": _base_url,
    "packages.s3_region": _matching(r"[A-Za-z0-9-]{1,64}", "a region such as us-east-1"),
    "packages.s3_bucket": _matching(r"([a-z0-9][a-z0-9.-]{1,62})?", "a bucket's name"),
    "packages.s3_prefix": _matching(
        r"([\w.-]+/)*[\w.-]*", "letters, digits, dots and dashes, with / between them"
    ),
    "packages.rendered_bytes": _between(0, 2**40),
    "packages.uplinks.name": _matching(r"[A-Za-z0-9._-]{1,64}", "a short name such as npm"),
    "packages.uplinks.url": _uplink_url,
    "packages.uplinks.names": _matching(
        r"(@[a-z0-9._~*-]+/)?[A-Za-z0-9._~*-]+", "a package's name, or a pattern such as @scope/*"
    ),
    "packages.uplinks.hosts": _matching(
        r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*(:[0-9]{1,5})?", "a host name, perhaps with a port"
    ),
    "packages.uplinks.token_variable": _matching(
        r"([A-Za-z_][A-Za-z0-9_]*)?", "the name of an environment variable"
    ),
    "packages.uplinks.readers": _one_of("", "everybody", "users"),
    "packages.uplinks.max_age_seconds": _between(0, 10**9),
    "log.level": _one_of("debug", "info", "warn", "error", "critical"),
    "log.format": _one_of("text", "json"),
    "metrics.listen": _endpoint,
}  # fmt: skip
"""Limits of single values (of each item, for lists); other numbers must be positive."""
