"""The keeper's loop: one child for every request, and how commands ended.

A request is one message on the keeper's socket: the name of the operation, with descriptors. The
first is a file with the operation's values (JSON), the second a socket for the answer, the others
are the operation's own. The answer is ``{"ok": ...}`` with descriptors, or ``{"error": KIND,
"message": ...}``; a command's second message is ``{"status": wait(2)'s}``. Whoever asks sees the
end of the answer's socket when the child died without one.
"""

from __future__ import annotations

import encodings.idna
import encodings.latin_1
import errno
import gc
import json
import os
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from select import POLLIN, poll
from typing import Any, NamedTuple, NoReturn

from wit.sandboxes.local.keeper import files, kernel, launch, walls

MAX_FDS = 16
OPERATION_BYTES = 32

_KINDS = {
    errno.ENOENT: "missing",
    errno.ENOTDIR: "not_directory",
    errno.EISDIR: "invalid",
    errno.EEXIST: "invalid",
    errno.ELOOP: "invalid",
    errno.ENAMETOOLONG: "invalid",
    errno.EACCES: "invalid",
    errno.EPERM: "invalid",
    errno.ENXIO: "invalid",
    errno.EXDEV: "invalid",
    errno.ENOSPC: "full",
    errno.EDQUOT: "full",
    errno.EFBIG: "full",
}

Values = dict[str, Any]
Fds = list[int]


class Answer(NamedTuple):
    """What is answered, and what is done after that."""

    found: Any = None
    fds: Fds = []
    then: Callable[[], None] | None = None


Operation = Callable[[Values, Fds], Answer]


