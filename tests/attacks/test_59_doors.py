"""Ways out of a sandbox, each tried by a program that came in by one of the daemon's doors, and by
the doors for files themselves."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.sandboxes.support import make_tar, member
from tests.support.doors import DOORS, HOSTS, Inside, new_inside
from tests.support.sandboxes import Boxes

pytestmark = pytest.mark.attack(59)

PROGRAM = r"""
import ctypes, fcntl, json, mmap, os, socket, stat, subprocess, sys, termios

daemon, name = int(sys.argv[1]), sys.argv[2]
libc = ctypes.CDLL(None, use_errno=True)
found = {}


def call(what, function, *arguments):
    ctypes.set_errno(0)
    found[what] = ctypes.get_errno() if function(*arguments) == -1 else "allowed"


def attempt(what, work):
    try:
        work()
        found[what] = "allowed"
    except OSError as error:
        found[what] = error.errno


call("mount", libc.mount, b"none", b"/tmp", b"tmpfs", 0, None)
call("bind mount", libc.mount, b"/", b"/tmp", None, 4096, None)
call("umount", libc.umount2, b"/workspace", 2)
call("unshare users", libc.unshare, 0x10000000)
call("unshare mounts", libc.unshare, 0x20000)
call("chroot", libc.chroot, b"/tmp")
call("ptrace", libc.ptrace, 16, daemon, 0, 0)
call("setuid", libc.setuid, 0)
call("a block device", libc.mknod, b"/workspace/disk", 0o60666, 0x0700)
call("a character device", libc.mknod, b"/workspace/memory", 0o20666, 0x0101)
for device in ("vda", "sda", "mem", "kmsg", "loop-control", "fuse", "kvm"):
    attempt("/dev/" + device, lambda: os.open("/dev/" + device, os.O_RDWR))
for path in ("/var/run/docker.sock", "/run/docker.sock", "/run/podman/podman.sock"):
    attempt(path, lambda: os.stat(path))
attempt("the daemon's memory", lambda: open(f"/proc/{daemon}/mem", "r+b"))
attempt("the daemon's files", lambda: os.listdir(f"/proc/{daemon}/root/"))
attempt("an abstract socket", lambda: socket.socket(socket.AF_UNIX).connect("\0" + name))
attempt("another's program", lambda: open(os.path.realpath("/usr/bin/env"), "r+b"))

# A read-only mapping written through /proc/self/mem: a copy may change, the file must not.
path = "/usr/bin/env"
with open(path, "rb") as file:
    before = file.read()
    mapped = mmap.mmap(file.fileno(), 4096, mmap.MAP_PRIVATE, mmap.PROT_READ)
    address = next(
        int(line.split("-")[0], 16) for line in open("/proc/self/maps")
        if line.rstrip().endswith(os.path.realpath(path))
    )
    try:
        with open("/proc/self/mem", "r+b", buffering=0) as memory:
            memory.seek(address)
            memory.write(b"planted")
    except OSError:
        pass
found["a file by /proc/self/mem"] = "same" if open(path, "rb").read() == before else "changed"

subprocess.run(["cp", "/usr/bin/id", "own"], check=True)
os.chmod("own", 0o6755)
found["a setuid program"] = subprocess.run(["./own", "-u"], capture_output=True).stdout.decode()
found["processes"] = max(int(one) for one in os.listdir("/proc") if one.isdigit())
status = open("/proc/self/status").read()
found["new privileges"] = "NoNewPrivs:\t1" not in status
try:
    terminal = os.open("/dev/tty", os.O_RDWR)
    for letter in b"\x15: typed\n":
        fcntl.ioctl(terminal, termios.TIOCSTI, bytes([letter]))
    found["TIOCSTI"] = "allowed"
except OSError as error:
    found["TIOCSTI"] = error.errno
