"""OpenSSH at the door to sandboxes, real ones on this machine."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.sandboxes.terminals.pty import Box, FakeSandboxes
from tests.ssh.support import StandInOwners, StandInTraffic, blob_of, make_config
from tests.support.daemon import ssh_command
from tests.support.site import Person, Site
from tests.support.wire import ask
from wit import config
from wit.core import Core
from wit.errors import Invalid
from wit.metrics import Metrics
from wit.runtime import Runtime
from wit.sandboxes.terminals.terminals import Terminals
from wit.ssh.sandbox import MAX_VARIABLES, Address, parse_argv, parse_user, parse_variable
from wit.ssh.service import SshService

ID = "0123456789abcdef" * 2
TERMINAL = "01234567-89ab-4def-8123-456789abcdef"
SECONDS = 30.0
TERM = "screen-256color"


@pytest.mark.parametrize(
    ("user", "address"),
    [
        (f"sandbox:{ID}", Address(ID, None)),
        (f"SANDBOX:{ID.upper()}", Address(ID, None)),
        (f"sandbox:{ID}/{TERMINAL}", Address(ID, TERMINAL)),
        (f"sandbox:{ID}/", None),
        (f"sandbox:{ID}\n", None),
        (f"sandbox:{ID}/{TERMINAL}/x", None),
        ("sandbox:../../etc", None),
        ("git", None),
    ],
)
def test_what_a_user_name_means(user: str, address: Address | None) -> None:
    assert parse_user(user.encode()) == address


def test_a_command_is_for_the_shell_of_the_sandbox() -> None:
    assert parse_argv(b"cd /; ls 'a  b' | wc") == ["sh", "-c", "cd /; ls 'a  b' | wc"]


@pytest.mark.parametrize("line", [b"", b" ", b"a\0b", b"\xff", b"x" * 5000])
def test_what_is_no_command(line: bytes) -> None:
    with pytest.raises(Invalid):
        parse_argv(line)


@pytest.mark.parametrize(
    ("name", "value", "may"),
    [
        (b"LANG", b"de_DE.UTF-8@euro", True),
        (b"LC_ALL", b"C", True),
        (b"TERM", b"xterm-256color", True),
        (b"COLORTERM", b"truecolor", True),
        (b"LC_", b"C", False),
        (b"LC_all", b"C", False),
        (b"LANGUAGE", b"de", False),
        (b"LD_PRELOAD", b"/x.so", False),
        (b"PATH", b"/", False),
        (b"LANG\n", b"C", False),
        (b"LANG", b"", False),
        (b"LANG", b"C\n", False),
        (b"LANG", b"\xff", False),
        (b"LANG", b"x" * 65, False),
    ],
)
def test_which_variables_may_be_set(name: bytes, value: bytes, may: bool) -> None:
    assert parse_variable(name, value) == ({name.decode(): value.decode()} if may else {})


@pytest.fixture(scope="module")
def site(sites) -> Site:
    return sites("sqlite")


@pytest.fixture(scope="module")
def sandbox(site: Site) -> str:
    """Alice's."""
    name = site.create("alice/over-ssh")

    async def token(core: Core) -> str:
        user = await core.users.by_username("alice")
        return (await core.tokens.create(user["id"], "boxes", ["sandbox", "repo:write"]))[1]

    headers = {"Authorization": f"Bearer {site.do(token)}", "Content-Type": "application/json"}
    made = ask(site.daemon, "POST", f"/api/v1/repos/{name}/sandboxes", headers, b"{}")
    assert made.status == 201, made.text
    return str(json.loads(made.body)["id"])


def command_line(port: int, key: Path, user: str, *options: str) -> list[str]:
    return [*ssh_command(key, *options), "-p", str(port), "-l", user, "127.0.0.1"]


def words(site: Site, user: str, *options: str, who: Person | None = None) -> list[str]:
    return command_line(site.daemon.ssh_port, (who or site.alice).key, user, *options)


