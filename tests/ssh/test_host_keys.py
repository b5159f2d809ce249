"""Making and loading host keys."""

from __future__ import annotations

import stat
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.ssh.support import make_config, make_key
from wit.errors import ConfigError
from wit.ssh import host_keys
from wit.ssh.host_keys import load_host_keys, make_host_keys


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No RSA keys: making them takes long, and one test of them is enough."""
    monkeypatch.setattr(host_keys, "TYPES", ("ed25519", "ecdsa"))


def test_the_default_keys(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    made = make_host_keys(config)
    names = {path.name for path in made}
    assert names == {"ssh_host_ed25519_key", "ssh_host_ecdsa_key", "ssh_host_rsa_key"}
    assert {path.name for path in (tmp_path / "ssh").iterdir()} == names
    for path in made:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert path.read_bytes().startswith(b"-----BEGIN OPENSSH PRIVATE KEY-----")
        listed = subprocess.run(["ssh-keygen", "-l", "-f", path], capture_output=True, text=True)
        assert listed.returncode == 0
        assert "rsa" not in path.name or listed.stdout.startswith("3072 ")
    assert stat.S_IMODE((tmp_path / "ssh").stat().st_mode) == 0o700
    keys = load_host_keys(config)
    assert keys.algorithms == (b"ssh-ed25519", b"rsa-sha2-512", b"rsa-sha2-256")
    before = {path: path.read_bytes() for path in made}
    assert make_host_keys(config) == []
    assert before == {path: path.read_bytes() for path in made}


def test_only_the_missing_ones_are_made(tmp_path: Path, quick: None) -> None:
    config = make_config(tmp_path)
    first = {path.name: path for path in make_host_keys(config)}
    kept = first["ssh_host_ecdsa_key"].read_bytes()
    first["ssh_host_ed25519_key"].unlink()
    assert make_host_keys(config) == [first["ssh_host_ed25519_key"]]
    assert first["ssh_host_ecdsa_key"].read_bytes() == kept


def test_daemons_that_start_together_end_up_with_the_same_keys(tmp_path: Path, quick: None) -> None:
    config = make_config(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: make_host_keys(config), range(8)))
    assert sum(map(len, made)) == 2
    assert len(list((tmp_path / "ssh").iterdir())) == 2
    load_host_keys(config)


def test_configured_keys_in_the_configured_order(tmp_path: Path) -> None:
    ecdsa = make_key(tmp_path, "one", "ecdsa", "-b", "384")
    pem = make_key(tmp_path, "two", "rsa", "-b", "2048", "-m", "PEM")
    config = make_config(
        tmp_path,
        host_keys=(str(ecdsa), str(pem)),
        host_key_algorithms=("rsa-sha2-256", "ssh-ed25519", "ecdsa-sha2-nistp384"),
    )
    assert make_host_keys(config) == []
    assert not (tmp_path / "ssh").exists()
    assert load_host_keys(config).algorithms == (b"rsa-sha2-256", b"ecdsa-sha2-nistp384")


def test_errors_say_what_to_do(tmp_path: Path) -> None:
    key = make_key(tmp_path, "key")

    def fails(match: str, *paths: Path, **settings: object) -> None:
        config = make_config(tmp_path, host_keys=tuple(map(str, paths)), **settings)
        with pytest.raises(ConfigError, match=match):
            load_host_keys(config)

    fails("cannot read the SSH host key .*missing: No such file", tmp_path / "missing")
    fails("cannot read the SSH host key .*ssh_host_ed25519_key")
    fails("not one of ssh-ed25519", key, host_key_algorithms=("ssh-dss",))
    fails("none of them fits", key, host_key_algorithms=("rsa-sha2-512",))
    fails("a second key of type ssh-ed25519", key, make_key(tmp_path, "other"))
    Path(f"{key}.pub").chmod(0o600)
    fails("is not a private SSH key", Path(f"{key}.pub"))
    fails("has a passphrase", _with_passphrase(tmp_path))
    fails("has 1024 bits", make_key(tmp_path, "weak", "rsa", "-b", "1024"))
    rubbish = tmp_path / "rubbish"
    rubbish.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n")
    rubbish.chmod(0o600)
    fails("is not a private SSH key", rubbish)
    fails("is not a private key of type ed25519", _dh_key(tmp_path))
    key.chmod(0o644)
    fails(r"others may read .* \(mode 0644\): run chmod 600", key)


def _with_passphrase(folder: Path) -> Path:
    path = folder / "locked"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", path], check=True)
    return path


def _dh_key(folder: Path) -> Path:
    path = folder / "x25519"
    subprocess.run(["openssl", "genpkey", "-algorithm", "x25519", "-out", path], check=True)
    path.chmod(0o600)
    return path


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "ssh").write_text("a file")
    with pytest.raises(ConfigError, match="cannot make SSH host keys in"):
        make_host_keys(make_config(tmp_path))
