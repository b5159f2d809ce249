"""What programs in a sandbox reach, started by each of the daemon's doors: nothing of the host's,
and of the world what the operator allows; a refusal says that it is one."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from tests.support.doors import DOORS, HOSTS, Inside, new_inside
from tests.support.sandboxes import REPO, Boxes

pytestmark = pytest.mark.attack(61)

METADATA = ("169.254.169.254:80", "168.63.129.16:80", "100.100.100.200:80")
WORLD = ("1.1.1.1:53", "1.1.1.1:443", "[2606:4700:4700::1111]:53", "10.0.0.1:22", "172.17.0.1:2375")

REACH = r"""
import json, socket, struct, sys

found = {}
for pair in sys.argv[1:]:
    host, port = pair.rsplit(":", 1)
    host = host.strip("[]")
    try:
        found[pair] = "reached %r" % socket.create_connection((host, int(port)), 3).recv(9)
    except OSError as error:
        found[pair] = "refused: " + (error.strerror or str(error))
question = struct.pack(">6H", 1, 0x100, 1, 0, 0, 0) + b"\6secret\7example\3org\0" + b"\0\x10\0\1"
for server in ("1.1.1.1", "8.8.8.8", "127.0.0.53", "169.254.169.254"):
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.settimeout(2)
            udp.connect((server, 53))
            udp.send(question)
            found["asked " + server] = "reached %r" % udp.recv(512)
    except OSError as error:
        found["asked " + server] = "refused: " + str(error)
try:
    found["a name"] = "reached " + socket.gethostbyname("secret.example.org")
except OSError as error:
    found["a name"] = "refused: " + str(error)
for family, kind in ((17, 3), (2, 3), (16, 3)):
    try:
        socket.socket(family, kind, 1 if family == 2 else 0)
        found["raw %d" % family] = "made" if family == 16 else "reached"
    except OSError as error:
        found["raw %d" % family] = "refused: " + str(error)
found["interfaces"] = "refused" if [
    line.split(":")[0].strip() for line in open("/proc/net/dev") if ":" in line
] == ["lo"] else "reached"
print(json.dumps(found))
"""


@pytest.fixture(scope="module", params=HOSTS)
def boxes(request: pytest.FixtureRequest, hosts: Callable[[str], Boxes]) -> Boxes:
    return hosts(request.param)


@pytest.fixture(scope="module")
def inside(boxes: Boxes) -> Iterator[Inside]:
    with new_inside(boxes) as inside:
        yield inside


@pytest.fixture(scope="module")
def service() -> Iterator[int]:
    """A service of this machine on all its addresses: its port."""
    with socket.create_server(("", 0)) as listening:

        def answer() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    connection.sendall(b"the host's")
                    connection.close()

        threading.Thread(target=answer, daemon=True).start()
        yield listening.getsockname()[1]


@pytest.mark.parametrize("door", DOORS)
def test_nothing_is_reached(inside: Inside, door: str, service: int) -> None:
    """Not metadata, a service or the daemon on this machine, the world, nor a name server."""
    daemon = inside.boxes.site.daemon
    own = {str(found[4][0]) for found in socket.getaddrinfo(socket.gethostname(), None)}
    ports = (service, daemon.http_port, daemon.ssh_port, daemon.metrics_port)
    there = [f"127.0.0.1:{port}" for port in ports]
    there += [f"{address}:{service}" for address in own if ":" not in address]
    with socket.create_connection(("127.0.0.1", service), 3) as connection:
        assert connection.recv(99) == b"the host's"
    found = inside.report(door, REACH, *there, *METADATA, *WORLD)
    assert len(found) > len(there) + len(METADATA) + len(WORLD)
    assert {
        what: how for what, how in found.items() if not how.startswith(("refused", "made"))
    } == {}


@pytest.mark.parametrize("door", DOORS)
def test_another_sandbox_is_not_reached(inside: Inside, door: str) -> None:
    """Neither over its ports nor through a folder that both can write."""
    serving = (
        "import os, socket, threading\n"
        "s = socket.create_server(('', 7777)); u = socket.socket(socket.AF_UNIX)\n"
        "u.bind('/tmp/meet'); u.listen(); open('ready', 'w').close(); s.accept()"
    )
    with new_inside(inside.boxes) as other, other.terminal() as client:
        other.put("serve.py", serving.encode())
        client.type(b"python3 serve.py &\r")
        client.type(b"until [ -e ready ]; do sleep 0.1; done; echo over-$((6*7))\r")
        client.until_seen(b"over-42")
        found = inside.report(door, REACH, "127.0.0.1:7777", "[::1]:7777")
        assert {how[:7] for what, how in found.items() if "7777" in what} == {"refused"}
        assert "meet" not in inside.run(door, "sh", "-c", "ls /tmp /dev/shm")
        assert client.closed is None


ASK = """
import json, socket, sys