def serve(number: int) -> NoReturn:
    """Serve requests until nobody can send any more."""
    requests = socket.socket(fileno=number)
    for inherited in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # the one that listed them
            os.set_inheritable(int(inherited), int(inherited) <= 2)
    wake, ended = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(ended, warn_on_full_buffer=False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    kernel.adopt_orphans()
    gc.freeze()  # children share what is there, and must not touch it
    processes = Processes()
    waiting = poll()
    waiting.register(requests, POLLIN)
    waiting.register(wake, POLLIN)
    while True:
        ready = {fd for fd, _ in waiting.poll()}
        if wake in ready:
            os.read(wake, 4096)
            processes.reap()
        if requests.fileno() in ready:
            _take(requests, processes)


class Ended(NamedTuple):
    """A command whose end is to be told when what it left behind is gone, too."""

    answer: socket.socket
    status: int
    left: set[int]


class Processes:
    """The keeper's children."""

    def __init__(self) -> None:
        self.known: set[int] = set()
        self.commands: dict[int, socket.socket] = {}
        self._ended: list[Ended] = []

    def reap(self) -> None:
        """Wait for the dead, and tell of commands that have ended with all that they started.

        A command's pid namespace ends with bubblewrap, except when that is killed in its first
        milliseconds. What it leaves then is our child, and nobody else's is unknown to us. When
        the first process of a namespace has been waited for, all others in it are gone.
        """
        gone: set[int] = set()
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    break
                gone.add(pid)
                self.known.discard(pid)
                if answer := self.commands.pop(pid, None):
                    left = kernel.children() - self.known
                    for orphan in left:
                        with suppress(ProcessLookupError):
                            os.kill(orphan, signal.SIGKILL)
                    self._ended.append(Ended(answer, status, left))
        still = []
        for one in self._ended:
            one.left.difference_update(gone)
            if one.left:
                still.append(one)
            else:
                _send(one.answer, {"status": one.status}, [])
                one.answer.close()
        self._ended = still


def _take(requests: socket.socket, processes: Processes) -> None:
    """Fork a child for the next request."""
    operation, fds = kernel.receive(requests, OPERATION_BYTES, MAX_FDS)
    if not operation:
        os._exit(0)
    answer = socket.socket(fileno=fds[1])
    try:
        pid = os.fork()
    except OSError as error:
        _send(answer, {"error": "system", "message": str(error)}, [])
        pid = -1
    if pid == 0:
        _child(operation.decode(), fds, answer)
    processes.known.add(pid)
    if operation == b"launch" and pid > 0:
        processes.commands[pid] = answer
    else:
        answer.close()
    for fd in (fds[0], *fds[2:]):
        os.close(fd)


def _child(operation: str, fds: Fds, answer: socket.socket) -> NoReturn:
    """Do what is asked and end. Never returns into the keeper's own loop."""
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        kernel.die_with_parent(signal.SIGKILL)
        with os.fdopen(fds[0], "rb") as payload:
            payload.seek(0)
            values = json.load(payload)
        if operation == "launch":
            _launch(values, fds[2:], answer)
        done = OPERATIONS[operation](values, fds[2:])
        _send(answer, {"ok": done.found}, done.fds)
        if done.then is not None:
            done.then()
    except files.Refused as refused:
        _send(answer, {"error": refused.kind, "message": str(refused)}, [])
    except OSError as error:
        kind = _KINDS.get(error.errno or 0, "system")
        message = os.strerror(error.errno) if error.errno else str(error)
        if operation in MACHINE:
            kind, message = "system", str(error)
        _send(answer, {"error": kind, "message": message}, [])
    except RecursionError:
        _send(answer, {"error": "invalid", "message": "folders lie too deep in each other"}, [])
    except BaseException as error:
        _send(answer, {"error": "system", "message": f"{type(error).__name__}: {error}"}, [])
    finally:
        os._exit(0)


def _launch(values: Values, fds: Fds, answer: socket.socket) -> NoReturn:
    """Become a command. What fails before it is told of is the answer, the rest goes to stderr."""
    count = 0 if values["terminal"] else 3
    status, streams, behind = fds[0], fds[1 : 1 + count], fds[1 + count :]
    told = False

    def tell(given: Fds) -> None:
        nonlocal told
        _send(answer, {"ok": os.getpid()}, given)
        told = True

    try:
        launch.launch(values, status, streams, behind, tell)  # type: ignore[arg-type]
    except BaseException as error:
        if not told:
            raise
        with suppress(OSError):
            os.write(2, f"wit: cannot start the command: {error}\n".encode())
        os._exit(125)


def _walls(values: Values, fds: Fds) -> Answer:
    launch.warm_up(values["groups"])
    return Answer(fds=walls.make(values["who"], values["disk"]))


def _listen(values: Values, fds: Fds) -> Answer:
    """A listening socket on the sandbox's own 127.0.0.1."""
    walls.enter(fds, "user", "net")
    try:
        listening = socket.create_server(("127.0.0.1", values["port"]))
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        sentence = f"a program in the sandbox uses the port {values['port']} already"
        raise files.Refused("taken", sentence) from None
    listening.setblocking(False)
    return Answer(fds=[listening.detach()])


def _signal(values: Values, fds: Fds) -> Answer:
    sent = launch.signal_all(values["who"], values["outer"], values["child"], values["number"], fds)
    return Answer(sent)


def _erase(values: Values, fds: Fds) -> Answer:
    """Remove a workspace from outside, with rights over what the sandbox made."""
    who = values["who"]
    if who["mode"] != "root":
        walls.make_user_namespace(who)
    files.remove_tree(values["path"])
    return Answer()


def _locked_in(work: Operation, *, writes: bool) -> Operation:
    """``work`` behind the walls; descriptors before those of the walls are its own."""

    def locked_in(values: Values, fds: Fds) -> Answer:
        own = values.get("own_fds", 0)
        walls.enter(fds[own:], "user", "mnt")
        walls.lock_in()
        if writes:
            walls.become(values["who"])
            os.umask(0o022)
        return work(values, fds[:own])

    return locked_in


def _read(values: Values, fds: Fds) -> Answer:
    return Answer(fds=[files.read(values["path"], values["limit"])])


def _write(values: Values, fds: Fds) -> Answer:
    with os.fdopen(fds[0], "rb") as content:
        content.seek(0)
        files.write(values["path"], content, values["mode"])
    return Answer()


def _list(values: Values, fds: Fds) -> Answer:
    return Answer(fds=[files.entries(values["path"])])


def _remove(values: Values, fds: Fds) -> Answer:
    files.remove(values["path"])
    return Answer()


def _upload(values: Values, fds: Fds) -> Answer:
    with os.fdopen(fds[0], "rb") as archive:
        files.unpack(values["path"], archive)
    return Answer()


def _download(values: Values, fds: Fds) -> Answer:
    """Answers before it packs, so that the archive is read while it is made."""
    os.lstat(values["path"])

    def pack() -> None:
        with suppress(BrokenPipeError), os.fdopen(fds[0], "wb") as output:
            files.pack(values["path"], output)

    return Answer(then=pack)


def _space(values: Values, fds: Fds) -> Answer:
    return Answer(files.space(values["disk"]))


OPERATIONS: dict[str, Operation] = {
    "walls": _walls,
    "listen": _listen,
    "signal": _signal,
    "erase": _erase,
    "read": _locked_in(_read, writes=False),
    "write": _locked_in(_write, writes=True),
    "list": _locked_in(_list, writes=False),
    "remove": _locked_in(_remove, writes=False),
    "upload": _locked_in(_upload, writes=True),
    "download": _locked_in(_download, writes=False),
    "space": _locked_in(_space, writes=False),
}

MACHINE = ("walls", "listen", "signal", "erase", "launch")
"""Operations whose failures are the machine's, not the request's."""

PRELOADED = (encodings.idna, encodings.latin_1)
"""A process that is locked in cannot import any more."""


def _send(answer: socket.socket, message: Values, fds: Fds) -> None:
    with suppress(OSError):
        socket.send_fds(answer, [json.dumps(message).encode()], fds)
