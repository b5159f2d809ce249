from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.web.harness import Online
from wit.metrics import Metrics
from wit.runtime import Runtime
from wit.web.metrics_site import make_metrics_site
from wit.web.service import HttpService


def test_metrics_on_their_own_endpoint(run: Callable[[Any], Any], runtime: Runtime) -> None:
    async def look_around() -> None:
        metrics.degraded.labels("disk").set(1)

    metrics = Metrics()
    site = make_metrics_site(metrics, runtime, look_around)
    service = HttpService(site, ["tcp:0:interface=127.0.0.1"], runtime, name="metrics")
    run(service.start())
    try:
        online = Online(int(service.addresses[0].rsplit(":", 1)[1]), site)
        answer = online.exchange(b"GET /metrics HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 OK")
        assert b"Content-Type: text/plain; version=" in answer
        assert b'wit_degraded{reason="disk"} 1.0\n' in answer
        assert online.exchange(
            b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
        ).startswith(b"HTTP/1.1 404 ")
    finally:
        run(service.stop())
