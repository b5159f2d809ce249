"""The calls of one request to the tRPC door: who asks, what is let in, what each is answered."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, cast

import attrs
from twisted.internet.defer import CancelledError
from twisted.logger import Logger
from twisted.python.failure import Failure as TwistedFailure

from wit.access.actor import ANONYMOUS, Actor
from wit.errors import Invalid, MethodNotSupported, NotFound, WitError
from wit.operations.api import BadInput, invoke, subscribe
from wit.operations.call import Call, Client
from wit.operations.registry import Kind, Operation
from wit.streams import StreamClosed
from wit.trpc.envelope import Failure, Reply, Success, failure, internal
from wit.trpc.issues import issue_text
from wit.trpc.plan import METHODS, Plan, Planned, read_inputs, with_event_id
from wit.trpc.superjson import UNDEFINED
from wit.web.http1 import BadRequest
from wit.web.middleware.bodies import read_body
from wit.web.middleware.caller import Caller, Callers
from wit.web.streaming import Request

if TYPE_CHECKING:
    from wit.core import Core

Limit = Callable[[Request, "Core", str, Actor], Awaitable[Any]]
"""Counts a call against a preset; sets the headers of it, raises RateLimited."""


NOBODY = Caller(ANONYMOUS, Client())


@attrs.define(eq=False)
class Exchange:
    """The calls of one request."""

    log = Logger()

    core: Core
    request: Request
    plan: Plan
    _callers: Callers
    _limit: Limit | None
    caller: Caller = NOBODY
    _refused: dict[int, Exception] = attrs.field(factory=dict, init=False)
    _inputs: dict[int, Any] = attrs.field(factory=dict, init=False)

    async def prepare(self) -> None:
        """Find the caller, and read the inputs if there is a call that is let in. What is wrong
        is what the calls are answered."""
        plan, acts = self.plan, self.plan.method != "GET" or self.plan.subscription
        try:
            self.caller = await self._callers.of(self.request, acts=acts)
        except (CancelledError, StreamClosed):
            raise
        except Exception as error:
            self._refuse(plan.calls, error)
            return
        for call in plan.calls:
            try:
                await self._admit(call)
            except WitError as error:
                self._refuse([call], error)
        admitted = [call for call in plan.calls if call.index not in self._refused]
        if admitted:
            try:
                self._inputs = read_inputs(plan, await self._input_text(admitted))
            except (CancelledError, StreamClosed):
                raise
            except Exception as error:
                self._refuse(admitted, error)

    def _refuse(self, calls: Iterable[Planned], error: Exception) -> None:
        self._refused |= {call.index: error for call in calls}

    async def _admit(self, call: Planned) -> None:
        """Count the call, and say what can be said without its input. Raises WitError."""
        operation, method = call.operation, self.plan.method
        if operation is None:
            raise NotFound(f'No procedure found on path "{call.path}"')
        if self._limit is not None:
            await self._limit(self.request, self.core, operation.limit, self.caller.actor)
        kind = operation.kind
        if method != METHODS[kind]:
            self.request.setHeader(b"Allow", METHODS[kind].encode())
            raise MethodNotSupported(
                f'Unsupported {method}-request to {kind.value} procedure at path "{call.path}"'
            )
        if kind is Kind.SUBSCRIPTION and self.plan.batch:
            raise Invalid("Cannot batch subscription calls")
        operation.access.admit(self.caller.actor)

    async def _input_text(self, admitted: Iterable[Planned]) -> str:
        if self.plan.method == "GET":
            return self.plan.query_input
        limit = max(call.operation.max_body for call in admitted if call.operation is not None)
        try:
            return (await read_body(self.request, limit)).decode()
        except UnicodeDecodeError:
            raise Invalid("the body is not UTF-8") from None

    async def reply(self, call: Planned, render: Callable[[Any], str]) -> Reply:
        """Run one query or mutation; ``render`` makes the text of its answer."""
        try:
            data = await invoke(*self._let_in(call))
            return Success(render(data))
        except CancelledError:
            raise
        except Exception as error:
            return self.failed(call, error)

    async def subscribe(self, call: Planned) -> AsyncGenerator[Any, None]:
        """The items of a subscription. Raises what :meth:`failed` words."""
        opened = await subscribe(*self._let_in(call))
        return cast(AsyncGenerator[Any, None], opened)  # the registry takes nothing else

    def _let_in(self, call: Planned) -> tuple[Operation, Call, Any]:
        """What the procedure is called with. Raises the reason why it is not called."""
        if refused := self._refused.get(call.index):
            raise refused
        assert call.operation is not None  # else it was refused
        context = Call(self.core, self.caller.actor, self.caller.client)
        values = self._input(call)
        return call.operation, context, None if values is UNDEFINED else values

    def _input(self, call: Planned) -> Any:
        value = self._inputs.get(call.index, UNDEFINED)
        return with_event_id(value, self.plan.last_event_id) if self.plan.subscription else value

    def failed(self, call: Planned, error: Exception) -> Failure:
        """What the client is told. What is not for clients is logged here."""
        if isinstance(error, BadInput) and call.operation is not None and call.operation.input:
            text = issue_text(error.issues, call.operation.input, self._input(call))
            return failure(error, call.path, text)
        if isinstance(error, BadRequest):  # the body's framing
            error = Invalid(error.message)
        if isinstance(error, WitError) and error.code != "internal":
            return failure(error, call.path)
        self.log.failure(
            "{path} failed in request {request_id}",
            TwistedFailure(error),
            path=call.path,
            request_id=self.request.request_id,
        )
        return internal(self.request.request_id, call.path)
