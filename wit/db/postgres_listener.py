"""LISTEN on a connection of its own, which is made again whenever it is lost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from psycopg2.extensions import Notify, quote_ident
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from wit.db.channels import Channels, Heard
from wit.db.port import DatabaseError
from wit.db.postgres_link import PostgresLink
from wit.runtime import Runtime

FIRST_DELAY = 0.1
LAST_DELAY = 10.0
"""Seconds between attempts to connect again, doubled each time."""


class Listener:
    """Hears the notifications of all processes on the database."""

    log = Logger()

    def __init__(self, connect: Callable[[], Awaitable[PostgresLink]], runtime: Runtime) -> None:
        self._connect = connect
        self._runtime = runtime
        self._channels = Channels()
        self._link: PostgresLink | None = None
        self._keeping: Deferred[None] | None = None

    async def start(self) -> None:
        """Raises DatabaseUnavailable."""
        await self._begin()
        self._keeping = Deferred.fromCoroutine(self._keep())

    async def stop(self) -> None:
        keeping, self._keeping = self._keeping, None
        if keeping is not None:
            keeping.cancel()
            await keeping
        self._drop()

    def add(self, channel: str, heard: Heard) -> Callable[[], None]:
        is_new = channel not in self._channels.names()
        stop = self._channels.add(channel, heard)
        if is_new and self._link is not None:
            Deferred.fromCoroutine(self._ask_later(self._link, channel))
        return stop

    async def settled(self) -> None:
        """Returns when every LISTEN that was asked for is in force (or the connection is lost)."""
        if self._link is not None:
            await self._link.turn()

    async def _keep(self) -> None:
        delay = FIRST_DELAY
        try:
            while True:
                if self._link is not None:
                    await _until_lost(self._link)
                    self.log.warn("the connection that hears notifications was lost")
                    self._drop()
                try:
                    await self._begin()
                except DatabaseError:
                    await self._runtime.sleep(delay)
                    delay = min(delay * 2, LAST_DELAY)
                    continue
                delay = FIRST_DELAY
                for channel in self._channels.names():
                    self._channels.tell(channel, "")
        except CancelledError:
            pass

    async def _begin(self) -> None:
        link = await self._connect()
        try:
            link.addNotifyObserver(self._heard)
            for channel in self._channels.names():
                await self._ask(link, channel)
        except BaseException:
            link.disconnect()
            raise
        self._link = link

    async def _ask_later(self, link: PostgresLink, channel: str) -> None:
        try:
            await self._ask(link, channel)
        except DatabaseError:
            link.disconnect()  # so that the next connection asks for all channels again

    async def _ask(self, link: PostgresLink, channel: str) -> None:
        await link.run_plain(f"LISTEN {quote_ident(channel, link.pollable())}")

    def _heard(self, notification: Notify) -> None:
        self._channels.tell(notification.channel, notification.payload)

    def _drop(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.disconnect()


async def _until_lost(link: PostgresLink) -> None:
    """Cancelling this leaves ``link.lost`` alone."""
    lost: Deferred[None] = Deferred()
    link.lost.chainDeferred(lost)
    await lost
