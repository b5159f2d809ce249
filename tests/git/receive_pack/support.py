"""What the tests of ReceivePack share."""

from __future__ import annotations

from collections.abc import Callable

from tests.git.pushing import PushServer
from wit.git.pktline import FLUSH, encode

Make = Callable[..., PushServer]
ZERO = "0" * 40


def command_list(new: str, capabilities: str = "report-status side-band-64k") -> bytes:
    return encode(f"{ZERO} {new} refs/heads/x\0{capabilities}".encode()) + FLUSH
