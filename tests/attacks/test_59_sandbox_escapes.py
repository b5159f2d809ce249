"""Ways out of a sandbox of this machine, each tried from within, and refused."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.conftest import Run
from tests.sandboxes.local.fixtures import NewBox
from tests.sandboxes.support import Box, finish, read_until
from wit.sandboxes.provider import TerminalSize

pytestmark = pytest.mark.attack(59)

PYTHON = "import ctypes, os, sys\nlibc = ctypes.CDLL(None, use_errno=True)\n"
ERRNO = "\nprint(ctypes.get_errno())"
EPERM, EINVAL, ENOSYS = "1", "22", "38"

CALLS = {
    "mount": 'libc.mount(b"none", b"/tmp", b"tmpfs", 0, None)',
    "umount": 'libc.umount2(b"/workspace", 2)',
    "chroot": 'libc.chroot(b"/tmp")',
    "unshare a user": "libc.unshare(0x10000000)",
    "unshare mounts": "libc.unshare(0x20000)",
    "setns": "libc.setns(os.open('/proc/self/ns/net', 0), 0)",
    "clone": "libc.syscall(56, 0x10000000 | 17, 0, 0, 0, 0)",
    "bpf": "libc.syscall(321, 0, 0, 0)",
    "perf": "libc.syscall(298, 0, 0, -1, -1, 0)",
    "userfaultfd": "libc.syscall(323, 0)",
    "io_uring": "libc.syscall(425, 1, 0)",
    "keyctl": "libc.syscall(250, 0, -3, 1)",
    "modules": "libc.syscall(175, 0, 0, 0)",
    "kexec": "libc.syscall(246, 0, 0, 0, 0)",
    "reboot": "libc.syscall(169, 0xfee1dead, 672274793, 0x01234567, 0)",
    "handles": "libc.syscall(304, -100, 0, 0)",
    "the clock": "libc.syscall(227, 0, 0)",
    "host name": 'libc.sethostname(b"x", 1)',
    "ioperm": "libc.ioperm(0, 1, 1)",
    "a device": "libc.mknod(b'/workspace/disk', 0o60666, 0x0700)",
}


@pytest.fixture(scope="module")
def script() -> str:
    if os.uname().machine != "x86_64":
        pytest.skip("the numbers of system calls here are those of x86-64")
    return PYTHON


@pytest.mark.parametrize("call", list(CALLS))
def test_system_calls_are_denied(new_box: NewBox, run: Run, script: str, call: str) -> None:
    ran = run(new_box().run(["python3", "-c", script + CALLS[call] + ERRNO]))
    assert ran.text.strip() == EPERM, (call, ran)


def test_there_is_no_root_to_become(new_box: NewBox, run: Run, script: str) -> None:
    ran = run(new_box().run(["python3", "-c", script + "libc.setuid(0)" + ERRNO]))
    assert ran.text.strip() in (EPERM, EINVAL)


def test_clone3_is_not_there(new_box: NewBox, run: Run, script: str) -> None:
    ran = run(new_box().run(["python3", "-c", script + "libc.syscall(435, 0, 0)" + ERRNO]))
    assert ran.text.strip() == ENOSYS


def test_no_privilege_of_any_kind(new_box: NewBox, run: Run) -> None:
    status = run(new_box().sh("grep -E '^(Cap|NoNewPrivs|Seccomp:|Uid|Groups)' /proc/self/status"))
    fields = dict(line.split(":", 1) for line in status.splitlines())
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(fields[name], 16) == 0, name
    assert fields["NoNewPrivs"].strip() == "1" and fields["Seccomp"].strip() == "2"
    assert set(fields["Uid"].split()) == {"1000"}


def test_setuid_programs_have_no_power(new_box: NewBox, run: Run) -> None:
    box = new_box()
    run(box.sh("cp /usr/bin/id mine && chmod 6755 mine && ./mine -u | grep -qx 1000"))
    ran = run(box.run(["/bin/sh", "-c", "su -c id root </dev/null; sudo -n id"]))
    assert b"uid=0" not in ran.stdout


HIDDEN = (
    "/etc/shadow",
    "/root",
    "/home/user/../../root",
    "/sys/kernel",
    "/var/run/docker.sock",
    "/run/docker.sock",
    "/run/systemd",
    "/dev/sda",
    "/dev/vda",
    "/dev/mem",
    "/dev/kmsg",
    "/dev/loop-control",
    "/dev/fuse",
    "/dev/kvm",
    "/proc/1/root/etc/shadow",
    "/proc/1/root/root",
)


def test_the_host_is_not_there(new_box: NewBox, run: Run, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("the host's")
    box = new_box()
    seen = run(
        box.sh(
            'for path; do test -e "$path" && echo "$path"; done; true',
            *HIDDEN,
            str(tmp_path),
            f"/proc/1/root{tmp_path}",
        )
    )
    assert seen == ""
    assert run(box.run(["cat", str(tmp_path / "secret")])).code != 0


def test_only_its_own_processes_are_seen(new_box: NewBox, run: Run) -> None:
    box = new_box()
    pids = run(box.sh("cd /proc; ls -d [0-9]* | sort -n | tail -1"))
    assert int(pids) < 100
    everything = run(box.sh("cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ | tr '\\0' ' '"))
    assert "pytest" not in everything and "twistd" not in everything


def test_secrets_of_the_environment_are_in_no_process_list(new_box: NewBox, run: Run) -> None:
    box = new_box(env={"SECRET": "canary-s3cret-Q7"})

    async def look() -> str:
        execution = await box.start(
            "/bin/sh", "-c", "echo ready; read a", env={"TOO": "canary-too"}
        )
        await read_until(execution, b"ready")
        lines = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                lines += process.cmdline()
                if process.name() in ("bwrap", "python3.11", "python3"):
                    lines += process.environ().values()
        await execution.close()
        return "\n".join(lines)

    assert "canary" not in run(look())


def test_nothing_is_writable_but_its_own_disk(new_box: NewBox, run: Run) -> None:
    script = (
        "for d in / /etc /usr /usr/bin /dev /run /var /home /proc /proc/sys/kernel; do"
        ' touch "$d/planted" 2>/dev/null && echo "$d"; done; true'
    )
    assert run(new_box().sh(script)) == ""
    ran = run(new_box().run(["/bin/sh", "-c", "echo x >/proc/sys/kernel/core_pattern"]))
    assert ran.code != 0


def test_killing_everybody_kills_only_ones_own(new_box: NewBox, run: Run) -> None:
    one, other = new_box(), new_box()

    async def kill() -> None:
        bystander = await other.start("/bin/sh", "-c", "echo ready; read a; exit 3")
        await read_until(bystander, b"ready")
        await one.run(["/bin/sh", "-c", "kill -9 -1"])
        await bystander.write(b"\n")
        assert (await finish(bystander)).code == 3

    run(kill())
    assert psutil.pid_exists(os.getpid())


def test_the_first_process_is_no_better_than_the_others(new_box: NewBox, run: Run) -> None:
    """Programs may trace it, as it runs as their own user: so it must be as powerless."""
    status = run(new_box().sh("grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/1/status"))
    fields = dict(line.split(":", 1) for line in status.splitlines())
    assert fields["NoNewPrivs"].strip() == "1" and fields["Seccomp"].strip() == "2"
    assert {int(value, 16) for name, value in fields.items() if name.startswith("Cap")} == {0}


INJECT = """
import fcntl, sys
for request in (0x5412, 0x5412 | 1 << 32, 0x541c):
    try:
        fcntl.ioctl(0, request & 0xffffffff, b"x")
        print("injected")
    except OSError as error:
        print(error.errno)
