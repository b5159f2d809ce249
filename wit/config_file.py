"""The ``wit.toml`` that is written on the first start: every key, explained and commented out.

It is made from the docstrings and defaults of :mod:`wit.config`, so it cannot fall behind them.
"""

from __future__ import annotations

import ast
import inspect
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import attrs

from wit import config
from wit.config_rules import SECTIONS, TABLES

_HEAD = """\
# Settings of wit.
#
# A line that starts with "#" followed by a key shows that key's default; remove the "#" to change
# it. What stands here is overruled by the environment (WIT_<SECTION>_<KEY>, lists with commas) and
# that by the flags of the command line. Sizes are bytes, times are seconds, paths are relative to
# this file's folder. "wit config print" shows which value comes from where.
"""


def default_text() -> str:
    """The whole file."""
    lines = [_HEAD]
    comments = _attribute_docstrings()
    for section, cls in SECTIONS.items():
        lines += [f"# {inspect.getdoc(cls)}", f"[{section}]", ""]
        for field in attrs.fields(cls):
            comment = comments[cls.__name__, field.name]
            lines += [f"# {line}" for line in comment.splitlines()]
            lines += _example(f"{section}.{field.name}", comments)
            note = _in_words(field.name, field.default)
            lines += [f"#{field.name} = {toml_value(field.default)}{note}", ""]
    return "\n".join(lines)


def _example(key: str, comments: dict[tuple[str, str], str]) -> list[str]:
    """One table of a list of tables, as a comment; nothing for other keys."""
    if key not in TABLES:
        return []
    cls = TABLES[key]
    lines = ["#", f"#   # {inspect.getdoc(cls)}", f"#   [[{key}]]"]
    for field in attrs.fields(cls):
        lines += [f"#   # {line}" for line in comments[cls.__name__, field.name].splitlines()]
        required = field.default is attrs.NOTHING
        value = '"..."' if required else toml_value(field.default)
        lines.append(f"#   {field.name} = {value}{_in_words(field.name, field.default)}")
    return [*lines, "#"]


def write_default(data_dir: Path) -> Path:
    """Make ``data_dir`` (0700) and its ``wit.toml`` (0600) unless they exist. Raises OSError."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = data_dir / "wit.toml"
    if path.exists():
        return path
    # Whole or not at all: another process may be reading it at this moment.
    handle, temporary = tempfile.mkstemp(dir=data_dir, prefix=".wit.toml.")  # mode 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(default_text())
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        os.unlink(temporary)
    return path


def toml_value(value: Any) -> str:
    """A value as TOML 1.0 writes it (JSON's texts are TOML's basic strings)."""
    if isinstance(value, tuple):
        return "[" + ", ".join(toml_value(item) for item in value) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if attrs.has(type(value)):
        fields = attrs.asdict(value, recurse=False).items()
        return "{" + ", ".join(f"{name} = {toml_value(item)}" for name, item in fields) + "}"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def _in_words(name: str, value: Any) -> str:
    if name.endswith("_bytes"):
        for unit, size in (("GiB", config.GIB), ("MiB", config.MIB)):
            if value and value % size == 0:
                return f"  # {value // size} {unit}"
    return ""


def _attribute_docstrings() -> dict[tuple[str, str], str]:
    """(class, attribute) -> the text below the attribute in the source of wit.config."""
    found: dict[tuple[str, str], str] = {}
    for cls in ast.parse(inspect.getsource(config)).body:
        if not isinstance(cls, ast.ClassDef):
            continue
        for statement, below in zip(cls.body, cls.body[1:], strict=False):
            if (
                isinstance(statement, ast.AnnAssign)
                and isinstance(statement.target, ast.Name)
                and isinstance(below, ast.Expr)
                and isinstance(below.value, ast.Constant)
            ):
                found[cls.name, statement.target.id] = inspect.cleandoc(str(below.value.value))
    return found
