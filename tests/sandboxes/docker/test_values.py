"""What is pure: addresses, versions, settings, paths, and what the engine is told of a sandbox."""

from __future__ import annotations

import pytest
from twisted.internet import reactor

from wit.errors import ConfigError, Invalid, Unavailable
from wit.sandboxes.docker import paths
from wit.sandboxes.docker.address import read_address
from wit.sandboxes.docker.container import exec_body
from wit.sandboxes.docker.creation import (
    Settings,
    Traits,
    container_body,
    read_settings,
    volume_body,
)
from wit.sandboxes.docker.engine import agree
from wit.sandboxes.provider import Command, Limits, Network, SandboxSpec, TerminalSize

ID = "0123456789abcdef" * 2


def test_addresses(tmp_path) -> None:
    assert read_address("unix:///run/x.sock").socket == "/run/x.sock"
    assert read_address("/run/x.sock").socket == "/run/x.sock"
    plain = read_address("tcp://engine.example:2000")
    assert (plain.host, plain.port, plain.tls) == ("engine.example", 2000, False)
    assert read_address("tcp://engine.example").port == 2375
    safe = read_address("tcp://[::1]", str(tmp_path))
    assert (safe.host, safe.port, safe.tls) == ("::1", 2376, True)
    own = tmp_path / "podman"
    own.mkdir()
    (own / "podman.sock").touch()
    found = read_address("", environ={"XDG_RUNTIME_DIR": str(tmp_path)}).socket
    assert found in ("/var/run/docker.sock", "/run/podman/podman.sock", f"{own}/podman.sock")


@pytest.mark.parametrize(
    "host",
    [
        "ssh://root@host",
        "npipe:////./pipe/x",
        "tcp://",
        "tcp://h:99999",
        "unix://x",
        "x",
        "https://h",
    ],
)
def test_what_is_no_address(host: str) -> None:
    with pytest.raises(ConfigError):
        read_address(host)


def test_certificates_that_are_not_there(tmp_path) -> None:
    with pytest.raises(ConfigError, match="certificates"):
        read_address("tcp://127.0.0.1:1", str(tmp_path)).endpoint(reactor)


@pytest.mark.parametrize(
    "newest,oldest,expected",
    [("1.41", "1.12", "1.41"), ("1.52", "1.44", "1.52"), ("1.99", "1.44", "1.52")],
)
def test_the_version_that_both_know(newest: str, oldest: str, expected: str) -> None:
    assert agree({"ApiVersion": newest, "MinAPIVersion": oldest}) == expected


@pytest.mark.parametrize(
    "found,words",
    [
        ({"ApiVersion": "1.40"}, "too old"),
        ({"ApiVersion": "2.5", "MinAPIVersion": "2.0"}, "too new"),
        ({}, "is none"),
        ({"ApiVersion": "x"}, "is none"),
    ],
)
def test_versions_that_do_not_meet(found: dict[str, str], words: str) -> None:
    with pytest.raises(Unavailable, match=words):
        agree(found)


@pytest.mark.parametrize(
    "setting",
    [
        {"network": "host"},
        {"network": "container:x"},
        {"user": "0:0"},
        {"user": "root"},
        {"workspace": "disk"},
        {"pull": "always"},
        {"image": "--privileged"},
    ],
)
def test_settings_that_are_refused(setting: dict[str, str]) -> None:
    with pytest.raises(ConfigError):
        read_settings(setting)


def test_a_sandbox_has_no_rights_and_no_network() -> None:
    limits = Limits(memory_bytes=2**26, cpus=0.5, processes=50, disk_bytes=2**24)
    body = container_body(SandboxSpec(ID, limits=limits), Settings(), "mine", Traits())
    host = body["HostConfig"]
    assert host["NetworkMode"] == "none" and body["NetworkDisabled"]
    assert host["CapDrop"] == ["ALL"] and host["SecurityOpt"] == ["no-new-privileges:true"]
    assert host["ReadonlyRootfs"] and not host["Privileged"]
    assert (host["Memory"], host["MemorySwap"], host["NanoCpus"], host["PidsLimit"]) == (
        *(2**26, 2**26, 500_000_000),
        50,
    )
    assert [mount["Type"] for mount in host["Mounts"]] == ["volume"]
    assert "Binds" not in host and "Devices" not in host
    assert {"Name": "fsize", "Soft": 2**24, "Hard": 2**24} in host["Ulimits"]
    full = SandboxSpec(ID, network=Network.FULL)
    assert (
        container_body(full, Settings(network="own"), "mine", Traits())["HostConfig"]["NetworkMode"]
        == "own"
    )


def test_a_quota_is_asked_for_where_there_are_quotas() -> None:
    spec = SandboxSpec(ID, limits=Limits(disk_bytes=2**24))
    assert volume_body(spec, Settings(), "mine", Traits(quota=True))["DriverOpts"] == {
        "size": str(2**24)
    }
    assert "DriverOpts" not in volume_body(spec, Settings(), "mine", Traits())


@pytest.mark.parametrize("spec", [SandboxSpec("../x"), SandboxSpec(ID, image="a b")])
def test_names_that_are_refused(spec: SandboxSpec) -> None:
    with pytest.raises(Invalid):
        container_body(spec, Settings(), "mine", Traits())


def test_secrets_are_no_part_of_a_command_line() -> None:
    body = exec_body(Command(["env"], env={"TOKEN": "s3cret"}), "1000:1000", "mark")
    assert "TOKEN=s3cret" in body["Env"]
    assert "s3cret" not in " ".join(body["Cmd"])


@pytest.mark.attack(67)
def test_arguments_stay_arguments() -> None:
    hostile = ["echo", "$(id)", "; id", "`id`", "a b", "--", "\n"]
    body = exec_body(Command(hostile, terminal=TerminalSize(80, 24)), "1000:1000", "mark")
    assert body["Cmd"][-len(hostile) :] == hostile


@pytest.mark.parametrize("env", [{"": "x"}, {"A=B": "x"}, {"A": "x\0"}, {"A": "\udc80"}])
def test_variables_that_cannot_be(env: dict[str, str]) -> None:
    with pytest.raises(Invalid):
        exec_body(Command(["env"], env=env), "1000:1000", "mark")


def test_paths() -> None:
    assert paths.absolute("a/../b") == "/workspace/b"
    assert paths.absolute("//etc") == "/etc"
    assert paths.inside("/workspace/") == "/workspace"
    assert paths.entry("a/b") == ("/workspace/a", "b")
    for path in ("..", "/etc", "/workspaces", "a/../../b"):
        with pytest.raises(Invalid):
            paths.inside(path)
    for path in (".", "/workspace"):
        with pytest.raises(Invalid):
            paths.entry(path)
