"""What a container without a network reaches: nothing but itself."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from tests.conftest import Run
from tests.sandboxes.docker.plug import boxed
from tests.sandboxes.support import Box
from wit.sandboxes.provider import Limits

pytestmark = pytest.mark.attack(61)

CONNECT = """
import socket, sys
for host, port in (pair.rsplit(":", 1) for pair in sys.argv[1:]):
    try:
        socket.create_connection((host, int(port)), 3)
        print("reached", host)
    except OSError as error:
        print(type(error).__name__, error.errno)
"""
UNREACHABLE = "OSError 101"


@pytest.fixture(scope="module")
def box(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    with boxed(run, tmp_path_factory.mktemp("engine"), Limits()) as box:
        yield box


@pytest.fixture
def listening() -> Iterator[int]:
    """A service of this machine on all its addresses."""
    with socket.create_server(("", 0)) as server:
        threading.Thread(target=_accept, args=(server,), daemon=True).start()
        yield server.getsockname()[1]


def _accept(server: socket.socket) -> None:
    try:
        while True:
            server.accept()[0].close()
    except OSError:
        return


def test_services_of_the_host(box: Box, run: Run, listening: int) -> None:
    with socket.create_connection(("127.0.0.1", listening), 3):
        pass
    own = {str(found[4][0]) for found in socket.getaddrinfo(socket.gethostname(), None)}
    addresses = [address for address in own if ":" not in address] + ["10.0.0.1", "172.17.0.1"]
    there = [f"{address}:{listening}" for address in addresses if address[:4] != "127."]
    said = run(box.run(["python3", "-c", CONNECT, *there])).text.splitlines()
    assert said == [UNREACHABLE] * len(there)
    assert run(box.run(["python3", "-c", CONNECT, f"127.0.0.1:{listening}"])).text == (
        "ConnectionRefusedError 111\n"
    )


def test_metadata_names_and_the_world(box: Box, run: Run) -> None:
    there = ["169.254.169.254:80", "168.63.129.16:80", "100.100.100.200:80", "1.1.1.1:53"]
    assert run(box.run(["python3", "-c", CONNECT, *there])).text.splitlines() == [UNREACHABLE] * 4
    lookup = "import socket\ntry: socket.gethostbyname('example.org')\nexcept OSError: print('no')"
    assert run(box.run(["python3", "-c", lookup])).text == "no\n"


def test_no_interface_but_its_own(box: Box, run: Run) -> None:
    assert run(box.sh("cut -s -d: -f1 /proc/net/dev")).split() == ["lo"]
    raw = "import socket\ntry: socket.socket(17, 3, 3)\nexcept OSError as e: print(e.errno)"
    assert run(box.run(["python3", "-c", raw])).text == "1\n"


def test_another_sandbox_is_not_there(
    box: Box, run: Run, tmp_path_factory: pytest.TempPathFactory
) -> None:
    async def look(other: Box) -> str:
        server = await other.start(
            "python3", "-uc", "import socket; s = socket.create_server(('', 8100)); s.accept()"
        )
        ran = await box.run(["python3", "-c", CONNECT, "127.0.0.1:8100"])
        await server.close()
        return ran.text

    with boxed(run, tmp_path_factory.mktemp("engine"), Limits()) as other:
        assert run(look(other)) == "ConnectionRefusedError 111\n"
