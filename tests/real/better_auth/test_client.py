"""better-auth's own client against the door."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.mail.server import SmtpServer
from tests.real.better_auth.compare import NODE, node
from tests.support.daemon import Daemon


def test_better_auths_client(daemon: Daemon, smtp: SmtpServer, tmp_path: Path) -> None:
    """createAuthClient with the plugins username and two-factor, unchanged."""
    done = subprocess.run(
        node(str(NODE / "auth_client.mjs"), daemon.url().rstrip("/")),
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip().endswith("all fine")
