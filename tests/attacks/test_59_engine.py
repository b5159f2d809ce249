"""Ways out of a sandbox in a container, each tried from within, and refused."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Run
from tests.sandboxes.docker.plug import boxed
from tests.sandboxes.support import Box, finish, read_until
from wit.sandboxes.provider import Limits, TerminalSize

pytestmark = pytest.mark.attack(59)

PYTHON = "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\nassert "
DENIED = " == -1, 'it was allowed'\nprint(ctypes.get_errno())"
EPERM, EACCES, ENOSYS = 1, 13, 38

CALLS = {
    "mount": 'libc.mount(b"none", b"/tmp", b"tmpfs", 0, None)',
    "umount": 'libc.umount2(b"/workspace", 2)',
    "chroot": 'libc.chroot(b"/tmp")',
    "unshare a user": "libc.unshare(0x10000000)",
    "unshare mounts": "libc.unshare(0x20000)",
    "setns": "libc.setns(os.open('/proc/self/ns/net', 0), 0x40000000)",
    "bpf": "libc.syscall(321, 0, 0, 0)",
    "perf": "libc.syscall(298, 0, 0, -1, -1, 0)",
    "keyctl": "libc.syscall(250, 0, -3, 1)",
    "modules": "libc.syscall(175, 0, 0, 0)",
    "reboot": "libc.syscall(169, 0xfee1dead, 672274793, 0x01234567, 0)",
    "handles": "libc.syscall(304, -100, 0, 0)",
    "host name": 'libc.sethostname(b"x", 1)',
    "a device": "libc.mknod(b'/workspace/disk', 0o60666, 0x0700)",
    "root": "libc.setuid(0)",
    "what keeps it up": "libc.ptrace(16, 1, 0, 0)",
}

FILES = [
    ("a raw disk", "cat /dev/vda /dev/sda /dev/mem /dev/kmsg"),
    ("kernel settings", "echo x >/proc/sys/kernel/core_pattern"),
    ("the kernel's trigger", "echo b >/proc/sysrq-trigger"),
    ("kernel memory", "test -s /proc/kcore"),
    ("the keeper's memory", "cat /proc/1/environ"),
    ("the keeper's root", "ls /proc/1/root/"),
    ("control groups", "echo 1 >/sys/fs/cgroup/memory/memory.limit_in_bytes"),
    ("new control groups", "mkdir /sys/fs/cgroup/memory/x || mkdir /sys/fs/cgroup/x"),
    ("the release agent", "echo /tmp/x >/sys/fs/cgroup/systemd/release_agent"),
    ("the engine's socket", "ls /var/run/docker.sock /run/docker.sock /run/podman"),
    ("the root file system", "echo x >/etc/passwd"),
    ("another's programs", "cp /bin/true /usr/bin/git"),
]


@pytest.fixture(scope="module")
def box(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    with boxed(run, tmp_path_factory.mktemp("engine"), Limits()) as box:
        yield box


@pytest.mark.parametrize("call", list(CALLS))
def test_system_calls_are_denied(box: Box, run: Run, call: str) -> None:
    if os.uname().machine != "x86_64":
        pytest.skip("the numbers of system calls here are those of x86-64")
    ran = run(box.run(["python3", "-c", PYTHON + CALLS[call] + DENIED]))
    assert ran.code == 0 and int(ran.text) in (EPERM, EACCES, ENOSYS), (call, ran)


@pytest.mark.parametrize("what,script", FILES, ids=[what for what, _ in FILES])
def test_files_of_the_host_are_not_there(box: Box, run: Run, what: str, script: str) -> None:
    ran = run(box.run(["/bin/sh", "-c", script]))
    assert ran.code != 0 and ran.stdout == b"", (what, ran)


def test_setuid_programs_make_nobody_root(box: Box, run: Run) -> None:
    assert run(box.sh("ls -l /usr/bin/root-id")).startswith("-rwsr-xr-x")
    assert run(box.sh("root-id -u")) == "1000\n"
    assert run(box.sh("cp /usr/bin/id own; chmod 4755 own; ./own -u")) == "1000\n"


def test_processes_of_the_host_are_not_there(box: Box, run: Run) -> None:
    assert Path(f"/proc/{os.getpid()}/status").exists()
    seen = run(box.sh("names=$(cat /proc/[0-9]*/comm); echo $names")).split()
    assert sorted(set(seen)) == ["cat", "docker-init", "sh", "sleep"]


def test_input_for_the_terminal_outside(box: Box, run: Run) -> None:
    """TIOCSTI reaches nothing but the sandbox's own terminal."""

    async def inject() -> None:
        execution = await box.start(
            "python3",
            "-c",
            "import fcntl, termios\n"
            "try:\n [fcntl.ioctl(0, termios.TIOCSTI, bytes([c])) for c in b'id\\n']\n"
            "except OSError as error: print('refused', error.errno)\nprint('over')",
            terminal=TerminalSize(80, 24),
        )
        await read_until(execution, b"over")
        assert (await finish(execution)).code == 0

    run(inject())


def test_abstract_sockets_of_the_host(box: Box, run: Run, tmp_path: Path) -> None:
    names = Path("/proc/net/unix").read_text()
    assert "@" in names, "this machine has no abstract sockets to look for"
    assert run(box.sh("grep -c @ /proc/net/unix || true")) == "0\n"