def run(
    site: Site, user: str, *command: str, who: Person | None = None, text: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*words(site, user, who=who), *command], input=text, capture_output=True, timeout=SECONDS
    )


def test_a_command_on_three_pipes(site: Site, sandbox: str) -> None:
    script = "'cat; echo error >&2; exit 7'"
    done = run(site, f"sandbox:{sandbox}", "sh", "-c", script, text=b"in" * 100_000)
    assert (done.returncode, done.stdout, done.stderr) == (7, b"in" * 100_000, b"error\n")
    done = run(site, f"sandbox:{sandbox}", "printf", "%s.", "'a  b'", r"\$HOME", "| tr a-z A-Z;")
    assert done.stdout == b"A  B.$HOME."
    done = run(site, f"sandbox:{sandbox}", "'no such program'")
    assert done.returncode == 127
    done = run(site, f"sandbox:{sandbox}", "sh", "-c", "'kill -9 $$'")
    assert done.returncode == 137
    done = run(site, f"sandbox:{sandbox}", text=b"echo from a script; exit 4\n")
    assert (done.returncode, done.stdout) == (4, b"from a script\n")


def test_variables(site: Site, sandbox: str) -> None:
    user = f"sandbox:{sandbox}"
    chosen = "SetEnv=LANG=C.UTF-8 LC_TIME=POSIX COLORTERM=24bit LD_PRELOAD=/x.so"
    script = """'printf "%s|" "$LANG" "$LC_TIME" "$COLORTERM" "$LD_PRELOAD"'"""
    done = subprocess.run(
        [*words(site, user, "-o", chosen), "sh", "-c", script], capture_output=True, timeout=SECONDS
    )
    assert done.stdout == b"C.UTF-8|POSIX|24bit||"
    many = "SetEnv=" + " ".join(f"LC_{chr(65 + number)}=x" for number in range(26))
    done = subprocess.run(
        [*words(site, user, "-o", many), "sh", "-c", "'env | grep -c ^LC_'"],
        capture_output=True,
        timeout=SECONDS,
    )
    assert int(done.stdout) == MAX_VARIABLES


def test_who_may_not(site: Site, sandbox: str) -> None:
    done = run(site, f"sandbox:{sandbox}", "id", who=site.bob)
    assert (done.returncode, done.stdout) == (128, b"")
    missing = run(site, f"sandbox:{ID}", "id", who=site.bob)
    assert done.stderr == missing.stderr == b"wit: sandbox not found\n"
    assert run(site, "sandbox:none", "id").returncode == 255
    forward = [*words(site, f"sandbox:{sandbox}", "-W", "127.0.0.1:22")]
    assert subprocess.run(forward, capture_output=True, timeout=SECONDS).returncode == 255


