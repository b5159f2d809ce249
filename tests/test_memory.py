from __future__ import annotations

from pathlib import Path

from wit import memory as module
from wit.memory import memory


def test_what_this_process_uses(monkeypatch) -> None:
    used = memory()
    assert 10_000_000 < used.resident < 100_000_000_000
    assert used.data > 1_000_000
    monkeypatch.setattr(module, "_STATM", Path("/nowhere"))
    peak = memory()
    assert peak.resident == peak.data >= 10_000_000