port, request = int(sys.argv[1]), sys.argv[2].encode().decode("unicode_escape").encode()
s = socket.create_connection(("127.0.0.1", port), 5)
s.sendall(request)
data = b""
while chunk := s.recv(4096):
    data += chunk
print(json.dumps([data.decode("utf-8", "replace")]))
"""


@pytest.mark.parametrize("door", DOORS)
def test_a_list_that_says_no(boxes: Boxes, door: str) -> None:
    """Of a restricted sandbox: in words to the program, for names and numbers that are not on the
    list, and for names on it that lead inside. Where an engine has no such list, it says so."""
    status, answer = boxes.ask("POST", f"repos/{REPO}/sandboxes", {"network": "restricted"})
    if status != 201:
        assert "cannot have the network restricted" in str(answer)
        assert boxes.site.daemon.environment["WIT_SANDBOXES_PROVIDER"] == "docker"
        return
    restricted = Inside(boxes, answer["id"])
    for target, words in (
        ("example.org:443", "not on this server's list"),
        ("1.1.1.1:443", "not on this server's list"),
        ("allowed.example.evil.org:443", "not on this server's list"),
        ("allowed.example:22", "not on this server's list"),
        ("localhost:80", "public internet"),
        ("127.0.0.1:80", "public internet"),
        ("169.254.169.254:80", "public internet"),
    ):
        request = f"CONNECT {target} HTTP/1.1\\r\\n\\r\\n"
        (said,) = restricted.report(door, ASK, "3128", request)
        assert said.startswith("HTTP/1.1 403") and words in said, (target, said)
    found = restricted.report(door, REACH, *METADATA, *WORLD)
    assert {
        what: how for what, how in found.items() if not how.startswith(("refused", "made"))
    } == {}
    boxes.destroy(restricted.id)


@pytest.mark.parametrize("door", DOORS)
def test_the_way_to_its_repository_leads_nowhere_else(inside: Inside, door: str) -> None:
    """git's remote works without a network, by a token that is good for one repository alone."""
    if inside.boxes.site.daemon.environment["WIT_SANDBOXES_PROVIDER"] == "docker":
        said = inside.run(door, "git", "ls-remote", "origin")
        assert "refs/heads/main" not in said and "network" in said, "it says why"
        return
    inside.boxes.site.create(f"alice/other-{door}")
    assert "refs/heads/main" in inside.run(door, "git", "ls-remote", "origin")
    url = inside.run("rest", "git", "remote", "get-url", "origin").strip()
    assert url.endswith(REPO) or url.endswith(f"{REPO}.git")
    for wrong in (f"alice/other-{door}", "alice/none", "../../etc", "alice/boxed/../../secret"):
        said = inside.run(door, "git", "ls-remote", url.replace(REPO, wrong))
        assert "fatal" in said and "refs/" not in said, said
    for path in ("/api/v1/user", "/metrics", "/trpc/users.me", "/api/v1/sandboxes", "/"):
        request = f"GET {path} HTTP/1.0\\r\\nHost: 127.0.0.1\\r\\n\\r\\n"
        (said,) = inside.report(door, ASK, "3129", request)
        assert said.split()[1] in ("401", "403", "404"), (path, said)
