"""How a provider is plugged into the contract suite."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib import import_module
from pathlib import Path

import attrs

from tests.conftest import Run
from wit.runtime import Runtime
from wit.sandboxes.provider import SandboxProvider

PROVIDERS: dict[str, str] = {
    "docker": "tests.sandboxes.docker.plug:open_docker",
    "podman": "tests.sandboxes.docker.plug:open_podman",
    "local": "tests.sandboxes.local.plug:open_local",
    "e2b": "tests.sandboxes.e2b.plug:open_e2b",
    "daytona": "tests.sandboxes.daytona.plug:open_daytona",
}
"""Who is tested: name -> ``module:function``, an :data:`Opener`. Each provider adds its line."""


@attrs.frozen
class Plug:
    """A started provider, and what the suite has to know of it."""

    provider: SandboxProvider
    isolated: bool = True
    """False for a fake that runs commands on this machine without walls: tests of walls are skipped."""
    crowd: int = 8
    """Sandboxes that the suite makes at once."""
    reopen: Callable[[], AbstractContextManager[SandboxProvider]] | None = None
    """Another provider over the same sandboxes, started and later stopped, as after a restart."""


Opener = Callable[[Runtime, Path, Run], AbstractContextManager[Plug]]
"""``open(runtime, folder, run)``: a context manager that starts a provider and stops it. It may
call ``pytest.skip`` with the reason when this machine cannot have it."""


def opener(name: str) -> Opener:
    module, _, function = PROVIDERS[name].partition(":")
    found: Opener = getattr(import_module(module), function)
    return found
