"""JSON from outside, for every door that takes it."""

from __future__ import annotations

import json
import re
from typing import Any

from wit.errors import Invalid

MAX_DEPTH = 100
"""Lists and objects inside each other that an input may have."""

_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def parse_json(text: str) -> Any:
    """JSON no deeper than MAX_DEPTH, and text in it that can be stored. Raises Invalid.

    Numbers are JavaScript's, of which there is one kind: 5.0 and 5e0 are 5.
    """
    try:
        value = json.loads(text, parse_constant=_no_constant, parse_float=_number)
    except RecursionError:
        raise Invalid(f"the JSON is deeper than {MAX_DEPTH} levels") from None
    except ValueError as error:
        raise Invalid(f"the JSON is malformed: {error}") from None
    if text.count("[") + text.count("{") > MAX_DEPTH:
        _check_depth(value)
    if "\\u0000" in text and _NUL.search(text):
        raise Invalid("text must not have NUL characters")
    if _SURROGATE.search(text):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise Invalid("text must not have lone surrogates") from None
    return value


def _number(text: str) -> int | float:
    value = float(text)
    return int(value) if value.is_integer() else value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            item
            for holder in level
            if isinstance(holder, (list, dict))
            for item in (holder if isinstance(holder, list) else holder.values())
            if isinstance(item, (list, dict))
        ]
        if not level:
            return
    raise Invalid(f"the JSON is deeper than {MAX_DEPTH} levels")
