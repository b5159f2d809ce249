from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Callable
from typing import Any

import pytest
from argon2 import PasswordHasher, extract_parameters
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.task import Clock

from wit.accounts.passwords import NO_PASSWORD, Passwords, password_bytes
from wit.errors import Invalid, RateLimited
from wit.runtime import Runtime


def old_hash(password: str) -> str:
    """As the reference server stores it (contract, auth.md)."""
    salt = "00112233445566778899aabbccddeeff"
    secret = unicodedata.normalize("NFKC", password).encode()
    key = hashlib.scrypt(secret, salt=salt.encode(), n=16384, r=16, p=1, dklen=64, maxmem=1 << 26)
    return f"{salt}:{key.hex()}"


@pytest.fixture
def passwords(runtime: Runtime) -> Passwords:
    return Passwords(runtime)


def test_right_and_wrong(passwords: Passwords, run) -> None:
    stored = run(passwords.hash("correct horse"))
    assert stored.startswith("$argon2id$v=19$m=19456,t=5,p=1$")
    assert stored != run(passwords.hash("correct horse"))
    check = run(passwords.check(stored, "correct horse"))
    assert check.right and check.upgraded is None
    assert not run(passwords.check(stored, "correct horsf")).right
    assert not run(passwords.check(stored, "x" * 10_000)).right
    assert not run(passwords.check("garbage", "correct horse")).right


def test_the_same_text_in_two_unicode_forms_is_one_password(passwords: Passwords, run) -> None:
    stored = run(passwords.hash("pässwörter ﬁ"))
    typed = unicodedata.normalize("NFD", "pässwörter fi")
    assert run(passwords.check(stored, typed)).right


def test_the_old_form_is_read_and_replaced(passwords: Passwords, run) -> None:
    stored = old_hash("correct horse")
    assert not run(passwords.check(stored, "wrong horse")).right
    check = run(passwords.check(stored, "correct horse"))
    assert check.right
    assert check.upgraded is not None and check.upgraded.startswith("$argon2id$")
    assert run(passwords.check(check.upgraded, "correct horse")).right


def test_a_weaker_argon2_hash_is_replaced(passwords: Passwords, run) -> None:
    weak = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash("correct horse")
    check = run(passwords.check(weak, "correct horse"))
    assert check.right and check.upgraded is not None


def test_the_hash_of_nobody_costs_as_much_and_is_never_right(passwords: Passwords, run) -> None:
    real = run(passwords.hash("correct horse"))
    assert extract_parameters(NO_PASSWORD) == extract_parameters(real)
    assert not run(passwords.check(None, "correct horse")).right
    assert not run(passwords.check(NO_PASSWORD, "correct horse")).right


@pytest.mark.parametrize(
    "password", ["seven77", "x" * 129, "wit_" + "0" * 40, "lone \ud800 surrogate"]
)
def test_what_can_be_no_password(password: str) -> None:
    with pytest.raises(Invalid):
        password_bytes(password)


def test_right_ones_are_remembered_for_a_minute_only(run, runtime: Runtime) -> None:
    work: list[object] = []
    clock = Clock()

    class Threads(Runtime):
        def in_thread(self, function, /, *args, **kwargs):
            work.append(function)
            return runtime.in_thread(function, *args, **kwargs)

    passwords = Passwords(Threads(clock))
    stored = run(passwords.hash("correct horse"))
    other = run(passwords.hash("correct horse"))
    del work[:]
    for _ in range(3):
        assert run(passwords.check(stored, "correct horse")).right
    assert len(work) == 1
    assert not run(passwords.check(stored, "wrong horse")).right
    assert not run(passwords.check(stored, "wrong horse")).right
    assert len(work) == 3, "wrong ones are not remembered"
    assert run(passwords.check(other, "correct horse")).right
    assert len(work) == 4, "a new stored hash is checked anew"
    clock.advance(61)
    assert run(passwords.check(stored, "correct horse")).right
    assert len(work) == 5


class Stuck(Runtime):
    """Threads that end when the test says so."""

    running: list[tuple[Deferred[Any], Callable[[], Any]]]

    def __init__(self) -> None:
        super().__init__(Clock())
        object.__setattr__(self, "running", [])

    def in_thread(self, function, /, *args, **kwargs):
        done: Deferred[object] = Deferred()
        self.running.append((done, function))
        return done


def test_few_at_once_and_a_bounded_queue(run) -> None:
    async def scenario() -> None:
        runtime = Stuck()
        passwords = Passwords(runtime, at_once=2, queue_length=3)
        checks = [Deferred.fromCoroutine(passwords.check(None, "a password")) for _ in range(5)]
        assert len(runtime.running) == 2
        with pytest.raises(RateLimited):
            await passwords.check(None, "a password")
        # A client that goes away does not give its thread to somebody else.
        checks[0].cancel()
        with pytest.raises(CancelledError):
            await checks[0]
        assert len(runtime.running) == 2
        # Nor does one that was still waiting hold up the queue.
        checks[2].cancel()
        with pytest.raises(CancelledError):
            await checks[2]
        for done, function in runtime.running:
            done.callback(function())
        results = await gatherResults([checks[1], checks[3], checks[4]])
        assert [check.right for check in results] == [False, False, False]
        assert len(runtime.running) == 4
        assert not (await passwords_check(passwords, runtime)).right

    async def passwords_check(passwords: Passwords, runtime: Stuck):
        check = Deferred.fromCoroutine(passwords.check(None, "a password"))
        done, function = runtime.running[-1]
        done.callback(function())
        return await check

    run(scenario())
