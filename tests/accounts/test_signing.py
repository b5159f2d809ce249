from __future__ import annotations

import base64
import hashlib
import hmac
import stat

import pytest

from wit.accounts.signing import KEY_FILE, Signer, make_signer
from wit.config import Accounts, Config

TOKEN = "A" * 32


def test_the_signature_is_that_of_the_contract() -> None:
    signed = Signer("secret").sign(TOKEN)
    digest = hmac.new(b"secret", TOKEN.encode(), hashlib.sha256).digest()
    assert signed == f"{TOKEN}.{base64.b64encode(digest).decode()}"
    assert Signer("secret").verify(signed) == TOKEN


@pytest.mark.attack(51)
def test_what_was_not_signed_is_nothing() -> None:
    signer = Signer("secret")
    signed = signer.sign(TOKEN)
    for forged in (
        "",
        ".",
        TOKEN,
        f"{TOKEN}.",
        f".{signed.partition('.')[2]}",
        signed[:-2] + "A=",
        signed.lower(),
        f"{'B' * 32}.{signed.partition('.')[2]}",
        Signer("another").sign(TOKEN),
        f"{signed}.{signed.partition('.')[2]}",
        "\ud800.\ud800",
        "ä.ö",
    ):
        assert signer.verify(forged) is None, forged


def test_keys_for_other_purposes_are_other_keys() -> None:
    signer = Signer("secret")
    assert signer.key("a") != signer.key("b")
    assert signer.key("a") == Signer("secret").key("a")


def test_without_a_setting_the_key_is_made_once_and_for_its_owner_only(tmp_path, runtime) -> None:
    config = Config(tmp_path / "data")
    first = make_signer(config, runtime).sign("x")
    file = tmp_path / "data" / KEY_FILE
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(file.read_text().strip()) == 64
    assert make_signer(config, runtime).sign("x") == first
    chosen = Config(tmp_path / "data", accounts=Accounts(secret="c" * 32))
    assert make_signer(chosen, runtime).sign("x") == Signer("c" * 32).sign("x")
