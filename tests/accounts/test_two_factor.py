from __future__ import annotations

from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from pyotp import TOTP
from sqlalchemy import select

from tests.accounts.identity import World
from wit.accounts.sessions import Device
from wit.accounts.sign_in import SecondStep
from wit.accounts.two_factor import FAILURES, PERIOD, NotSetUp, WrongCode
from wit.db.tables import two_factor
from wit.errors import Forbidden, RateLimited, Unauthorized

HERE = Device("192.0.2.1", "a browser")
PASSWORD = "correct horse battery"


@pytest.fixture
def ada(world: World, run):
    return run(world.accounts.user("ada", PASSWORD))


def enrol(world: World, run, user):
    """The seed and the recovery codes, turned on."""
    enrolment = run(world.identity.two_factor.prepare(user))
    run(world.identity.two_factor.enable(user["id"]))
    return parse_qs(urlsplit(enrolment.uri).query)["secret"][0], enrolment.recovery_codes


def code(world: World, seed: str, step: int = 0) -> str:
    return TOTP(seed).at(int(world.clock.now().timestamp()) + step * PERIOD)


def test_the_address_for_apps(world: World, run, ada) -> None:
    enrolment = run(world.identity.two_factor.prepare(ada))
    parts = urlsplit(enrolment.uri)
    assert (parts.scheme, parts.netloc) == ("otpauth", "totp")
    assert unquote(parts.path) == "/wit:ada@example.org"
    query = parse_qs(parts.query)
    assert query["issuer"] == ["wit"] and len(query["secret"][0]) == 32
    assert run(world.identity.two_factor.uri(ada)) == enrolment.uri
    (row,) = run(world.accounts.db.fetch_all(select(two_factor)))
    assert query["secret"][0] not in str(row)
    assert not any(recovery in str(row) for recovery in enrolment.recovery_codes)
    assert not row["enabled"]


@pytest.mark.attack(51)
def test_a_code_is_good_once_and_for_its_time(world: World, run, ada) -> None:
    seed, _ = enrol(world, run, ada)
    check = world.identity.two_factor.check
    right = code(world, seed)
    run(check(ada["id"], right))
    with pytest.raises(WrongCode):
        run(check(ada["id"], right))
    run(check(ada["id"], code(world, seed, 1)))
    with pytest.raises(WrongCode):
        run(check(ada["id"], code(world, seed)))
    world.clock.advance(seconds=10 * PERIOD)
    for wrong in (code(world, seed, -2), "", "abcdef"):
        with pytest.raises(WrongCode):
            run(check(ada["id"], wrong))


@pytest.mark.attack(51)
def test_guessing_is_stopped_even_for_the_right_code(world: World, run, ada) -> None:
    seed, recovery = enrol(world, run, ada)
    for _ in range(FAILURES):
        with pytest.raises(WrongCode):
            run(world.identity.two_factor.check(ada["id"], "000000x"))
    with pytest.raises(RateLimited):
        run(world.identity.two_factor.check(ada["id"], code(world, seed)))
    with pytest.raises(RateLimited):
        run(world.identity.two_factor.check_recovery(ada["id"], recovery[0]))


def test_recovery_codes_are_good_once(world: World, run, ada) -> None:
    _, recovery = enrol(world, run, ada)
    assert len(set(recovery)) == 10
    check = world.identity.two_factor.check_recovery
    run(check(ada["id"], recovery[0]))
    with pytest.raises(WrongCode):
        run(check(ada["id"], recovery[0]))
    new = run(world.identity.two_factor.new_recovery_codes(ada["id"]))
    with pytest.raises(WrongCode):
        run(check(ada["id"], recovery[1]))
    run(world.identity.two_factor.check_either(ada["id"], new[0]))


def test_without_two_factors_there_is_nothing_to_check(world: World, run, ada) -> None:
    two = world.identity.two_factor
    for call in (
        two.check(ada["id"], "123456"),
        two.check_recovery(ada["id"], "aaaaa-bbbbb"),
        two.new_recovery_codes(ada["id"]),
        two.uri(ada),
    ):
        with pytest.raises(NotSetUp):
            run(call)


def test_signing_in_takes_both_steps(world: World, run, ada) -> None:
    seed, recovery = enrol(world, run, ada)
    sign_in = world.identity.sign_in

    def password(remember: bool = True):
        return run(sign_in.by_password("ada", PASSWORD, HERE, by="username", remember=remember))

    step = password(remember=False)
    assert isinstance(step, SecondStep)
    with pytest.raises(WrongCode):
        run(sign_in.second_step(step.token, "000000", HERE, recovery=False))
    right = code(world, seed)
    session = run(sign_in.second_step(step.token, right, HERE, recovery=False))
    assert session.user_id == ada["id"] and not session.remember
    with pytest.raises(Unauthorized):
        run(sign_in.second_step(step.token, code(world, seed, 1), HERE, recovery=False))
    session = run(sign_in.second_step(password().token, recovery[0], HERE, recovery=True))
    assert session.remember
    late = password()
    world.clock.advance(minutes=11)
    with pytest.raises(Unauthorized, match="password again"):
        run(sign_in.second_step(late.token, code(world, seed), HERE, recovery=False))
    locked = password()
    run(world.accounts.users.suspend(ada["id"], "spam"))
    with pytest.raises(Forbidden):
        run(sign_in.second_step(locked.token, code(world, seed), HERE, recovery=False))


def test_one_call_with_password_and_code(world: World, run, ada) -> None:
    sign_in = world.identity.sign_in
    session = run(sign_in.by_password_and_code("ada@example.org", PASSWORD, "", HERE))
    assert session.user_id == ada["id"]
    seed, recovery = enrol(world, run, ada)
    with pytest.raises(Unauthorized, match="send the code"):
        run(sign_in.by_password_and_code("ada", PASSWORD, "", HERE))
    with pytest.raises(WrongCode):
        run(sign_in.by_password_and_code("ada", PASSWORD, "000000", HERE))
    run(sign_in.by_password_and_code("ada", PASSWORD, code(world, seed), HERE))
    run(sign_in.by_password_and_code("ada", PASSWORD, recovery[0], HERE))


@pytest.mark.attack(51)
def test_the_password_alone_opens_no_other_door(world: World, run, ada) -> None:
    basic = world.accounts.credentials.basic
    assert run(basic("ada", PASSWORD, HERE.address)).user_id == ada["id"]
    enrol(world, run, ada)
    with pytest.raises(Unauthorized, match="access token"):
        run(basic("ada", PASSWORD, HERE.address))
    _, secret = run(world.accounts.tokens.create(ada["id"], "ci", ["repo:read"]))
    assert run(basic("ada", secret, HERE.address)).user_id == ada["id"]
