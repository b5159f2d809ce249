"""The routes of a sandbox's toolbox for files."""

from __future__ import annotations

import contextlib
import os
import re
import uuid
from datetime import UTC, datetime
from typing import Any

from tests.sandboxes.daytona.boxes import HOME, Box, go_mode
from tests.sandboxes.daytona.service import TOOLBOX, Answer, route


def _file_info(box: Box, path: str) -> dict[str, Any]:
    try:
        info = box.host(path).stat()
    except FileNotFoundError:
        raise Answer(404, f"stat {path}: no such file or directory") from None
    except OSError as error:
        raise Answer(400, str(error)) from None
    modified = datetime.fromtimestamp(info.st_mtime, UTC).isoformat()
    return {
        "name": path.rstrip("/").rpartition("/")[2],
        "isDir": os.path.isdir(box.host(path)),
        "size": info.st_size,
        "modTime": modified,
        "mode": go_mode(info.st_mode),
        "permissions": f"{info.st_mode & 0o777:04o}",
        "owner": str(info.st_uid),
        "group": str(info.st_gid),
    }


@route("GET", TOOLBOX + r"/files/info", "file-info")
async def _info(box: Box, *, query: Any, **_: Any) -> Any:
    return _file_info(box, _absolute(query["path"]))


def _absolute(path: str) -> str:
    return path if path.startswith("/") else f"{HOME}/{path}"


@route("GET", TOOLBOX + r"/files", "files")
async def _files(box: Box, *, query: Any, **_: Any) -> Any:
    path = _absolute(query.get("path") or ".")
    _file_info(box, path)
    infos = []
    for name in sorted(os.listdir(box.host(path))):
        with contextlib.suppress(Answer):
            infos.append(_file_info(box, f"{path}/{name}"))
    return infos


@route("DELETE", TOOLBOX + r"/files", "file-delete")
async def _remove(box: Box, *, query: Any, **_: Any) -> Any:
    os.unlink(box.host(_absolute(query["path"]), follow=False))
    return 204, None


@route("GET", TOOLBOX + r"/files/download", "download")
async def _download(box: Box, *, query: Any, **_: Any) -> Any:
    path = _absolute(query["path"])
    if _file_info(box, path)["isDir"]:
        raise Answer(400, "path must be a file")
    return box.host(path)


@route("POST", TOOLBOX + r"/files/bulk-upload", "bulk-upload")
async def _upload(box: Box, *, body: Any, request: Any, **_: Any) -> Any:
    paths: dict[str, str] = {}
    for name, content in _multipart(request.getHeader("content-type"), body):
        index, _dot, what = name.rpartition(".")
        if what == "path":
            paths[index] = content.decode().strip()
            continue
        if index not in paths:
            raise Answer(400, f"{name}: missing .path metadata")
        target = box.host(_absolute(paths[index]))
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return {"files": [{"path": path, "bytes": 0} for path in paths.values()]}


def _multipart(content_type: str, body: bytes) -> list[tuple[str, bytes]]:
    boundary = re.search(r'boundary="?([^";]+)"?', content_type)
    assert boundary is not None
    parts = []
    for piece in body.split(b"--" + boundary[1].encode())[1:-1]:
        head, _, content = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        name = re.search(rb'name="([^"]+)"', head)
        assert name is not None
        parts.append((name[1].decode(), content.removesuffix(b"\r\n")))
    return parts


@route("POST", TOOLBOX + r"/files/bulk-download", "bulk-download")
async def _bulk_download(box: Box, *, body: Any, request: Any, **_: Any) -> Any:
    boundary = uuid.uuid4().hex
    answer = b""
    for path in body["paths"]:
        found = box.host(_absolute(path))
        part, content = (
            ("file", found.read_bytes()) if found.is_file() else ("error", b"no such file")
        )
        answer += (
            (
                f'--{boundary}\r\nContent-Disposition: form-data; name="{part}"; filename="{path}"\r\n'
                "Content-Type: application/octet-stream\r\n\r\n"
            ).encode()
            + content
            + b"\r\n"
        )
    request.setHeader("content-type", f"multipart/form-data; boundary={boundary}")
    return answer + f"--{boundary}--\r\n".encode()


@route("GET", TOOLBOX + r"/(work-dir|user-home-dir)", "dir")
async def _dir(box: Box, which: str, **_: Any) -> Any:
    return {"dir": HOME}
