"""Files in sandboxes, one by one, as text or base64.

Paths are relative to the workspace, or absolute. In addresses they are in the query: a path of
several segments has no other place in an OpenAPI document.
"""

from __future__ import annotations

import base64
import binascii
from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict

from wit.errors import Invalid, TooLarge
from wit.operations.call import Call
from wit.operations.inputs import MAX_LIST, ListLimit, Offset
from wit.operations.registry import Router
from wit.operations.routers.sandboxes import ONE
from wit.operations.sandbox_shapes import SIGNED_IN, USING, OfSandbox, Path
from wit.operations.shapes import Success
from wit.operations.v1_shapes import route
from wit.sandboxes.provider import WORKSPACE

MAX_TEXT = 4 * 1024 * 1024
"""Bytes of a file in a JSON answer or input."""
FILES = f"{ONE}/files"

Encoding = Literal["utf-8", "base64"]

router = Router("sandboxes")


class OfFile(OfSandbox):
    path: Path


class OfFolder(OfSandbox):
    path: Path = WORKSPACE


class Listed(OfFolder):
    limit: ListLimit = MAX_LIST
    offset: Offset = 0


class Put(OfFile):
    executable: bool = False


class Write(Put):
    content: Annotated[str, Field(max_length=2 * MAX_TEXT)]
    encoding: Encoding = "utf-8"


class FileShape(TypedDict):
    """``encoding`` is base64 for what is not UTF-8."""

    content: str
    encoding: Encoding
    size: int


class EntryShape(TypedDict):
    """``kind``: file, directory, symlink or other; ``target``: of a symlink."""

    name: str
    kind: str
    size: int
    mode: int
    modifiedAt: datetime | None
    target: str | None


@router.query("readFile", access=SIGNED_IN, errors=(*USING, "too_large"))
async def read_file(call: Call, values: OfFile) -> FileShape:
    """A file's content."""
    data = await call.core.sandboxes.read_file(call.actor, values.sandboxId, values.path, MAX_TEXT)
    try:
        return {"content": data.decode(), "encoding": "utf-8", "size": len(data)}
    except UnicodeDecodeError:
        content = base64.b64encode(data).decode()
        return {"content": content, "encoding": "base64", "size": len(data)}


@router.mutation("writeFile", access=SIGNED_IN, errors=(*USING, "too_large"), max_body=3 * MAX_TEXT)
async def write_file(call: Call, values: Write) -> Success:
    """Write a file whole, and its folders if they are not there."""
    await put(call, values, _decoded(values))
    return {"success": True}


@router.query("listFiles", access=SIGNED_IN, errors=USING, rest=route("GET", f"{FILES}/list"))
async def list_files(call: Call, values: Listed) -> list[EntryShape]:
    """What is in a folder, by name."""
    entries = await call.core.sandboxes.list_files(call.actor, values.sandboxId, values.path)
    return [
        {
            "name": entry.name,
            "kind": entry.kind,
            "size": entry.size,
            "mode": entry.mode,
            "modifiedAt": entry.modified_at,
            "target": entry.target,
        }
        for entry in entries[values.offset : values.offset + values.limit]
    ]


@router.mutation("removeFile", access=SIGNED_IN, errors=USING, rest=route("DELETE", FILES))
async def remove_file(call: Call, values: OfFile) -> Success:
    """Remove a file, or a folder with all that is in it."""
    await call.core.sandboxes.remove_file(call.actor, values.sandboxId, values.path)
    return {"success": True}


async def put(call: Call, values: Put, content: bytes) -> None:
    """Raises what Sandboxes.write_file raises."""
    mode = 0o755 if values.executable else 0o644
    await call.core.sandboxes.write_file(call.actor, values.sandboxId, values.path, content, mode)


def _decoded(values: Write) -> bytes:
    """Raises Invalid, TooLarge."""
    if values.encoding == "utf-8":
        try:
            content = values.content.encode()
        except UnicodeEncodeError:
            raise Invalid("the content is not UTF-8") from None
    else:
        try:
            content = base64.b64decode(values.content, validate=True)
        except (binascii.Error, ValueError):
            raise Invalid("the content is not base64") from None
    if len(content) > MAX_TEXT:
        raise TooLarge(f"a file has at most {MAX_TEXT} bytes here; larger ones go by archive")
    return content
