"""What is inside a sandbox of the fake: real processes, in a small file system of their own."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
import stat
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.threads import blockingCallFromThread

MARKERS = {"out": b"\x01\x01\x01", "err": b"\x02\x02\x02"}
HOME = "/home/daytona"
SLOW_CONSUMER = 256
_reactor: Any = reactor


class Box:
    """The inside of one sandbox."""

    def __init__(self, box_id: str, folder: Path, env: Mapping[str, str], network: bool) -> None:
        self.id, self.folder, self.env, self.network = box_id, folder, dict(env), network
        for name in ("workspace", "tmp", "home"):
            (folder / name).mkdir(parents=True)
        (folder / "tmp").chmod(0o1777)
        self.sessions: dict[str, Session] = {}
        self.terminals: dict[str, PtySession] = {}

    def argv(self, *command: str) -> list[str]:
        walls = ["bwrap", "--ro-bind", "/usr", "/usr", "--ro-bind", "/etc", "/etc"]
        for name in ("bin", "sbin", "lib", "lib64"):
            if os.path.islink(f"/{name}"):
                walls += ["--symlink", f"usr/{name}", f"/{name}"]
        walls += ["--dev", "/dev", "--ro-bind", "/proc", "/proc", "--ro-bind-try", "/sys", "/sys"]
        walls += ["--bind", str(self.folder / "workspace"), "/workspace"]
        walls += ["--bind", str(self.folder / "tmp"), "/tmp"]
        walls += ["--bind", str(self.folder / "home"), HOME, "--chdir", HOME]
        return [*walls, *([] if self.network else ["--unshare-net"]), "--", *command]

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        basic = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME": HOME}
        return {**basic, **self.env, **(more or {}), "FAKE_BOX": self.id}

    def host(self, path: str, *, follow: bool = True) -> Path:
        """Where a path of the sandbox is on this machine, its symlinks followed inside."""
        done: list[str] = []
        todo = [part for part in path.split("/") if part not in ("", ".")]
        links = 0
        while todo:
            part = todo.pop(0)
            if part == "..":
                done = done[:-1]
                continue
            here = self._mapped([*done, part])
            if (todo or follow) and here.is_symlink():
                links += 1
                if links > 40:
                    raise OSError(errno.ELOOP, "too many links")
                target = os.readlink(here)
                if target.startswith("/"):
                    done = []
                todo = [one for one in target.split("/") if one not in ("", ".")] + todo
                continue
            done.append(part)
        return self._mapped(done)

    def _mapped(self, parts: list[str]) -> Path:
        if parts[:1] in (["workspace"], ["tmp"]):
            return self.folder.joinpath(*parts)
        if parts[:2] == ["home", "daytona"]:
            return self.folder.joinpath("home", *parts[2:])
        if parts[:1] in (["usr"], ["bin"], ["lib"], ["etc"]) or not parts:
            return Path("/", *parts)
        return self.folder.joinpath("nothing", *parts)

    def execute(self, command: str, cwd: str | None, env: Mapping[str, str], seconds: float) -> Any:
        """(code, output), or None when it took too long. Blocks."""
        child = subprocess.Popen(
            self.argv("bash"),
            env=self.environment(env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        text = (f"cd {cwd}\n" if cwd else "") + command + "\n"
        try:
            output, _ = child.communicate(text.encode(), timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.communicate()
            return None
        return child.returncode, output.decode(errors="replace")

    def end(self) -> None:
        """Kill all that runs in it."""
        for session in list(self.sessions.values()):
            session.end()
        for terminal in list(self.terminals.values()):
            terminal.kill()
        mark = f"FAKE_BOX={self.id}".encode()
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    os.kill(int(entry.name), signal.SIGKILL)


class SessionCommand:
    def __init__(self, command_id: str, text: str, folder: Path, inside: str) -> None:
        self.id, self.text, self.folder, self.inside = command_id, text, folder, inside
        self.log = folder / "log"
        self.code: int | None = None
        self.suppress_echo = False
        self.lock = threading.Lock()

    def add(self, channel: str, line: bytes) -> None:
        with self.lock, self.log.open("ab") as log:
            log.write(MARKERS[channel] + line.replace(b"\0", b"").rstrip(b"\n") + b"\n")


class Session:
    """A shell that stays, fed through its input."""

    def __init__(self, box: Box, session_id: str) -> None:
        self.box, self.id = box, session_id
        self.commands: dict[str, SessionCommand] = {}
        self.ended = False
        self.shell = subprocess.Popen(
            box.argv("bash"),
            env=box.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def run(
        self, command_id: str, text: str, *, suppress_echo: bool, wait_for_input: bool
    ) -> SessionCommand:
        inside = f"{HOME}/.daytona/{self.id}/{command_id}"
        folder = self.box.folder / "home" / ".daytona" / self.id / command_id
        folder.mkdir(parents=True)
        command = SessionCommand(command_id, text, folder, inside)
        command.suppress_echo = suppress_echo
        command.log.touch()
        (folder / "cmd.sh").write_text(text)
        for name in ("in", "out", "err"):
            os.mkfifo(folder / name)
        self.commands[command_id] = command
        holder = "while :; do sleep 3600; done" if wait_for_input else ":"
        assert self.shell.stdin is not None
        self.shell.stdin.write(
            f"{{ {holder}; }} >{inside}/in & held=$!\n"
            f"{{ . {inside}/cmd.sh; }} <{inside}/in >{inside}/out 2>{inside}/err\n"
            f"echo $? >{inside}/rc; kill $held 2>/dev/null; rm -f {inside}/in\n".encode()
        )
        self.shell.stdin.flush()
        readers = [
            threading.Thread(target=self._label, args=(command, name), daemon=True)
            for name in ("out", "err")
        ]
        for reader in readers:
            reader.start()
        threading.Thread(target=self._finish, args=(command, readers), daemon=True).start()
        return command

    def _label(self, command: SessionCommand, channel: str) -> None:
        with (command.folder / channel).open("rb") as pipe:
            for line in pipe:
                command.add(channel, line)

    def _finish(self, command: SessionCommand, readers: list[threading.Thread]) -> None:
        for reader in readers:
            reader.join()
        while not self.ended:
            with contextlib.suppress(OSError, ValueError):
                command.code = int((command.folder / "rc").read_text())
                return
            time.sleep(0.005)

    def send_input(self, command: SessionCommand, data: str) -> None:
        """Blocks until the pipe has taken it."""
        data = data if data.endswith("\n") else data + "\n"
        with (command.folder / "in").open("wb", buffering=0) as pipe:
            view = memoryview(data.encode())
            while view:
                view = view[pipe.write(view) :]
        if not command.suppress_echo:
            command.add("out", data.encode())

    def end(self) -> None:
        self.ended = True
        self.box.sessions.pop(self.id, None)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.shell.pid, signal.SIGKILL)
        self.shell.wait()
        for (
            command
        ) in self.commands.values():  # let go of threads that open a pipe nobody will open
            for name in ("out", "err"):
                with contextlib.suppress(OSError):
                    os.close(os.open(command.folder / name, os.O_WRONLY | os.O_NONBLOCK))


class PtySession:
    """A login shell on a PTY, shown to any number of clients."""

    def __init__(
        self, box: Box, terminal_id: str, cwd: str, env: Mapping[str, str], columns: int, rows: int
    ) -> None:
        self.box, self.id, self.cwd = box, terminal_id, cwd
        self.envs, self.columns, self.rows = dict(env), columns, rows
        self.clients: list[Any] = []
        self.exit_code: int | None = None
        self.master, slave = os.openpty()
        self._set_size()
        self.shell = subprocess.Popen(
            ["setsid", "-c", *box.argv("bash", "-i", "-l")],
            env=box.environment({"TERM": "xterm-256color", **env}),
            stdin=slave,
            stdout=slave,
            stderr=slave,
        )
        os.close(slave)
        threading.Thread(target=self._pump, daemon=True).start()

    def resize(self, columns: int, rows: int) -> None:
        self.columns, self.rows = columns, rows
        self._set_size()

    def _set_size(self) -> None:
        size = struct.pack("HHHH", self.rows, self.columns, 0, 0)
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, size)

    def _pump(self) -> None:
        while True:
            try:
                data = os.read(self.master, 32768)
            except OSError:
                data = b""
            if not data:
                break
            blockingCallFromThread(_reactor, self._show, data)
        code = self.shell.wait()
        _reactor.callFromThread(self._over, 128 - code if code < 0 else code)

    def _show(self, data: bytes) -> None:
        for client in list(self.clients):
            client.show(data)

    def _over(self, code: int) -> None:
        if self.exit_code is None:
            self.exit_code = code
            self.box.terminals.pop(self.id, None)
            for client in list(self.clients):
                client.over(code)
            os.close(self.master)

    def write(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            os.write(self.master, data)

    def kill(self) -> None:
        if self.exit_code is None:
            _kill_tree(self.shell.pid)
            with contextlib.suppress(ProcessLookupError):
                self.shell.kill()
            self.box.terminals.pop(self.id, None)


def _kill_tree(pid: int) -> None:
    children = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True
    ).stdout
    for child in map(int, children.split()):
        _kill_tree(child)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


def go_mode(mode: int) -> str:
    """A file mode as Go prints it."""
    kinds: list[tuple[Callable[[int], bool], str]] = [
        (stat.S_ISDIR, "d"),
        (stat.S_ISLNK, "L"),
        (stat.S_ISFIFO, "p"),
        (stat.S_ISSOCK, "S"),
        (stat.S_ISBLK, "D"),
        (stat.S_ISCHR, "Dc"),
    ]
    letter = next((letter for of_kind, letter in kinds if of_kind(mode)), "-")
    return letter + stat.filemode(mode)[1:].replace("s", "x").replace("t", "x")
