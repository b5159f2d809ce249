"""The processes of the fake's daemon: real ones, behind the stubs of E2B's process service."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import os
import queue
import signal
import struct
import subprocess
import termios
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tests.sandboxes.e2b.stubs import Code, ConnectError, Oneof, pb, service

CHUNK = 32 * 1024
REMEMBERED_SECONDS = 30.0
KEEPALIVE_SECONDS = 90.0


class User:
    """Who a request acts as."""

    def __init__(self, name: str) -> None:
        if name not in ("user", "root"):
            raise ConnectError(Code.UNAUTHENTICATED, f"invalid username: '{name}'")
        self.name = name
        self.home = "/root" if name == "root" else "/home/user"
        many = os.getuid() == 0 and os.environ.get("ENVD_USERS") == "many"
        self.uid = 1000 if many and name == "user" else None

    def own(self, path: str) -> None:
        if self.uid is not None:
            os.chown(path, self.uid, self.uid, follow_symlinks=False)

    def make_folders(self, path: str) -> None:
        missing = []
        while not os.path.lexists(path):
            missing.append(path)
            path = os.path.dirname(path)
        for one in reversed(missing):
            os.mkdir(one, 0o755)
            self.own(one)


def user_of(headers: Any) -> User:
    text = headers.get("authorization") or ""
    if not text:
        return User("user")
    name, _, _ = base64.b64decode(text.removeprefix("Basic ")).decode().partition(":")
    return User(name)


class Follower:
    def __init__(self) -> None:
        self.events: queue.Queue[Any] = queue.Queue(16)
        self.gone = False


class Process:
    """A process and who follows it."""

    def __init__(self, request: Any, user: User, sandbox_env: Mapping[str, str]) -> None:
        config = request.process
        self.config = config
        self.tag = request.tag if request.has_field("tag") else None
        self.followers: list[Follower] = []
        self.lock = threading.Lock()
        self.input_lock = threading.Lock()
        self.ended = threading.Event()
        self.end: Any = None
        self.terminal: int | None = None
        cwd = config.cwd or user.home
        if not os.path.exists(cwd):
            raise ConnectError(Code.INVALID_ARGUMENT, f"cwd '{cwd}' does not exist")
        env = {
            "PATH": os.environ["PATH"],
            "HOME": user.home,
            "USER": user.name,
            "LOGNAME": user.name,
            **sandbox_env,
            **dict(config.envs),
        }
        options: dict[str, Any] = {"cwd": cwd, "env": env}
        if user.uid is not None:
            options.update(user=user.uid, group=user.uid, extra_groups=[])
        argv = ["/bin/sh", "-c", 'exec /usr/bin/nice -n 0 "${@}"', "--", config.cmd, *config.args]
        if request.has_field("pty"):
            ours, theirs = os.openpty()
            self.terminal = ours
            self.resize(request.pty.size)
            self.process = subprocess.Popen(
                argv,
                stdin=theirs,
                stdout=theirs,
                stderr=theirs,
                start_new_session=True,
                preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
                **options,
            )
            os.close(theirs)
            self.sources = [("pty", ours)]
        else:
            wanted = not request.has_field("stdin") or request.stdin
            self.process = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE if wanted else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                **options,
            )
            assert self.process.stdout is not None and self.process.stderr is not None
            self.sources = [
                ("stdout", self.process.stdout.fileno()),
                ("stderr", self.process.stderr.fileno()),
            ]

    def follow(self) -> Follower:
        follower = Follower()
        with self.lock:
            self.followers.append(follower)
            if self.ended.is_set():
                follower.events.put(self.end)
        return follower

    def run(self, forget: Callable[[], None]) -> None:
        readers = [threading.Thread(target=self._read, args=one) for one in self.sources]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        code = self.process.wait()
        if self.terminal is not None:
            os.close(self.terminal)
        if code >= 0:
            end = pb.ProcessEvent.EndEvent(
                exit_code=code,
                exited=True,
                status=f"exit status {code}",
                error=f"exit status {code}" if code else None,
            )
        else:
            words = f"signal: {(signal.strsignal(-code) or '').lower()}"
            end = pb.ProcessEvent.EndEvent(exit_code=-1, status=words, error=words)
        with self.lock:
            self.end = _event("end", end)
            self.ended.set()
        self._tell(self.end)
        timer = threading.Timer(REMEMBERED_SECONDS, forget)
        timer.daemon = True
        timer.start()

    def _read(self, kind: Any, source: int) -> None:
        while True:
            try:
                data = os.read(source, CHUNK)
            except OSError:
                return
            if not data:
                return
            output = pb.ProcessEvent.DataEvent(output=Oneof(kind, data))
            self._tell(_event("data", output))

    def _tell(self, event: Any) -> None:
        with self.lock:
            followers = list(self.followers)
        for follower in followers:
            while not follower.gone:
                with contextlib.suppress(queue.Full):
                    follower.events.put(event, timeout=0.1)
                    break

    def resize(self, size: Any) -> None:
        if self.terminal is None:
            raise ConnectError(Code.INVALID_ARGUMENT, "tty not assigned to process")
        packed = struct.pack("HHHH", size.rows, size.cols, 0, 0)
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, packed)

    def write(self, given: Any) -> None:
        match given:
            case Oneof("pty", data):
                target = self.terminal
            case Oneof("stdin", data):
                pipe = self.process.stdin
                target = None if pipe is None or pipe.closed else pipe.fileno()
            case _:
                raise ConnectError(Code.UNIMPLEMENTED, "no input")
        if target is None:
            raise ConnectError(Code.INTERNAL, "stdin not enabled or closed")
        view = memoryview(data)
        with self.input_lock:
            try:
                while view:
                    view = view[os.write(target, view) :]
            except OSError as error:
                raise ConnectError(Code.INTERNAL, f"error writing to stdin: {error}") from error

    def close_input(self) -> None:
        if self.terminal is not None:
            raise ConnectError(Code.INTERNAL, "cannot close stdin for PTY process")
        with self.input_lock:
            if self.process.stdin is not None:
                self.process.stdin.close()


class Processes(service.ProcessSync):
    """The process service."""

    def __init__(self, env: dict[str, str]) -> None:
        self._env = env
        self._all: dict[int, Process] = {}

    def _find(self, selector: Any) -> Process:
        match selector.selector:
            case Oneof("pid", pid):
                if pid in self._all:
                    return self._all[pid]
                raise ConnectError(Code.NOT_FOUND, f"process with pid {pid} not found")
            case Oneof("tag", tag):
                for process in self._all.values():
                    if process.tag == tag:
                        return process
        raise ConnectError(Code.NOT_FOUND, "process not found")

    def _running(self, selector: Any) -> Process:
        process = self._find(selector)
        if process.ended.is_set():
            raise ConnectError(Code.NOT_FOUND, "process has ended")
        return process

    def list(self, request: Any, ctx: Any) -> Any:
        running = [(pid, one) for pid, one in self._all.items() if not one.ended.is_set()]
        return pb.ListResponse(
            processes=[
                pb.ProcessInfo(config=one.config, pid=pid, tag=one.tag) for pid, one in running
            ]
        )

    def start(self, request: Any, ctx: Any) -> Iterator[Any]:
        process = Process(request, user_of(ctx.request_headers), self._env)
        pid = process.process.pid
        self._all[pid] = process
        follower = process.follow()
        threading.Thread(
            target=process.run, args=(lambda: self._all.pop(pid, None),), daemon=True
        ).start()
        life = ctx.request_headers.get("connect-timeout-ms")
        if life and int(life):
            timer = threading.Timer(int(life) / 1000, process.process.kill)
            timer.daemon = True
            timer.start()
        return self._events(process, follower, ctx, pb.StartResponse)

    def connect(self, request: Any, ctx: Any) -> Iterator[Any]:
        process = self._find(request.process)
        return self._events(process, process.follow(), ctx, pb.ConnectResponse)

    def _events(self, process: Process, follower: Follower, ctx: Any, wrap: Any) -> Iterator[Any]:
        seconds = float(ctx.request_headers.get("keepalive-ping-interval") or KEEPALIVE_SECONDS)
        started = pb.ProcessEvent.StartEvent(pid=process.process.pid)
        try:
            yield wrap(event=_event("start", started))
            while True:
                try:
                    event = follower.events.get(timeout=seconds)
                except queue.Empty:
                    alive = pb.ProcessEvent.KeepAlive()
                    event = _event("keepalive", alive)
                yield wrap(event=event)
                if event is process.end:
                    return
        finally:
            follower.gone = True
            with process.lock:
                process.followers.remove(follower)

    def update(self, request: Any, ctx: Any) -> Any:
        self._running(request.process).resize(request.pty.size)
        return pb.UpdateResponse()

    def send_input(self, request: Any, ctx: Any) -> Any:
        self._running(request.process).write(request.input.input)
        return pb.SendInputResponse()

    def close_stdin(self, request: Any, ctx: Any) -> Any:
        self._running(request.process).close_input()
        return pb.CloseStdinResponse()

    def send_signal(self, request: Any, ctx: Any) -> Any:
        number = 9 if request.signal == pb.Signal.SIGKILL else 15
        self._running(request.process).process.send_signal(number)
        return pb.SendSignalResponse()


def _event(kind: Any, value: Any) -> Any:
    return pb.ProcessEvent(event=Oneof(kind, value))