print(json.dumps(found))
"""

REFUSED = {1, 2, 3, 6, 13, 19, 22, 30, 38, 111}
"""EPERM, ENOENT, ESRCH, ENXIO, EACCES, ENODEV, EINVAL, EROFS, ENOSYS, ECONNREFUSED."""


@pytest.fixture(scope="module", params=HOSTS)
def inside(request: pytest.FixtureRequest, hosts: Callable[[str], Boxes]) -> Iterator[Inside]:
    with new_inside(hosts(request.param)) as inside:
        yield inside


@pytest.mark.parametrize("door", DOORS)
def test_programs_stay_inside(inside: Inside, door: str) -> None:
    process = inside.boxes.site.daemon.process
    assert process is not None
    name = f"wit-attack-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("\0" + name)
        listening.listen()
        found = inside.report(door, PROGRAM, str(process.pid), name)
    assert found.pop("a file by /proc/self/mem") == "same"
    assert found.pop("a setuid program") == "1000\n"
    assert found.pop("processes") < 1000 and not found.pop("new privileges")
    typed = found.pop("TIOCSTI")
    # An engine's terminal is its sandbox's alone: whoever may type there may well pretend to.
    assert typed in (1, 2, 5, 6) or (typed == "allowed" and door == "terminal"), typed
    assert {what: how for what, how in found.items() if how not in REFUSED} == {}


@pytest.fixture
def canary(inside: Inside) -> Path:
    """A file of the host's that everybody there may read, beside which nothing may be written."""
    folder = inside.boxes.site.daemon.data_dir.parent / "host"
    folder.mkdir(exist_ok=True)
    folder.chmod(0o777)
    (folder / "canary").write_text("canary of the host")
    return folder / "canary"


def test_no_file_of_the_host_is_read(inside: Inside, canary: Path) -> None:
    """By absolute paths, by too many dots, and by links that were made inside."""
    inside.run("rest", "ln", "-sfn", "/", "everything")
    inside.run("rest", "ln", "-sfn", str(canary), "link")
    for path in (
        str(canary),
        f"../../../../../..{canary}",
        f"everything{canary}",
        f"/proc/1/root{canary}",
        f"/proc/self/root{canary}",
        f"/proc/self/cwd/../../..{canary}",
        "link",
    ):
        status, body = inside.read(path)
        assert 400 <= status < 500 and b"canary of" not in body, (path, status, body)
        status, body = inside.download(path)
        assert b"canary of" not in body, path
    _, body = inside.download(".")
    assert b"canary of" not in body


def test_no_file_of_the_host_is_written(inside: Inside, canary: Path) -> None:
    folder = canary.parent
    inside.run("rest", "ln", "-sfn", str(folder), "out")
    before = canary.stat()
    for path in (f"{folder}/planted", f"../../../../../..{folder}/planted", "out/planted"):
        inside.put(path, b"planted")
        inside.put(path.replace("planted", "canary"), b"planted")
    for name in (f"{folder}/planted", f"../../../../../..{folder}/planted", "out/planted"):
        inside.upload(make_tar((name, b"planted")))
    link = member("way", b"2", str(folder))
    inside.upload(make_tar((link, b""), ("way/planted", b"planted")))
    hard = member("hard", b"1", str(canary))
    inside.upload(make_tar((hard, b""), ("hard", b"planted")))
    for path in (str(canary), "out/canary", f"../../../..{canary}"):
        inside.boxes.ask("DELETE", f"sandboxes/{inside.id}/files?path={path}")
    assert [path.name for path in folder.iterdir()] == ["canary"]
    after = canary.stat()
    assert (after.st_ino, after.st_mtime_ns, after.st_nlink) == (
        before.st_ino,
        before.st_mtime_ns,
        1,
    )


def test_nobody_becomes_root_by_an_archive(inside: Inside) -> None:
    """Owners and set-id bits of members, and devices among them."""
    root = member("mine", b"0", mode=0o6755)
    root.uid = root.gid = 0
    inside.upload(make_tar((root, b"#!/bin/sh\nid -u\n")))
    assert "uid=0" not in inside.run("rest", "sh", "-c", "stat -c uid=%u mine")
    for kind in (b"3", b"4"):
        device = member("device", kind)
        device.devmajor, device.devminor = 1, 1
        inside.upload(make_tar((device, b"")))
        said = inside.run("rest", "sh", "-c", "test -b device || test -c device; echo $?")
        assert said == "1\n", kind
