"""superjson 2: values that JSON has no words for, as JSON with notes beside it. Sans-IO.

    {"json": {"at": "2024-01-01T00:00:00.000Z"}, "meta": {"values": {"at": ["Date"]}, "v": 1}}

``meta.values`` names places in ``json`` and what is there. A note is ``[kind]`` or ``[kind, {path:
note}]`` when there are further ones inside a Map, a Set or an Error; if the whole value is meant,
``meta.values`` is that note itself.

    Date        datetime, aware               undefined   a missing key; UNDEFINED elsewhere
    bigint      BigInt                        number      nan, inf, -inf, -0.0
    Set         set, frozenset, or Tagged     Map, RegExp, URL, Error, typed arrays: Tagged

What comes in is read with a limit on its depth; its size is that of the request. Notes of unknown
kinds, and ``referentialEqualities`` (the copies are in ``json`` as well), are passed over.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from math import copysign, isfinite, isnan
from typing import Any, Final

import attrs

from wit.errors import Invalid

MAX_NOTES = 10_000
"""Places that the meta of an input may name."""

FORBIDDEN_KEYS = frozenset({"__proto__", "prototype", "constructor"})
"""No note may lead through these: a client could be made to change its prototypes."""


@attrs.frozen
class BigInt:
    """A JavaScript bigint, which is no number: no input that asks for one takes it."""

    value: int


class Undefined:
    """The type of UNDEFINED."""

    def __repr__(self) -> str:
        return "UNDEFINED"


UNDEFINED: Final = Undefined()
"""JavaScript's undefined, where leaving the key out is not possible."""


@attrs.frozen
class Tagged:
    """A JavaScript value with no counterpart here: its superjson kind and its plain content.

    Content: a list of pairs (``map``), a list (``set``, ``typed-array``), the text (``regexp``,
    ``URL``), an object with name and message (``Error``).
    """

    kind: str
    content: Any
    array: str = ""
    """Of a typed array: the name of its class."""


# writing

_PLAIN = frozenset({str, int, bool, type(None)})
_write = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
Notes = dict[str | None, Any]


def dumps(value: Any) -> str:
    """``value`` as superjson text. Raises TypeError for what has no form on the wire."""
    return _write(serialize(value))


def serialize(value: Any) -> dict[str, Any]:
    """``{"json": ..., "meta"?: ...}``. Raises TypeError."""
    if type(value) in _PLAIN:
        return {"json": value}
    notes: Notes = {}
    form = _form(value, None, notes)
    if not notes:
        return {"json": form}
    return {"json": form, "meta": {"values": notes.get(None, notes), "v": 1}}


def _form(value: Any, path: str | None, notes: Notes) -> Any:
    """The JSON form of ``value``; what has to be noted goes to ``notes``. The root's path is
    None, because an empty key has an empty path."""
    kind = type(value)
    if kind is datetime:
        _note(notes, path, "Date")
        return _date_text(value)
    if kind is dict:
        form = {}
        for key, item in value.items():
            name = key if type(key) is str else str(key)
            if type(item) in _PLAIN:
                form[name] = item
            else:  # a client refuses a whole answer that has a forbidden key in a path
                noted = {} if name in FORBIDDEN_KEYS else notes
                form[name] = _form(item, _join(path, name), noted)
        return form
    if kind is list or kind is tuple:
        return [
            item if type(item) in _PLAIN else _form(item, _join(path, str(index)), notes)
            for index, item in enumerate(value)
        ]
    if kind is float:
        if isfinite(value) and (value or copysign(1.0, value) > 0):
            return value
        _note(notes, path, "number")
        return _number_text(value)
    return _rare_form(value, path, notes)


def _rare_form(value: Any, path: str | None, notes: Notes) -> Any:
    if value is UNDEFINED:
        _note(notes, path, "undefined")
        return None
    if isinstance(value, BigInt):
        _note(notes, path, "bigint")
        return str(value.value)
    if isinstance(value, Tagged):
        inner: Notes = {}
        form = _form(value.content, None, inner)
        _note(notes, path, ["typed-array", value.array] if value.array else value.kind, inner)
        return form
    if isinstance(value, (set, frozenset)):
        return _rare_form(Tagged("set", list(value)), path, notes)
    if isinstance(value, (str, int)):  # enumerations
        return value
    if isinstance(value, Mapping):
        return _form(dict(value), path, notes)
    raise TypeError(f"{type(value).__name__} has no form in superjson")


