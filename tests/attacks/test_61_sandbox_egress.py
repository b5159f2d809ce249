"""What sandboxes of this machine reach over the network: nothing, or what the operator allows."""

from __future__ import annotations

import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import suppress

import pytest
from twisted.internet import reactor

from tests.conftest import Run
from tests.sandboxes.local.fixtures import NewBox
from tests.sandboxes.support import Box
from wit.runtime import Runtime
from wit.sandboxes.local.provider import LocalProvider
from wit.sandboxes.provider import Network, ProviderContext, SandboxSpec

pytestmark = pytest.mark.attack(61)

METADATA = "169.254.169.254"


@pytest.fixture(scope="module")
def service() -> Iterator[int]:
    """Something on the host's own localhost that nobody may reach: its port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    connection.sendall(b"the host's")
                    connection.close()

        threading.Thread(target=answer, daemon=True).start()
        yield listening.getsockname()[1]


CONNECT = """
import socket, sys
try:
    print(socket.create_connection((sys.argv[1], int(sys.argv[2])), 3).recv(99))
except OSError as error:
    print("refused:", error)
"""


@pytest.fixture(scope="module")
def restricted(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """A sandbox that may reach some names; none of them is outside."""
    allow = f"allowed.example, *.allowed.example, localhost, 127.0.0.1, {METADATA}"
    folder = tmp_path_factory.mktemp("restricted")
    context = ProviderContext(Runtime(reactor), folder, "restricted", {"allow": allow})
    provider = LocalProvider(context)
    run(provider.start())
    ref = run(provider.create(SandboxSpec(uuid.uuid4().hex, network=Network.RESTRICTED)))
    yield Box(provider, ref, "")
    run(provider.stop())


def test_nothing_is_reached_without_a_network(new_box: NewBox, run: Run, service: int) -> None:
    box = new_box()
    for host, port in (("127.0.0.1", service), (METADATA, 80), ("1.1.1.1", 53), ("::1", service)):
        ran = run(box.run(["python3", "-c", CONNECT, host, str(port)]))
        assert ran.text.startswith("refused:"), (host, ran)
    assert run(box.run(["python3", "-c", CONNECT, "example.org", "80"])).text.startswith("refused:")


def test_sandboxes_do_not_reach_each_other(new_box: NewBox, run: Run) -> None:
    one, other = new_box(), new_box()

    async def look() -> str:
        serving = "import socket; s = socket.create_server(('0.0.0.0', 7777)); print(1, flush=True); s.accept()"
        server = await one.start("python3", "-c", serving)
        assert await server.read() is not None
        ran = await other.run(["python3", "-c", CONNECT, "127.0.0.1", "7777"])
        await server.close()
        return ran.text

    assert run(look()).startswith("refused:")


def test_raw_sockets_are_not_to_be_had(new_box: NewBox, run: Run) -> None:
    for family, kind in (("AF_PACKET", "SOCK_RAW"), ("AF_INET", "SOCK_RAW")):
        program = f"import socket; socket.socket(socket.{family}, socket.{kind})"
        assert run(new_box().run(["python3", "-c", program])).code == 1


ASK = """
import socket, sys
s = socket.create_connection(("127.0.0.1", 3128), 5)
s.sendall(sys.argv[1].encode().decode("unicode_escape").encode())
data = b""
while chunk := s.recv(4096):
    data += chunk
print(data.decode())
"""


def ask(box: Box, run: Run, request: str) -> str:
    text: str = run(box.run(["python3", "-c", ASK, request])).text
    return text


@pytest.mark.parametrize(
    "target",
    ["example.org:443", "allowed.example:22", "evil-allowed.example:443", "1.1.1.1:443"],
)
def test_a_host_that_is_not_allowed_is_refused_in_words(
    restricted: Box, run: Run, target: str
) -> None:
    answer = ask(restricted, run, f"CONNECT {target} HTTP/1.1\\r\\n\\r\\n")
    assert answer.startswith("HTTP/1.1 403") and "not on this server's list" in answer


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", METADATA])
def test_an_allowed_name_does_not_lead_inside(restricted: Box, run: Run, host: str) -> None:
    answer = ask(restricted, run, f"CONNECT {host}:80 HTTP/1.1\\r\\n\\r\\n")
    assert answer.startswith("HTTP/1.1 403") and "public internet" in answer


@pytest.mark.parametrize(
    "request_line",
    [
        "GET / HTTP/1.1",
        "GET ftp://allowed.example/ HTTP/1.1",
        "CONNECT allowed.example HTTP/1.1",
        "CONNECT user@allowed.example:443 HTTP/1.1",
        "CONNECT allowed.example:99999 HTTP/1.1",
        "nonsense",
    ],
)
def test_what_is_no_proxy_request(restricted: Box, run: Run, request_line: str) -> None:
    assert ask(restricted, run, request_line + "\\r\\n\\r\\n").startswith("HTTP/1.1 400")


def test_a_head_without_end(restricted: Box, run: Run) -> None:
    program = (
        "import socket\ns = socket.create_connection(('127.0.0.1', 3128), 5)\n"
        "s.sendall(b'CONNECT ' + b'x' * 60000)\nprint(s.recv(99).decode())"
    )
    assert "431" in run(restricted.run(["python3", "-c", program])).text


def test_programs_are_told_of_the_proxy_and_nothing_goes_around_it(
    restricted: Box, run: Run, service: int
) -> None:
    assert (
        run(restricted.sh("echo $https_proxy $http_proxy")).split() == ["http://127.0.0.1:3128"] * 2
    )
    ran = run(restricted.run(["python3", "-c", CONNECT, "127.0.0.1", str(service)]))
    assert ran.text.startswith("refused:")
