"""The public site, put together: the hot routes first, Klein's behind them."""

from __future__ import annotations

from klein import Klein

from wit import config
from wit.metrics import Metrics
from wit.runtime import Runtime
from wit.web.klein_door import KleinDoor
from wit.web.middleware.credentials import Checker
from wit.web.routes.git import GitDoor, Traffic
from wit.web.routes.health import Health
from wit.web.routes.repos import Finder, Sync, add_routes
from wit.web.site import WebSite


def make_site(
    settings: config.Config,
    runtime: Runtime,
    metrics: Metrics,
    *,
    health: Health,
    gate: Finder,
    credentials: Checker,
    traffic: Traffic,
    sync: Sync,
) -> WebSite:
    """``sync`` is ``wit.repositories.sync.Sync.run``. Raises ConfigError."""
    app = Klein()
    add_routes(app, gate, credentials, sync)
    routes = [
        GitDoor(traffic, credentials, settings, metrics).route,
        health.route(),
        KleinDoor(app).route,
    ]
    return WebSite(routes, settings.server, runtime, metrics)
