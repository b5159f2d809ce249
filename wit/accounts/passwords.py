"""Password hashes: argon2id (RFC 9106), and reading the scrypt form of older accounts.

Hashing is slow on purpose, so it happens in threads, a few at a time, with a bounded queue: a
flood of sign-ins costs those who sign in some waiting and nobody else anything.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import unicodedata
from base64 import b64encode
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

import attrs
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from twisted.internet.defer import DeferredSemaphore

from wit.errors import Invalid, RateLimited
from wit.runtime import Runtime, shielded

T = TypeVar("T")

MIN_LENGTH = 8
MAX_LENGTH = 128

_SCRYPT = re.compile(r"([0-9a-f]{32}):([0-9a-f]{128})")
_TOKEN_SHAPE = re.compile(r"wit_[0-9a-f]{40}")

_TIME_COST = 5
_MEMORY_KIB = 19 * 1024
"""19 MiB and five passes are about 50 ms of one core, and little memory even when several run."""

MOST_AT_ONCE = 5
"""Threads that hash at the same time, however many cores there are: half of the reactor's ten, so
that other short work goes on."""

QUEUE_LENGTH = 256
"""How many may wait for a thread: on two cores, the last of them for about 7 s."""

_CACHE_SECONDS = 60.0
_CACHE_ENTRIES = 1024


def _cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0))


def _unpadded(data: bytes) -> str:
    return b64encode(data).rstrip(b"=").decode()


NO_PASSWORD = (
    f"$argon2id$v=19$m={_MEMORY_KIB},t={_TIME_COST},p=1"
    f"${_unpadded(bytes(16))}${_unpadded(bytes(32))}"
)
"""A hash that no password has: checking against it takes as long as against a real one."""


def password_bytes(password: str) -> bytes:
    """What is hashed: the password in NFKC (as the contract says), as UTF-8.

    Raises Invalid for what can be no password: wrong length, not text, or of the shape of an
    access token, which is never looked up as a password.
    """
    if len(password) <= MAX_LENGTH * 4:
        password = unicodedata.normalize("NFKC", password)
    if not MIN_LENGTH <= len(password) <= MAX_LENGTH:
        raise Invalid(f"a password has {MIN_LENGTH} to {MAX_LENGTH} characters")
    if _TOKEN_SHAPE.fullmatch(password):
        raise Invalid("a password must not look like an access token")
    try:
        return password.encode()
    except UnicodeEncodeError:
        raise Invalid("the password is not valid Unicode text") from None


def scrypt_key(secret: bytes, salt_hex: str) -> bytes:
    """The 64-byte key of the older form; the *text* of the salt is the salt (contract, auth.md)."""
    return hashlib.scrypt(
        secret, salt=salt_hex.encode(), n=16384, r=16, p=1, dklen=64, maxmem=64 * 1024 * 1024
    )


@attrs.frozen
class Check:
    """What came out of comparing a password with a stored hash."""

    right: bool
    upgraded: str | None = None
    """The hash to store instead, when the old one was right but made by an older method."""


class Passwords:
    """Hashes and checks passwords off the reactor; remembers right ones for a minute.

    What is remembered is an HMAC, under a key that only this process has, of the stored hash and
    the password together. Callers read the stored hash anew each time, so that a changed
    password or a suspended account counts at once.
    """

    def __init__(
        self, runtime: Runtime, at_once: int | None = None, queue_length: int = QUEUE_LENGTH
    ) -> None:
        """``at_once``: threads that hash at the same time; None: one for each core."""
        self._runtime = runtime
        self._hasher = PasswordHasher(
            time_cost=_TIME_COST, memory_cost=_MEMORY_KIB, parallelism=1, hash_len=32, salt_len=16
        )
        self._slots = DeferredSemaphore(at_once or min(_cores(), MOST_AT_ONCE))
        self._queue_length = queue_length
        self._waiting = 0
        self._key = runtime.random_bytes(32)
        self._right: OrderedDict[bytes, float] = OrderedDict()

    async def hash(self, password: str) -> str:
        """The argon2id hash of a new password. Raises Invalid, RateLimited."""
        secret = password_bytes(password)
        salt = self._runtime.random_bytes(16)
        return await self._in_turn(lambda: self._hasher.hash(secret, salt=salt))

    async def check(self, stored: str | None, password: str) -> Check:
        """Compare; None stands for a missing user, and takes as long. Raises RateLimited."""
        try:
            secret = password_bytes(password)
        except Invalid:
            secret, stored = b"", None
        known = stored or NO_PASSWORD
        memo = self._memo(known, secret)
        expiry = self._right.get(memo)
        if expiry is not None and self._runtime.reactor.seconds() < expiry:
            return Check(right=True)
        salt = self._runtime.random_bytes(16)
        check = await self._in_turn(lambda: self._compare(known, secret, salt))
        if check.right:
            self._remember(self._memo(check.upgraded or known, secret))
        return check

    def _compare(self, stored: str, secret: bytes, salt: bytes) -> Check:
        """Runs in a thread."""
        old = _SCRYPT.fullmatch(stored)
        if old is not None:
            right = hmac.compare_digest(scrypt_key(secret, old[1]), bytes.fromhex(old[2]))
            return Check(right, self._hasher.hash(secret, salt=salt) if right else None)
        try:
            self._hasher.verify(stored, secret)
        except (VerificationError, InvalidHashError):
            return Check(right=False)
        if self._hasher.check_needs_rehash(stored):
            return Check(True, self._hasher.hash(secret, salt=salt))
        return Check(right=True)

    async def _in_turn(self, work: Callable[[], T]) -> T:
        """Run ``work`` in a thread when it is its turn. Raises RateLimited if too many wait."""
        if self._waiting >= self._queue_length:
            raise RateLimited("too many sign-ins at once; try again in a moment")
        self._waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self._waiting -= 1
        return await shielded(self._in_slot(work))

    async def _in_slot(self, work: Callable[[], T]) -> T:
        """The slot belongs to the thread, which runs on even if nobody waits for it any more."""
        try:
            return await self._runtime.in_thread(work)
        finally:
            self._slots.release()

    def _memo(self, stored: str, secret: bytes) -> bytes:
        return hmac.digest(self._key, stored.encode() + b"\0" + secret, "sha256")

    def _remember(self, memo: bytes) -> None:
        self._right.pop(memo, None)
        self._right[memo] = self._runtime.reactor.seconds() + _CACHE_SECONDS
        while len(self._right) > _CACHE_ENTRIES:
            self._right.popitem(last=False)
