"""Files in sandboxes as streams of bytes: single ones, and folders as tar archives. REST only."""

from __future__ import annotations

from wit.operations.call import Call
from wit.operations.registry import Raw, Rest, Router, Style
from wit.operations.routers.sandboxes import ONE
from wit.operations.routers.sandboxes_files import FILES, OfFile, OfFolder, Put, put
from wit.operations.sandbox_shapes import SIGNED_IN, USING
from wit.operations.shapes import Success
from wit.operations.v1_shapes import V1
from wit.streams import BytesSource
from wit.web.middleware.bodies import read_all

BYTES, TAR = "application/octet-stream", "application/x-tar"

MAX_BYTES = 16 * 1024 * 1024
"""Of a file; larger ones go by archive."""

MAX_ARCHIVE = 16 * 1024**3
"""Bytes; the sandbox's disk is smaller."""

PLACE, ARCHIVE = f"{V1}{FILES}", f"{V1}{ONE}/archive"

router = Router("sandboxes.bytes", trpc=False)


@router.query(
    "read",
    access=SIGNED_IN,
    errors=(*USING, "too_large"),
    rest=Rest("GET", PLACE, style=Style.V1, gives=BYTES),
)
async def read(call: Call, values: OfFile) -> Raw:
    """A file as it is."""
    data = await call.core.sandboxes.read_file(call.actor, values.sandboxId, values.path, MAX_BYTES)
    return BytesSource(data)


@router.mutation(
    "write",
    access=SIGNED_IN,
    errors=(*USING, "too_large"),
    rest=Rest("PUT", PLACE, style=Style.V1, takes=BYTES),
    max_body=MAX_BYTES,
)
async def write(call: Call, values: Put) -> Success:
    """Write the body into a file, and make its folders if they are not there."""
    await put(call, values, await read_all(call.body))
    return {"success": True}


@router.query(
    "download",
    access=SIGNED_IN,
    errors=USING,
    rest=Rest("GET", ARCHIVE, style=Style.V1, gives=TAR),
)
async def download(call: Call, values: OfFolder) -> Raw:
    """A file or a folder as a tar archive; names are relative to the folder."""
    return await call.core.sandboxes.download(call.actor, values.sandboxId, values.path)


@router.mutation(
    "upload",
    access=SIGNED_IN,
    errors=(*USING, "too_large"),
    rest=Rest("PUT", ARCHIVE, style=Style.V1, takes=TAR),
    limit="upload",
    max_body=MAX_ARCHIVE,
)
async def upload(call: Call, values: OfFolder) -> Success:
    """Unpack the body, a tar archive, below a folder."""
    await call.core.sandboxes.upload(call.actor, values.sandboxId, values.path, call.body)
    return {"success": True}
