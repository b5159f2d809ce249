"""Node's ``ws``, unmodified, in front of a terminal in a real sandbox; in the clear and over TLS."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.support import site as sites_
from tests.support.daemon import Daemon, free_port
from tests.support.site import Run
from tests.support.terminals import Desk, desk_of

NODE = Path(__file__).parent / "node"


@attrs.frozen
class Doors:
    desk: Desk
    tls_port: int
    certificate: Path


@pytest.fixture(scope="module")
def doors(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    """A daemon that serves HTTP and HTTPS, and one sandbox that can be had."""
    folder = tmp_path_factory.mktemp("terminals")
    key, certificate = folder / "key.pem", folder / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-days", "2", "-subj", "/CN=wit", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    port = free_port()
    tls = f"ssl:{port}:privateKey={key}:certKey={certificate}:interface=127.0.0.1"
    daemon = Daemon(folder / "data", flags=["--http", tls])
    with contextmanager(sites_.open_site)(daemon, folder, run) as site:
        desk = desk_of(site)
        desk.terminal()  # skips where there are no sandboxes
        yield Doors(desk, port, certificate)
        desk.close()


@pytest.mark.parametrize("form", ["contract", "term"])
@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_a_shell(doors: Doors, scheme: str, form: str) -> None:
    assert (NODE / "node_modules" / "ws").exists(), "run `scripts/setup dev .venv`: it runs npm ci"
    desk = doors.desk
    port = desk.site.daemon.http_port if scheme == "ws" else doors.tls_port
    url = f"{scheme}://127.0.0.1:{port}{desk.path}"
    done = subprocess.run(
        ["node", str(NODE / "terminal.mjs"), f"{url}?cols=100&rows=30" if form == "term" else url,
         desk.session, form],
        capture_output=True, text=True, timeout=90,
        env={**os.environ, "NODE_EXTRA_CA_CERTS": str(doors.certificate)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout)
    assert "error" not in seen and seen["close"] == 1000, seen
    assert seen["printed"] >= 300_000 - 10
    assert seen["exit"]["code"] == 7
    if form == "term":
        assert seen["protocol"] == "wit.term.v1" and [90, 20] in seen["sizes"]
        assert seen["kinds"][:2] == ["hello", "replayed"]
    else:
        assert seen["protocol"] == ""
        assert seen["kinds"] == ["ready", "session", "data", "exit"]
