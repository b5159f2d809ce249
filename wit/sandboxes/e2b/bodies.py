"""What is sent as the body of a request."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IConsumer
from twisted.python.failure import Failure
from twisted.web.iweb import UNKNOWN_LENGTH, IBodyProducer
from zope.interface import implementer

from wit.streams import ByteSource


@implementer(IBodyProducer)
class BytesBody:
    """Bytes that are in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.length = len(data)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        consumer.write(self._data)
        done: Deferred[None] = Deferred()
        done.callback(None)
        return done

    def pauseProducing(self) -> None:
        pass

    def resumeProducing(self) -> None:
        pass

    def stopProducing(self) -> None:
        pass


@implementer(IBodyProducer)
class SourceBody:
    """What a source gives, as one field of a form (RFC 7578), which every version of E2B's daemon
    takes; a source that breaks off breaks the request off.
    """

    length = UNKNOWN_LENGTH

    def __init__(self, source: ByteSource, boundary: str) -> None:
        self._source = source
        self._before = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="file"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        ).encode()
        self._after = f"\r\n--{boundary}--\r\n".encode()
        self.content_type = f"multipart/form-data; boundary={boundary}"
        self._paused: Deferred[None] | None = None
        self._work: Deferred[None] | None = None

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        done: Deferred[None] = Deferred(lambda _: self.stopProducing())
        self._work = Deferred.fromCoroutine(self._produce(consumer))

        def failed(failure: Failure) -> None:
            if not done.called and not failure.check(CancelledError):
                done.errback(failure)

        self._work.addCallbacks(done.callback, failed)
        return done

    async def _produce(self, consumer: IConsumer) -> None:
        consumer.write(self._before)
        while data := await self._source.read():
            consumer.write(data)
            if self._paused is not None:
                await self._paused
        consumer.write(self._after)

    def pauseProducing(self) -> None:
        if self._paused is None:
            self._paused = Deferred()

    def resumeProducing(self) -> None:
        paused, self._paused = self._paused, None
        if paused is not None and not paused.called:
            paused.callback(None)

    def stopProducing(self) -> None:
        if self._work is not None:
            self._work.cancel()