def _note(notes: Notes, path: str | None, kind: Any, inner: Notes | None = None) -> None:
    notes[path] = [kind, inner] if inner else [kind]


def _join(path: str | None, key: str) -> str:
    if "." in key or "\\" in key:
        key = key.replace("\\", "\\\\").replace(".", "\\.")
    return key if path is None else f"{path}.{key}"


def _date_text(value: datetime) -> str:
    if value.tzinfo is not UTC:
        if value.tzinfo is None:
            raise TypeError("a time without a time zone has no form in superjson")
        value = value.astimezone(UTC)
    return value.isoformat(timespec="milliseconds")[:-6] + "Z"


def _number_text(value: float) -> str:
    if isnan(value):
        return "NaN"
    if value == 0:
        return "-0"
    return "Infinity" if value > 0 else "-Infinity"


# reading


def deserialize(payload: Any) -> Any:
    """The value of ``{"json": ..., "meta"?: ...}``, parsed by
    :func:`wit.operations.json_text.parse_json`; it is changed
    in place. UNDEFINED if there is no ``json``. Raises Invalid."""
    if not isinstance(payload, dict):
        raise Invalid('the input must be a superjson object: {"json": ...}')
    root = [payload.get("json", UNDEFINED)]
    meta = payload.get("meta")
    if isinstance(meta, dict) and (values := meta.get("values")):
        _Notes(legacy=not meta.get("v")).apply(root, 0, values)
    return root[0]


@attrs.define
class _Notes:
    """Applies notes. ``legacy``: before version 1 a backslash in a path escaped dots only."""

    legacy: bool
    count: int = 0

    def apply(self, holder: Any, key: Any, note: Any) -> None:
        """Apply ``note`` to ``holder[key]``: first what is inside, then the value itself, because
        the paths are those of the plain JSON."""
        self.count += 1
        kind, inner = None, note
        if isinstance(note, list) and 1 <= len(note) <= 2:
            kind, inner = note[0], note[1] if len(note) == 2 else {}
        if not isinstance(inner, dict) or self.count > MAX_NOTES:
            raise Invalid("meta.values is malformed or too long")
        for path, further in inner.items():
            self.apply(*self._find(holder, key, path), further)
        if kind is not None:
            revived = _revived(holder[key], kind)
            if revived is UNDEFINED and isinstance(holder, dict):
                del holder[key]
            else:
                holder[key] = revived

    def _find(self, holder: Any, key: Any, path: str) -> tuple[Any, Any]:
        """The list or object, and the key in it, that ``path`` leads to from ``holder[key]``."""
        for part in self._parts(path):
            holder = holder[key]
            if isinstance(holder, list) and part.isascii() and part.isdigit() and len(part) < 10:
                key = int(part)
                found = key < len(holder)
            else:
                key = part
                found = isinstance(holder, dict) and part in holder and part not in FORBIDDEN_KEYS
            if not found:
                raise Invalid("meta.values names a place that is not there")
        return holder, key

    def _parts(self, path: str) -> list[str]:
        """The keys of a path. Escaped characters are put aside as surrogates, which no text that
        was parsed has."""
        if "\\" not in path:
            return path.split(".")
        if not self.legacy:
            path = path.replace("\\\\", "\ud800")
        path = path.replace("\\.", "\ud801")
        if "\\" in path and not self.legacy:
            raise Invalid("meta.values has a malformed path")
        return [part.replace("\ud800", "\\").replace("\ud801", ".") for part in path.split(".")]


def _revived(value: Any, kind: Any) -> Any:
    """What ``value`` stands for. Raises Invalid if it cannot be that."""
    try:
        match kind:
            case "undefined":
                return UNDEFINED
            case "Date":
                date = datetime.fromisoformat(value)
                return date if date.tzinfo else date.replace(tzinfo=UTC)
            case "bigint":
                return BigInt(int(value))
            case "number":
                return float(value)
            case "map" | "set" | "regexp" | "URL" | "Error":
                return Tagged(kind, value)
            case ["typed-array", str(array)]:
                return Tagged("typed-array", value, array)
    except (ValueError, TypeError, OverflowError):
        raise Invalid(f"a {kind} in the input is not valid") from None
    return value
