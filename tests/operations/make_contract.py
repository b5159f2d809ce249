"""Makes contract.json, the facts of the reference server's tRPC API that test_contract.py checks.

    python tests/operations/make_contract.py ../shared/contract/trpc.json

A procedure is ``{kind, input, inputOptional, output}``: the input as JSON Schema, the output as a
shape. A shape is None (anything), or ``{"object": {key: shape, "key?": shape}}``,
``{"list": shape}``, ``{"any": [shape, ...]}``; texts, numbers and the like are None. ``key?`` may
be missing or undefined.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

ROUTERS = (
    "auth",
    "users",
    "tokens",
    "sshKeys",
    "oauthApps",
    "organizations",
    "collaborators",
    "repos",
    "branchProtection",
    "activity",
    "admin",
    "userAiKeys",
    "repoAiKeys",
    "sandbox",
    "packages",
)

TOKEN = re.compile(r'\s*("(?:[^"\\]|\\.)*"|[A-Za-z_][A-Za-z0-9_]*|\d+|\[\]|[{}()<>:;?|&,=]|=>|\S)')


UNDEFINED = "undefined"


class Types:
    """Parses the TypeScript-like notation of trpc.json."""

    def __init__(self, named: dict[str, str]) -> None:
        self._named = named

    def shape(self, text: str) -> Any:
        self._tokens = TOKEN.findall(re.sub(r"/\*.*?\*/", "", text))
        parsed = self._union()
        assert not self._tokens, (text, self._tokens)
        return parsed

    def _next(self) -> str:
        return str(self._tokens.pop(0))

    def _at(self, token: str) -> bool:
        if self._tokens and self._tokens[0] == token:
            self._tokens.pop(0)
            return True
        return False

    def _expect(self, token: str) -> None:
        assert self._at(token), (token, self._tokens[:10])

    def _union(self) -> Any:
        self._at("|")
        parts = [self._intersection()]
        while self._at("|"):
            parts.append(self._intersection())
        self._maybe_undefined = UNDEFINED in parts
        self._only_undefined = parts == [UNDEFINED]
        objects = [part for part in parts if part not in (None, UNDEFINED)]
        if not objects:
            return None
        return objects[0] if len(objects) == 1 else {"any": objects}

    def _intersection(self) -> Any:
        parts = [self._list()]
        while self._at("&"):
            parts.append(self._list())
        if len(parts) == 1:
            return parts[0]
        merged: dict[str, Any] = {}
        for part in parts:
            merged.update(part["object"])
        return {"object": merged}

    def _list(self) -> Any:
        found = self._one()
        while self._at("[]"):
            found = {"list": found}
        return found

    def _one(self) -> Any:
        token = self._next()
        if token == "{":
            return self._object()
        if token == "(":
            found = self._union()
            self._expect(")")
            return found
        if token in ("Record", "Array"):
            self._expect("<")
            found = self._union()
            while self._at(","):
                self._union()
            self._expect(">")
            return {"list": found} if token == "Array" else None
        if token in self._named:
            return Types(self._named).shape(self._named[token])
        return UNDEFINED if token == "undefined" else None

    def _object(self) -> Any:
        keys: dict[str, Any] = {}
        index = False
        while not self._at("}"):
            if self._at("["):  # an index signature
                index = True
                while self._next() != "]":
                    pass
                key = ""
            else:
                key = self._next().strip('"')
            optional = "?" if self._at("?") else ""
            self._expect(":")
            value = self._union()
            if self._maybe_undefined:
                optional = "?"
            if key and not self._only_undefined:
                keys[key + optional] = value
            self._at(";")
        return None if index and not keys else {"object": keys}


def main() -> None:
    source = json.loads(Path(sys.argv[1]).read_text())
    types = Types(source["types"])
    procedures = {
        procedure["name"]: {
            "kind": procedure["type"],
            "input": procedure["input"],
            "inputOptional": bool(procedure.get("inputOptional")),
            "output": types.shape(procedure["output"]),
        }
        for procedure in source["procedures"]
        if procedure["name"].split(".")[0] in ROUTERS
    }
    lines = ",\n".join(
        f"{json.dumps(name)}: {json.dumps(facts, separators=(',', ':'))}"
        for name, facts in procedures.items()
    )
    Path(__file__).with_name("contract.json").write_text("{\n" + lines + "\n}\n")


if __name__ == "__main__":
    main()
