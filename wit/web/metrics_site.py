"""``GET /metrics`` for Prometheus, on an endpoint of its own that the public does not reach."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from wit import config
from wit.metrics import Metrics
from wit.runtime import Runtime
from wit.web.site import WebSite, exactly
from wit.web.streaming import Request

LIMITS = config.Server(max_connections=64, idle_seconds=120.0)


def make_metrics_site(
    metrics: Metrics, runtime: Runtime, look_around: Callable[[], Awaitable[object]]
) -> WebSite:
    """``look_around`` (``Health.problems``) brings the degraded metric up to date."""

    async def show(request: Request) -> None:
        await look_around()
        text = await runtime.in_thread(generate_latest, metrics.registry)
        request.answer(200, CONTENT_TYPE_LATEST, text)

    return WebSite([exactly({b"/metrics": {b"GET": show}})], LIMITS, runtime, Metrics())
