"""What ``wit doctor`` says of sandboxes: each provider, tried for real, beside whatever runs."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs

from wit.cli.findings import Finding, fail, ok, warn
from wit.config import Config
from wit.metrics import Metrics
from wit.runtime import Runtime
from wit.sandboxes.registry import NOWHERE, ProviderStatus, Registry

SUBJECT = "sandboxes"

INSTANCE = "doctor"
"""So that the daemon's sandboxes are not taken for ours, nor ours for its."""


async def sandboxes(config: Config, runtime: Runtime) -> list[Finding]:
    """Changes nothing that stays."""
    wanted = config.sandboxes.provider
    if wanted == NOWHERE:
        return [ok(SUBJECT, "switched off")]
    statuses = await _tried(config, runtime)
    found = [_finding(status, wanted) for status in statuses]
    if wanted and wanted not in {status.name for status in statuses}:
        found.append(fail(SUBJECT, f"there is no provider {wanted!r}", "see sandboxes.provider"))
    if not any(status.ready for status in statuses):
        found.append(warn(SUBJECT, "none can be made here", "see the reasons above"))
    return found


async def _tried(config: Config, runtime: Runtime) -> list[ProviderStatus]:
    beside = attrs.evolve(config, sandboxes=attrs.evolve(config.sandboxes, local_dir=""))
    registry = Registry(beside, runtime, Metrics())
    with TemporaryDirectory(prefix="wit-doctor-") as folder:
        os.chmod(folder, 0o711)  # noqa: S103  (sandboxes are other users)
        await registry.start(Path(folder), INSTANCE)
        try:
            await registry.probe_all()
            return registry.statuses()
        finally:
            await registry.stop()


def _finding(status: ProviderStatus, wanted: str) -> Finding:
    if status.ready:
        detail = ", ".join(f"{key} {value}" for key, value in status.detail.items())
        return ok(
            SUBJECT, f"{status.name} is ready ({detail})" if detail else f"{status.name} is ready"
        )
    text = f"{status.name} is not ready: {status.reason}"
    return fail(SUBJECT, text) if status.name == wanted else ok(SUBJECT, text)
