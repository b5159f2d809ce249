"""npm, the client on this machine: every verb that a registry answers."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.real.npm.registry import Registry, name_of, required, set_version
from tests.support.daemon import PASSWORD


def test_ping_and_whoami(registry: Registry) -> None:
    said = registry.npm("ping", "--json").json
    assert said["details"] == {"ok": True}
    assert registry.npm("whoami").out == "alice\n"
    nobody = registry.npm("whoami", person="", check=False)
    assert "ENEEDAUTH" in nobody.error


def test_publish_install_and_ci(registry: Registry) -> None:
    repository = registry.repository()
    inner = registry.package(repository, "@alice/inner")
    outer = registry.package(repository, "outer", dependencies={"@alice/inner": "^1.0.0"})
    said = registry.npm("publish", "--access", "public", cwd=inner)
    assert said.out == "+ @alice/inner@1.0.0\n"
    assert registry.npm("publish", cwd=outer).out == "+ outer@1.0.0\n"

    project = registry.project()
    registry.npm("install", "outer", cwd=project)
    assert required(project, "@alice/inner") == "1.0.0"
    lock = json.loads((project / "package-lock.json").read_text())["packages"]
    assert lock["node_modules/@alice/inner"]["integrity"].startswith("sha512-")
    address = registry.url + "@alice/inner/-/inner-1.0.0.tgz"
    assert lock["node_modules/@alice/inner"]["resolved"] == address

    again = registry.project(dependencies={"outer": "^1.0.0"})
    (again / "package-lock.json").write_bytes((project / "package-lock.json").read_bytes())
    registry.npm("ci", "--prefer-online", cwd=again)
    assert required(again, "outer") == "1.0.0"
    wrong = (again / "package-lock.json").read_text().replace("sha512-", "sha512-AAAA")
    (again / "package-lock.json").write_text(wrong)
    refused = registry.npm("ci", "--cache", str(again / "cache"), cwd=again, check=False)
    assert "EINTEGRITY" in refused.error


def test_versions_and_tags(registry: Registry) -> None:
    folder = registry.package(registry.repository())
    name = name_of(folder)
    for version, tag in (("1.0.0", "latest"), ("1.1.0-beta.1", "next"), ("1.0.1", "latest")):
        set_version(folder, version)
        registry.npm("publish", "--tag", tag, cwd=folder)
    assert registry.npm("view", name, "versions", "--json").json == [
        "1.0.0",
        "1.0.1",
        "1.1.0-beta.1",
    ]
    assert registry.npm("dist-tag", "ls", name).out == "latest: 1.0.1\nnext: 1.1.0-beta.1\n"
    said = registry.npm("dist-tag", "add", f"{name}@1.0.0", "old")
    assert said.out == f"+old: {name}@1.0.0\n"
    assert registry.npm("dist-tag", "rm", name, "old").out == f"-old: {name}@1.0.0\n"
    refused = registry.npm("dist-tag", "rm", name, "latest", check=False)
    assert "latest" in refused.error
    assert "400" in refused.error


def test_a_version_is_published_once(registry: Registry) -> None:
    folder = registry.package(registry.repository())
    registry.npm("publish", cwd=folder)
    refused = registry.npm("publish", "--prefer-offline", cwd=folder, check=False)
    assert "previously published version" in refused.error


def test_a_package_without_a_repository_of_this_site(registry: Registry) -> None:
    folder = registry.package("alice/none", "homeless")
    refused = registry.npm("publish", cwd=folder, check=False)
    assert "alice/none" in refused.error or "package.json" in refused.error
    assert registry.by_hand("alice").get("homeless").status == 404


def test_deprecate_and_undeprecate(registry: Registry) -> None:
    name = registry.published()
    registry.npm("deprecate", f"{name}@1.0.0", "use something else")
    project = registry.project()
    said = registry.npm("install", name, cwd=project)
    assert "use something else" in said.error
    registry.npm("undeprecate", f"{name}@1.0.0")
    assert "deprecated" not in registry.document(name)["versions"]["1.0.0"]


def test_unpublish(registry: Registry) -> None:
    folder = registry.package(registry.repository())
    name = name_of(folder)
    registry.npm("publish", cwd=folder)
    set_version(folder, "1.0.1")
    registry.npm("publish", cwd=folder)
    assert registry.npm("unpublish", f"{name}@1.0.1").out == f"- {name}@1.0.1\n"
    assert list(registry.document(name)["versions"]) == ["1.0.0"]
    burnt = registry.npm("publish", cwd=folder, check=False)
    assert burnt.status != 0
    registry.npm("unpublish", name, "--force")
    assert registry.by_hand("alice").get(name).status == 404


def test_unpublish_protects_dependents(registry: Registry) -> None:
    """From bob, who is no administrator."""
    repository = registry.repository("bob")
    needed = registry.package(repository)
    registry.npm("publish", cwd=needed, person="bob")
    user = registry.package(repository, dependencies={name_of(needed): "^1.0.0"})
    registry.npm("publish", cwd=user, person="bob")
    refused = registry.npm("unpublish", name_of(needed), "--force", person="bob", check=False)
    assert name_of(user) in refused.error
    assert list(registry.document(name_of(needed))["versions"]) == ["1.0.0"]


def test_search(registry: Registry) -> None:
    name = registry.published(description="quixotic windmills", keywords=["windmill"])
    (found,) = registry.npm("search", "quixotic", "--json").json
    assert (found["name"], found["version"]) == (name, "1.0.0")
    assert name in registry.npm("search", "windmill").out
    assert (
        registry.npm("search", "nothingofthekind").out
        == 'No matches found for "nothingofthekind"\n'
    )


def test_owners(registry: Registry) -> None:
    name = registry.published()
    assert registry.npm("owner", "ls", name).out.startswith("alice <")
    assert registry.npm("owner", "add", "bob", name).out == f"+ bob ({name})\n"
    assert len(registry.document(name)["maintainers"]) == 2
    assert registry.npm("owner", "rm", "bob", name).out == f"- bob ({name})\n"
    unknown = registry.npm("owner", "add", "nobody-at-all", name, check=False)
    assert "404" in unknown.error


def test_access(registry: Registry) -> None:
    name = registry.published(name="@alice/access")
    assert registry.npm("access", "get", "status", name).out == f"{name}: public\n"
    said = registry.npm("access", "set", "status=private", name)
    assert said.out == f"{name}: private\n"
    invisible = registry.npm("view", name, "version", person="bob", check=False)
    assert "E404" in invisible.error
    assert registry.npm("access", "list", "collaborators", name).out == "alice: read-write\n"
    assert f"{name}: read-write" in registry.npm("access", "list", "packages", "alice").out
    assert name not in registry.by_hand("bob").get("-/user/alice/package").json
    registry.npm("access", "set", "status=public", name)
    refused = registry.npm("access", "set", "mfa=publish", name, check=False)
    assert "two-factor" in refused.error
    refused = registry.npm("access", "grant", "read-only", "org:team", name, check=False)
    assert "rights of its repository" in refused.error


def test_stars(registry: Registry) -> None:
    name = registry.published()
    registry.npm("star", name)
    assert name in registry.npm("stars", "alice", person="bob").out.split()
    registry.npm("unstar", name)
    assert registry.document(name).get("users", {}) == {}


def test_audit(registry: Registry) -> None:
    project = registry.project()
    registry.npm("install", registry.published(), cwd=project)
    said = registry.npm("audit", cwd=project)
    assert "found 0 vulnerabilities" in said.out


def test_tokens(registry: Registry) -> None:
    refused = registry.npm("token", "create", "--password", "wrong horse", check=False)
    assert "E401" in refused.error
    made = registry.npm(
        "token", "create", "--password", PASSWORD, "--name", "build", "--json",
        "--packages-and-scopes-permission", "read-only",
    ).json  # fmt: skip
    assert re.fullmatch("wit_[0-9a-f]{40}", made["token"])
    assert made["readonly"] is True
    (listed,) = [
        token for token in registry.npm("token", "list", "--json").json if token["name"] == "build"
    ]
    assert listed["token"] == made["token"][:8]
    assert registry.npm("token", "revoke", listed["key"]).out == "Removed 1 token\n"
    assert "build" not in registry.npm("token", "list").out


def test_profile(registry: Registry) -> None:
    profile = registry.npm("profile", "get", "--json").json
    assert (profile["name"], profile["email"]) == ("alice", "alice@example.org")
    assert "two-factor auth: disabled" in registry.npm("profile", "get").out
    refused = registry.npm("profile", "set", "fullname", "Alice A.", check=False)
    assert "user:write" in refused.error


def test_a_wrong_token_is_told(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / ".npmrc").write_text(f"{registry.line}:_authToken=wit_{'0' * 40}\n")
    said = registry.npm("whoami", cwd=tmp_path, person="", check=False)
    assert "E401" in said.error
    (tmp_path / "package.json").write_text("{}")
    missing = registry.npm("view", "not-there-at-all", cwd=tmp_path, person="", check=False)
    assert "E401" in missing.error
