"""A daemon as E2B has one in every sandbox, for tests; it runs inside the walls of a sandbox.

What is on the wire (Connect, protobuf's JSON) is done by the server stubs of E2B's own package;
behind them are real processes and files. It behaves as E2B's source says its daemon does: output
that nobody follows is thrown away, a slow follower stops the command, a process outlives its
stream, the end of a process is told for half a minute after it.

    python -m tests.sandboxes.e2b.envd SOCKET
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import socketserver
import sys
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs
from wsgiref.simple_server import ServerHandler, WSGIRequestHandler

from tests.sandboxes.e2b.processes import Processes, User, user_of
from tests.sandboxes.e2b.stubs import Code, ConnectError, fs, fs_service, service

CHUNK = 32 * 1024


Start = Callable[..., Any]
Environ = dict[str, Any]


class Files(fs_service.FilesystemSync):
    """The filesystem service, as far as it is used."""

    def stat(self, request: Any, ctx: Any) -> Any:
        return fs.StatResponse(entry=_entry(request.path))

    def make_dir(self, request: Any, ctx: Any) -> Any:
        if os.path.isdir(request.path):
            raise ConnectError(Code.ALREADY_EXISTS, f"directory already exists: {request.path}")
        if os.path.exists(request.path):
            raise ConnectError(Code.INVALID_ARGUMENT, "path already exists")
        user_of(ctx.request_headers).make_folders(request.path)
        return fs.MakeDirResponse(entry=_entry(request.path))

    def list_dir(self, request: Any, ctx: Any) -> Any:
        if not os.path.exists(request.path):
            raise ConnectError(Code.NOT_FOUND, f"path not found: {request.path}")
        if not os.path.isdir(request.path):
            raise ConnectError(Code.INVALID_ARGUMENT, f"path is not a directory: {request.path}")
        names = sorted(os.listdir(request.path))
        return fs.ListDirResponse(entries=[_entry(f"{request.path}/{name}") for name in names])

    def remove(self, request: Any, ctx: Any) -> Any:
        if os.path.isdir(request.path) and not os.path.islink(request.path):
            shutil.rmtree(request.path)
        elif os.path.lexists(request.path):
            os.unlink(request.path)
        return fs.RemoveResponse()


def _entry(path: str) -> Any:
    try:
        found = os.lstat(path)
    except FileNotFoundError as error:
        raise ConnectError(Code.NOT_FOUND, f"file not found: {error}") from error
    except OSError as error:
        words = os.strerror(error.errno or 0).lower()
        raise ConnectError(
            Code.INTERNAL, f"error getting file info: lstat {path}: {words}"
        ) from error
    link = os.path.islink(path)
    kind = fs.FileType.UNSPECIFIED
    if os.path.isfile(path):
        kind = fs.FileType.FILE
    elif os.path.isdir(path):
        kind = fs.FileType.DIRECTORY
    return fs.EntryInfo(
        name=os.path.basename(path),
        type=kind,
        path=path,
        size=found.st_size,
        mode=found.st_mode & 0o777,
        symlink_target=os.path.realpath(path) if link else None,
        is_symlink=link,
    )


class Application:
    """Everything under one address, for who has the token."""

    def __init__(self) -> None:
        self._token = ""
        self._env: dict[str, str] = {}
        self._processes = service.ProcessWSGIApplication(Processes(self._env))
        self._files = fs_service.FilesystemWSGIApplication(Files())

    def __call__(self, environ: Environ, start: Start) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path == "/health":
            start("204 No Content", [])
            return []
        if path == "/init":
            given = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
            self._token = given["accessToken"]
            self._env.update(given["envVars"])
            start("204 No Content", [])
            return []
        if environ.get("HTTP_X_ACCESS_TOKEN") != self._token:
            return _answer(start, 401, "unauthenticated", "unauthorized access")
        if path.startswith("/process.Process/"):
            app: Any = self._processes
        elif path.startswith("/filesystem.Filesystem/"):
            app = self._files
        else:
            return self._file(environ, start)
        return app(environ, start)

    def _file(self, environ: Environ, start: Start) -> Iterable[bytes]:
        path = parse_qs(environ["QUERY_STRING"]).get("path", [""])[0]
        if os.path.isdir(path):
            return _answer(start, 400, 400, f"path '{path}' is a directory")
        if environ["REQUEST_METHOD"] == "POST":
            return self._write(environ, start, path)
        try:
            file = open(path, "rb")
        except FileNotFoundError:
            return _answer(start, 404, 404, f"path '{path}' does not exist")
        size = os.fstat(file.fileno()).st_size
        start("200 OK", [("Content-Length", str(size)), ("Content-Type", "text/plain")])
        return iter(lambda: file.read(CHUNK), b"")

    def _write(self, environ: Environ, start: Start, path: str) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        kind = environ["CONTENT_TYPE"]
        if kind.startswith("multipart/form-data"):
            boundary = b"--" + kind.partition("boundary=")[2].encode()
            _, part, rest = body.split(boundary, 2)
            if rest.strip() != b"--":
                return _answer(start, 500, 500, "error reading form")
            head, _, content = part.partition(b"\r\n\r\n")
            if b'name="file"' not in head:
                return _answer(start, 400, 400, "no field 'file'")
            body = content.removesuffix(b"\r\n")
        user = user_of({})
        try:
            user.make_folders(os.path.dirname(path))
            with open(path, "wb") as file:
                file.write(body)
        except OSError as error:
            status = 507 if error.errno == 28 else 500
            return _answer(start, status, status, f"error writing file: {error}")
        user.own(path)
        info = [{"path": path, "name": os.path.basename(path), "type": "file"}]
        start("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(info).encode()]


def _answer(start: Start, status: int, code: object, message: str) -> Iterable[bytes]:
    start(f"{status} No", [("Content-Type", "application/json")])
    return [json.dumps({"code": code, "message": message}).encode()]


class Handler(WSGIRequestHandler):
    """One request to a connection, without a word on standard error."""

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def get_environ(self) -> Environ:
        self.client_address = ("unix", 0)
        return super().get_environ()

    def handle(self) -> None:
        self.raw_requestline = self.rfile.readline(65537)
        if self.raw_requestline and self.parse_request():
            body = io.BytesIO(self.rfile.read(int(self.headers.get("content-length") or 0)))
            with contextlib.suppress(ConnectionError):
                handler = _Quiet(body, self.wfile, sys.stderr, self.get_environ())  # type: ignore[arg-type]
                handler.request_handler = self  # type: ignore[attr-defined]
                handler.run(self.server.application)  # type: ignore[attr-defined]


class _Quiet(ServerHandler):
    def log_exception(self, exc_info: Any) -> None:
        if not issubclass(exc_info[0], ConnectionError):
            super().log_exception(exc_info)


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, path: str) -> None:
        super().__init__(path, Handler)
        self.application = Application()
        self.base_environ = {
            "SERVER_NAME": "envd",
            "SERVER_PORT": "49983",
            "SCRIPT_NAME": "",
            "GATEWAY_INTERFACE": "CGI/1.1",
            "REMOTE_HOST": "",
            "CONTENT_LENGTH": "",
        }

    def get_app(self) -> Any:
        return self.application


if __name__ == "__main__":
    for folder in ("/root", "/home/user"):
        os.makedirs(folder, exist_ok=True)
    with contextlib.suppress(ConnectError, OSError):
        User("user").own("/home/user")
    server = Server(sys.argv[1])
    print("ready", flush=True)
    server.serve_forever()
