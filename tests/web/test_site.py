from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from klein import Klein

from tests.web.harness import Online
from tests.web.routes.standin import Credentials, Traffic
from tests.web.routes.test_health import Pings
from tests.web.routes.test_repos import Gate, sync
from wit.config import Config, Server
from wit.errors import ConfigError
from wit.metrics import Metrics
from wit.runtime import Runtime
from wit.web.klein_door import KleinDoor
from wit.web.routes.git import GitDoor
from wit.web.routes.health import Health
from wit.web.routes.repos import add_routes
from wit.web.service import HttpService
from wit.web.site import WebSite


def site_of(runtime: Runtime, settings: Config) -> WebSite:
    metrics = Metrics()
    app = Klein()
    add_routes(app, Gate(), Credentials(), sync)
    git_door = GitDoor(Traffic(runtime, settings.data_dir), Credentials(), settings, metrics)
    health = Health(settings, runtime, metrics, Pings())
    routes = [git_door.route, health.route(), KleinDoor(app).route]
    return WebSite(routes, settings.server, runtime, metrics)


def test_every_group_of_routes_is_there(
    run: Callable[[Any], Any], runtime: Runtime, tmp_path: Path
) -> None:
    site = site_of(runtime, Config(tmp_path))
    service = HttpService(site, ["tcp:0:interface=127.0.0.1"], runtime)
    run(service.start())
    try:
        online = Online(int(service.addresses[0].rsplit(":", 1)[1]), site)
        for path, status in (
            (b"/health", 200),
            (b"/livez", 200),
            (b"/repos", 200),
            (b"/nobody/nothing.git/info/refs?service=git-upload-pack", 401),
            (b"/nobody/nothing.git/HEAD", 403),
            (b"/", 404),
            (b"/nobody/nothing", 404),
        ):
            answer = online.exchange(
                b"GET " + path + b" HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
            )
            assert int(answer.split()[1]) == status, path
    finally:
        run(service.stop(0))


def test_wrong_proxies_are_a_configuration_error(runtime: Runtime, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="trusted_proxies"):
        site_of(runtime, Config(tmp_path, server=Server(trusted_proxies=("10.0.0.0/33",))))


def test_settings_can_be_replaced_while_the_site_runs(runtime: Runtime, tmp_path: Path) -> None:
    site = site_of(runtime, Config(tmp_path))
    site.limits = Server(max_connections=0, trusted_proxies=("10.0.0.0/8",))
    assert site.buildProtocol(None) is None
    assert site.peers.trusted("10.1.2.3")
    with pytest.raises(ConfigError):
        site.limits = Server(trusted_proxies=("nonsense",))
    assert site.peers.trusted("10.1.2.3")