"""


def test_words_are_put_into_no_terminal(new_box: NewBox, run: Run) -> None:
    async def inject() -> bytes:
        box = new_box_.start("python3", "-c", INJECT, terminal=TerminalSize(80, 24))
        return (await finish(await box)).stdout

    new_box_ = new_box()
    assert run(inject()).split() == [b"1", b"1", b"1"]
    ran = run(new_box_.run(["/bin/sh", "-c", "exec 3<>/dev/tty"]))
    assert ran.code != 0


@pytest.fixture
def abstract_socket() -> Iterator[str]:
    name = f"wit-attack-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("\0" + name)
        listening.listen()
        yield name


def test_abstract_sockets_of_the_host_are_not_reached(
    new_box: NewBox, run: Run, abstract_socket: str
) -> None:
    program = "import socket, sys; socket.socket(socket.AF_UNIX).connect('\\0' + sys.argv[1])"
    ran = run(new_box().run(["python3", "-c", program, abstract_socket]))
    assert ran.code == 1 and b"ConnectionRefused" in ran.stderr


def test_no_descriptor_of_the_daemon_is_inherited(new_box: NewBox, run: Run) -> None:
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    fds = run(new_box().sh("ls /proc/self/fd"))
    os.close(reading)
    os.close(writing)
    assert set(fds.split()) <= {"0", "1", "2", "3"}


def test_the_own_user_is_nobody_elses(new_box: NewBox, run: Run) -> None:
    boxes = [new_box() for _ in range(3)]

    def owner(box: Box) -> set[int]:
        async def look() -> set[int]:
            execution = await box.start("/bin/sh", "-c", "echo ready; read marker_of_ours")
            await read_until(execution, b"ready")
            uids = set()
            for process in psutil.process_iter():
                with suppress(psutil.Error):
                    if "read marker_of_ours" in " ".join(process.cmdline()):
                        uids.add(process.uids().real)
            await execution.close()
            return uids

        found: set[int] = run(look())
        return found

    owners = [owner(box) for box in boxes]
    assert all(len(uids) == 1 for uids in owners)
    assert len(set.union(*owners)) == 3 and 0 not in set.union(*owners)
