"""Raw requests as git makes them, and a reading of the answers."""

from __future__ import annotations

import subprocess
from base64 import b64encode

from tests.web.routes.standin import PASSWORD

UPLOAD = b"/public/tools/git-upload-pack"
BASIC = b"Authorization: Basic " + b64encode(f"alice:{PASSWORD}".encode())


def git(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["git", *arguments], check=check, capture_output=True, text=True, timeout=60
    )


def get(path: bytes, *headers: bytes) -> bytes:
    return request(b"GET", path, *headers)


def request(method: bytes, path: bytes, *headers: bytes, body: bytes = b"") -> bytes:
    lines = [method + b" " + path + b" HTTP/1.1", b"Host: h", b"Connection: close", *headers]
    if body:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*lines, b"", body])


def rpc(
    service: str, body: bytes, *headers: bytes, path: bytes = b"/public/tools", kind: str = ""
) -> bytes:
    content_type = kind or f"application/x-{service}-request"
    return request(
        b"POST",
        path + b"/" + service.encode(),
        b"Content-Type: " + content_type.encode(),
        *headers,
        body=body,
    )


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def body_of(answer: bytes) -> bytes:
    head, _, body = answer.partition(b"\r\n\r\n")
    if b"Transfer-Encoding: chunked" not in head:
        return body
    parts = []
    while body:
        size, _, body = body.partition(b"\r\n")
        parts.append(body[: int(size, 16)])
        body = body[int(size, 16) + 2 :]
    return b"".join(parts)
