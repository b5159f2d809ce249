"""pnpm, yarn (classic and berry) and bun: publishing, installing, lock files, tags, who one is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.real.npm.registry import NODE, Registry, name_of, required, set_version

PNPM = str(NODE / ".bin" / "pnpm")
YARN = ("node", str(NODE / "yarn-classic" / "bin" / "yarn.js"))
BERRY = ("node", str(NODE / "@yarnpkg" / "cli-dist" / "bin" / "yarn.js"))
BUN = str(NODE / ".bin" / "bun")


@pytest.fixture(scope="module")
def dependency(registry: Registry) -> str:
    """A scoped package that others depend on."""
    return registry.published(name="@alice/dependency")


def test_pnpm(registry: Registry, dependency: str) -> None:
    folder = registry.package(registry.repository(), dependencies={dependency: "^1.0.0"})
    name = name_of(folder)
    said = registry.run(PNPM, "publish", "--no-git-checks", cwd=folder)
    assert f"+ {name}@1.0.0" in said.out
    project = registry.project()
    registry.run(PNPM, "add", name, cwd=project)
    assert required(project, name) == "1.0.0"
    assert "sha512-" in (project / "pnpm-lock.yaml").read_text()
    again = registry.project(dependencies={name: "^1.0.0"})
    (again / "pnpm-lock.yaml").write_bytes((project / "pnpm-lock.yaml").read_bytes())
    registry.run(PNPM, "install", "--frozen-lockfile", cwd=again)
    assert required(again, name) == "1.0.0"
    assert registry.run(PNPM, "view", name, "version").out == "1.0.0\n"
    assert registry.run(PNPM, "whoami").out == "alice\n"
    assert "No known vulnerabilities" in registry.run(PNPM, "audit", cwd=project).out


def test_yarn_classic(registry: Registry, dependency: str) -> None:
    """Its audit asks an address of its own, whatever the registry."""
    folder = registry.package(registry.repository(), dependencies={dependency: "^1.0.0"})
    name = name_of(folder)
    registry.run(*YARN, "publish", "--non-interactive", "--new-version", "1.0.0", cwd=folder)
    project = registry.project()
    registry.run(*YARN, "add", name, cwd=project)
    assert required(project, name) == "1.0.0"
    assert "sha512-" in (project / "yarn.lock").read_text()
    again = registry.project(dependencies={name: "^1.0.0"})
    (again / "yarn.lock").write_bytes((project / "yarn.lock").read_bytes())
    registry.run(*YARN, "install", "--frozen-lockfile", cwd=again)
    assert required(again, name) == "1.0.0"
    assert "1.0.0" in registry.run(*YARN, "info", name, "version").out
    registry.run(*YARN, "tag", "add", f"{name}@1.0.0", "old")
    assert "old: 1.0.0" in registry.run(*YARN, "tag", "list", name).out
    registry.run(*YARN, "tag", "remove", name, "old")
    assert "alice" in registry.run(*YARN, "owner", "list", name).out


def _berry(registry: Registry, folder: Path) -> None:
    (folder / ".yarnrc.yml").write_text(
        f"npmRegistryServer: {registry.url}\n"
        f"npmAuthToken: {registry.tokens['alice']}\n"
        "npmAlwaysAuth: true\nunsafeHttpWhitelist: [127.0.0.1]\n"
        "enableTelemetry: false\nnodeLinker: node-modules\nenableGlobalCache: false\n"
        "npmMinimalAgeGate: 0\n"
    )
    (folder / "yarn.lock").touch()


def test_yarn_berry(registry: Registry, dependency: str) -> None:
    berry = {"YARN_ENABLE_IMMUTABLE_INSTALLS": "false"}
    folder = registry.package(registry.repository(), dependencies={dependency: "^1.0.0"})
    name = name_of(folder)
    _berry(registry, folder)
    registry.run(*BERRY, "install", cwd=folder, environment=berry)
    said = registry.run(*BERRY, "npm", "publish", cwd=folder)
    assert "Package archive published" in said.out
    assert "alice" in registry.run(*BERRY, "npm", "whoami", cwd=folder).out
    project = registry.project()
    _berry(registry, project)
    registry.run(*BERRY, "add", name, cwd=project, environment=berry)
    assert required(project, name) == "1.0.0"
    registry.run(*BERRY, "install", "--immutable", cwd=project)
    registry.run(*BERRY, "npm", "tag", "add", f"{name}@1.0.0", "old", cwd=project)
    assert "old" in registry.run(*BERRY, "npm", "tag", "list", name, cwd=project).out
    registry.run(*BERRY, "npm", "tag", "remove", name, "old", cwd=project)
    assert '"1.0.0"' in registry.run(*BERRY, "npm", "info", name, "--json", cwd=project).out
    assert "No audit suggestions" in registry.run(*BERRY, "npm", "audit", cwd=project).out


def test_bun(registry: Registry, dependency: str) -> None:
    folder = registry.package(registry.repository(), dependencies={dependency: "^1.0.0"})
    name = name_of(folder)
    registry.run(BUN, "publish", cwd=folder)
    set_version(folder, "1.1.0-rc.1")
    registry.run(BUN, "publish", "--tag", "next", cwd=folder)
    assert registry.run(BUN, "pm", "whoami", cwd=folder).out.strip() == "alice"
    project = registry.project()
    registry.run(BUN, "add", f"{name}@next", cwd=project)
    assert required(project, name) == "1.1.0-rc.1"
    assert "sha512-" in (project / "bun.lock").read_text()
    again = registry.project(dependencies={name: "next"})
    manifest = (project / "package.json").read_bytes()
    (again / "package.json").write_bytes(manifest)
    (again / "bun.lock").write_bytes((project / "bun.lock").read_bytes())
    registry.run(BUN, "install", "--frozen-lockfile", cwd=again)
    assert required(again, name) == "1.1.0-rc.1"
    assert "1.0.0" in registry.run(BUN, "info", name, "version", cwd=project).out
    assert "No vulnerabilities found" in registry.run(BUN, "audit", cwd=project).all
