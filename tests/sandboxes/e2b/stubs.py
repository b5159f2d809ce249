"""The server stubs in E2B's own package, without the rest of it."""

from __future__ import annotations

import importlib.util
import sys
import types


def _bare(package: str) -> None:
    """Make ``package.module`` importable without running the package's own, large __init__."""
    spec = importlib.util.find_spec(package)
    assert spec is not None and spec.submodule_search_locations is not None
    module = types.ModuleType(package)
    module.__path__ = list(spec.submodule_search_locations)
    sys.modules[package] = module


_bare("e2b")

from connectrpc.code import Code  # noqa: E402
from connectrpc.errors import ConnectError  # noqa: E402
from e2b.envd.filesystem import filesystem_connect as fs_service  # noqa: E402
from e2b.envd.filesystem import filesystem_pb as fs  # noqa: E402
from e2b.envd.process import process_connect as service  # noqa: E402
from e2b.envd.process import process_pb as pb  # noqa: E402
from protobuf import Oneof  # noqa: E402

__all__ = ["Code", "ConnectError", "Oneof", "fs", "fs_service", "pb", "service"]