@attrs.define
class Window:
    """ssh on a terminal of its own."""

    process: subprocess.Popen[bytes]
    fd: int
    seen: bytes = b""

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def resize(self, columns: int, rows: int) -> None:
        termios.tcsetwinsize(self.fd, (rows, columns))

    def until(self, pattern: bytes) -> re.Match[bytes]:
        """Wait for output after what was waited for last."""
        deadline = time.monotonic() + SECONDS
        while (match := re.search(pattern, self.seen)) is None:
            ready, _, _ = select.select([self.fd], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"no {pattern!r} in {self.seen!r}"
            data = b""
            with suppress(OSError):  # EIO: its end
                data = os.read(self.fd, 65536)
            assert data, f"ended without {pattern!r}: {self.seen!r}"
            self.seen += data
        self.seen = self.seen[match.end() :]
        return match

    def status(self) -> int:
        with suppress(OSError):
            while os.read(self.fd, 65536):
                pass
        return self.process.wait(SECONDS)


@pytest.fixture
def open_window() -> Iterator[Callable[[list[str]], Window]]:
    opened: list[Window] = []

    def open_window(argv: list[str]) -> Window:
        main, side = pty.openpty()
        termios.tcsetwinsize(main, (30, 100))
        process = subprocess.Popen(
            argv,
            stdin=side,
            stdout=side,
            stderr=side,
            start_new_session=True,
            close_fds=True,
            env={**os.environ, "TERM": TERM},
        )
        os.close(side)
        opened.append(Window(process, main))
        return opened[-1]

    yield open_window
    for window in opened:
        window.process.kill()
        window.process.wait()
        os.close(window.fd)


@pytest.fixture
def windows(site: Site, open_window) -> Callable[..., Window]:
    options = ("-tt", "-o", "SetEnv=COLORTERM=24bit")
    return lambda user, *command: open_window([*words(site, user, *options), *command])


def test_a_terminal(windows, sandbox: str) -> None:
    window = windows(f"sandbox:{sandbox}")
    window.until(rb"[$#] ")
    window.type("echo $TERM-$COLORTERM\n")
    window.until(rb"\b%b-24bit\r\n" % TERM.encode())
    window.type("stty size; echo \u00e4; tty\n")
    window.until(rb"\b30 100\r\n\xc3\xa4\r\n/dev/")
    window.resize(70, 20)
    os.killpg(window.process.pid, 28)  # SIGWINCH, which a terminal would send
    window.type("sleep 0.2; stty size\n")
    window.until(rb"\b20 70\r\n")
    window.type("sleep 1000\n")
    window.until(rb"sleep 1000\r\n")
    window.type("\x03")
    window.until(rb"[$#] ")
    window.type("exit 5\n")
    assert window.status() == 5


def test_leaving_and_coming_back(windows, sandbox: str) -> None:
    window = windows(f"sandbox:{sandbox}")
    back = window.until(rb"come back as (sandbox:\S+)\r\n")[1].decode()
    window.until(rb"[$#] ")
    window.type("x=kept; echo be''fore\n")
    window.until(rb"before\r\n")
    window.process.kill()
    again = windows(back)
    again.until(rb"before\r\n")
    again.type("echo $x $((1+1))\n")
    again.until(rb"kept 2\r\n")
    other = windows(back)
    other.until(rb"kept 2")
    other.type("yes | head -c 3000000; echo do''ne; exit 6\n")
    again.until(rb"done\r\n")
    assert (again.status(), other.status()) == (6, 6)


def test_a_command_on_a_terminal(windows, site: Site, sandbox: str) -> None:
    window = windows(f"sandbox:{sandbox}", "sh", "-c", "'test -t 0 && test -t 1 && exit 3'")
    assert window.status() == 3
    gone = windows(f"sandbox:{sandbox}/{TERMINAL}")
    gone.until(rb"wit: there is no such terminal")
    assert gone.status() == 128


def test_thinking_is_not_idling_and_a_stop_is_told(
    open_window, run: Any, runtime: Runtime, host_data: Path, user_keys: Path
) -> None:
    owners, traffic = StandInOwners(), StandInTraffic(runtime, host_data)
    owners.owners[blob_of(user_keys / "alice.pub")] = "alice"
    boxes = FakeSandboxes({ID: Box(ID, "id-alice")})
    settings: Any = (None, None, runtime, config.Terminals())
    terminals = Terminals(boxes, *settings)
    door = SshService(
        make_config(host_data, idle_seconds=0.4),
        runtime,
        owners,
        traffic,
        Metrics(),
        sandboxes=boxes,
        terminals=terminals,
    )
    run(door.start())
    port = int(door.addresses[0].rpartition(":")[2])
    window = open_window(command_line(port, user_keys / "alice", f"sandbox:{ID}", "-tt"))
    window.until(rb"come back")
    window.type("sleep 1.5; echo do''ne\n")
    window.until(rb"done\r\n")
    run(door.stop())
    window.until(rb"wit: the server is being restarted")
    assert window.status() == 129
    run(terminals.stop())
