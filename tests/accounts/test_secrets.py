from __future__ import annotations

import re
from pathlib import Path

import pytest

from wit.accounts.secrets import KEY_FILE, CannotOpen, Secrets, key_material
from wit.config import Accounts, Config
from wit.errors import ConfigError
from wit.runtime import Runtime

NEW, OLD = "n" * 32, "o" * 40


@pytest.mark.parametrize("text", ["", "sk-ant-0123456789", "schlüssel ☃", "x" * 100_000])
def test_what_is_sealed_is_opened(text: str) -> None:
    secrets = Secrets(NEW)
    sealed = secrets.seal(text)
    assert secrets.open(sealed) == text
    assert Secrets(NEW).open(sealed) == text
    assert re.fullmatch(r"1-[0-9a-f]{8}:[0-9a-f]{24}:[0-9a-f]{32}:[0-9a-f]*", sealed)
    assert text.encode().hex() not in sealed or not text


def test_no_two_seals_are_the_same() -> None:
    secrets = Secrets(NEW)
    assert len({secrets.seal("x") for _ in range(50)}) == 50


@pytest.mark.attack(57)
def test_keys_rotate() -> None:
    before = Secrets(OLD).seal("x")
    both = Secrets(f"{NEW} {OLD}\n")
    assert both.open(before) == "x"
    assert Secrets(NEW).open(both.seal("y")) == "y"
    with pytest.raises(CannotOpen, match=r"another key.*accounts\.encryption_key"):
        Secrets(NEW).open(before)


def test_what_is_damaged_is_not_opened() -> None:
    secrets = Secrets(NEW)
    sealed = secrets.seal("secret text")
    head, iv, tag, ciphertext = sealed.split(":")
    flipped = f"{int(ciphertext, 16) ^ 1:0{len(ciphertext)}x}"
    for wrong in (
        f"{head}:{iv}:{tag}:{flipped}",
        f"{head}:{iv}:{tag}:{ciphertext[:-2]}",
        f"{head}:{iv[:-2]}:{tag}:{ciphertext}",
        f"{head}:{iv}::",
        f"{head}:{iv}:{tag}:zz",
    ):
        with pytest.raises(CannotOpen, match="damaged"):
            secrets.open(wrong)
    for wrong in ("", "plain text", f"2{head[1:]}:{iv}:{tag}:{ciphertext}", sealed + ":00"):
        with pytest.raises(CannotOpen, match="not one that wit has sealed"):
            secrets.open(wrong)


@pytest.mark.parametrize("material", ["", "   ", "short", f"{NEW} short"])
def test_short_keys_are_refused(material: str) -> None:
    with pytest.raises(ConfigError, match="at least 32 random characters"):
        Secrets(material)


def test_the_key_in_the_data_folder(tmp_path: Path, runtime: Runtime) -> None:
    config = Config(tmp_path / "data")
    material = key_material(config, runtime)
    path = tmp_path / "data" / KEY_FILE
    assert path.read_text() == f"{material}\n"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in path.parent.iterdir()] == [KEY_FILE]
    assert key_material(config, runtime) == material
    assert Secrets(material).open(Secrets(material).seal("x")) == "x"


def test_a_configured_key_needs_no_file(tmp_path: Path, runtime: Runtime) -> None:
    config = Config(tmp_path, accounts=Accounts(encryption_key=NEW))
    assert key_material(config, runtime) == NEW
    assert list(tmp_path.iterdir()) == []


def test_a_key_file_that_cannot_be_read(tmp_path: Path, runtime: Runtime) -> None:
    (tmp_path / KEY_FILE).mkdir()
    with pytest.raises(ConfigError, match=KEY_FILE):
        key_material(Config(tmp_path), runtime)
