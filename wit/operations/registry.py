"""The registry: every procedure of the API is declared here once, and served by all the doors.

A router is one file below ``wit/operations/routers`` (or ``v1`` for the public REST API):

    router = Router("tokens")

    class Create(Input):
        name: Annotated[str, Field(min_length=1, max_length=100)]
        scopes: list[Scope]

    @router.mutation("create", access=SignedIn(None), errors=("invalid",))
    async def create(call: Call, values: Create) -> Created:
        ...

The second parameter's annotation is the input (none: the procedure takes no input), the return
annotation the output. From a declaration come the tRPC procedure, its REST routes, the OpenAPI
document, the TypeScript declaration and the access-matrix test. Without ``access`` it is a
TypeError when the module is imported.
"""

from __future__ import annotations

import enum
import importlib
import inspect
import pkgutil
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import Annotated, Any, Generic, TypeVar, get_args, get_origin, get_type_hints

import attrs
from pydantic import BaseModel, ConfigDict, GetPydanticSchema, TypeAdapter, WithJsonSchema
from pydantic_core.core_schema import any_schema

from wit.errors import ANSWERS
from wit.operations.access import Access
from wit.streams import ByteSource

JSON = "application/json"
EVENTS = "text/event-stream"

_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9]*")

Item = TypeVar("Item")


class Input(BaseModel):
    """Base of all inputs: names are on the wire as they are here; unknown ones are dropped."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class Kind(enum.Enum):
    QUERY = "query"
    MUTATION = "mutation"
    SUBSCRIPTION = "subscription"


class Style(enum.Enum):
    """How a REST route speaks of errors and pages."""

    API = "api"
    """``{error, code}``; the values as in tRPC, dates as text."""
    V1 = "v1"
    """``{message, documentation_url}``, Link headers (contract, rest.md, "/api/v1")."""


@attrs.frozen
class Rest:
    """A REST route of a procedure: ``Rest("GET", "/api/repos/{owner}/{repo}")``.

    Names in braces are input fields; the others come from the JSON body of methods that have
    one, else from the query. ``status`` is that of success; with 204 there is no body.

    A body that is no JSON is streamed: what ``takes`` names is ``call.body``, and then the other
    fields are in the query; for what ``gives`` names the procedure returns :data:`Raw`. The routes
    of a subscription give EVENTS, and may have a path together with a procedure that answers JSON:
    the client's Accept says which is meant.
    """

    method: str
    path: str
    status: int = 200
    style: Style = Style.API
    takes: str = JSON
    gives: str = JSON

    @property
    def has_body(self) -> bool:
        return self.method in ("POST", "PUT", "PATCH")

    @property
    def has_json_body(self) -> bool:
        return self.has_body and self.takes == JSON


@attrs.frozen
class Page(Generic[Item]):
    """What a V1 route returns for a list (``-> Page[T]``), so that the door can write the Link
    header; on the wire it is the list. The input has ``page`` and ``per_page``."""

    items: list[Item]
    more: bool
    total: int | None = None


Procedure = Callable[..., Awaitable[Any]] | Callable[..., AsyncIterator[Any]]


Raw = Annotated[
    ByteSource,
    GetPydanticSchema(lambda source, handler: any_schema()),
    WithJsonSchema({"type": "string", "format": "binary"}),
]
"""What a route returns that gives something else than JSON."""


@attrs.frozen(eq=False)
class Operation:
    """One declared procedure."""

    name: str
    """Dotted: ``repos.get``."""
    kind: Kind
    access: Access
    procedure: Procedure
    input: type[Input] | None
    input_optional: bool
    """Whether the whole input may be missing: all of its fields have defaults."""
    output: Any
    errors: tuple[str, ...]
    """Codes of wit.errors that it may answer, beside those of access and input."""
    rest: tuple[Rest, ...]
    trpc: bool
    limit: str
    """Name of the rate limit preset."""
    summary: str
    description: str
    max_body: int
    """Bytes."""
    output_adapter: TypeAdapter[Any] = attrs.field(repr=False)


class Router:
    """Procedures whose names begin alike. ``trpc=False``: REST routes only."""

    def __init__(self, name: str, *, trpc: bool = True) -> None:
        if not all(_NAME.fullmatch(part) for part in name.split(".")):
            raise TypeError(f"{name!r} is not the name of a router")
        self.name = name
        self.operations: list[Operation] = []
        self._trpc = trpc

    def query(self, name: str, **declaration: Any) -> Callable[[Procedure], Procedure]:
        return self._declare(name, Kind.QUERY, **declaration)

    def mutation(self, name: str, **declaration: Any) -> Callable[[Procedure], Procedure]:
        return self._declare(name, Kind.MUTATION, **declaration)

    def subscription(self, name: str, **declaration: Any) -> Callable[[Procedure], Procedure]:
        return self._declare(name, Kind.SUBSCRIPTION, **declaration)

    def _declare(
        self,
        name: str,
        kind: Kind,
        *,
        access: Access,
        errors: tuple[str, ...] = (),
        rest: Rest | tuple[Rest, ...] = (),
        limit: str = "standard",
        max_body: int = 1024 * 1024,
    ) -> Callable[[Procedure], Procedure]:
        full = f"{self.name}.{name}"
        if not _NAME.fullmatch(name):
            raise TypeError(f"{full!r} is not the name of a procedure")
        routes = rest if isinstance(rest, tuple) else (rest,)
        streams = [one for one in routes if one.takes != JSON or one.gives not in (JSON, EVENTS)]
        if streams and self._trpc:
            raise TypeError(f"{full}: tRPC has no streams of bytes; declare it with trpc=False")
        if unknown := set(errors) - ANSWERS.keys():
            raise TypeError(f"{full}: unknown error codes {sorted(unknown)}")

        def decorate(procedure: Procedure) -> Procedure:
            taken, optional, output = _signature(full, procedure, kind)
            summary, _, description = inspect.cleandoc(procedure.__doc__ or "").partition("\n")
            self.operations.append(
                Operation(
                    name=full,
                    kind=kind,
                    access=access,
                    procedure=procedure,
                    input=taken,
                    input_optional=optional,
                    output=output,
                    errors=errors,
                    rest=routes,
                    trpc=self._trpc,
                    limit=limit,
                    summary=summary,
                    description=description.strip(),
                    max_body=max_body,
                    output_adapter=TypeAdapter(_on_the_wire(output)),
                )
            )
            return procedure

        return decorate


def _signature(name: str, procedure: Procedure, kind: Kind) -> tuple[type[Input] | None, bool, Any]:
    """Input, whether it may be missing, output. Raises TypeError for what cannot be served."""
    hints = get_type_hints(procedure, include_extras=True)
    parameters = list(inspect.signature(procedure).parameters)
    if not 1 <= len(parameters) <= 2 or "return" not in hints:
        raise TypeError(f"{name}: declare (call), or (call, values: INPUT), and the output")
    output = hints["return"]
    if kind is Kind.SUBSCRIPTION:
        if get_origin(output) is None or not inspect.isasyncgenfunction(procedure):
            raise TypeError(f"{name}: a subscription is an async generator -> AsyncIterator[T]")
        output = get_args(output)[0]
    elif not inspect.iscoroutinefunction(procedure):
        raise TypeError(f"{name}: a procedure is an async def")
    if len(parameters) == 1:
        return None, True, output
    taken = hints.get(parameters[1])
    if not (isinstance(taken, type) and issubclass(taken, Input)):
        raise TypeError(f"{name}: the input must be an Input")
    return taken, not any(field.is_required() for field in taken.model_fields.values()), output


def _on_the_wire(output: Any) -> Any:
    return list[get_args(output)[0]] if get_origin(output) is Page else output  # type: ignore[misc]


class Registry:
    """All procedures, by name."""

    def __init__(self, routers: list[Router], aliases: Mapping[str, str] = {}) -> None:
        """``aliases``: other names of whole routers. Raises TypeError if two things collide."""
        self._operations: dict[str, Operation] = {}
        self.aliases = dict(aliases)
        routes: set[tuple[str, str, bool]] = set()
        for operation in (op for router in routers for op in router.operations):
            if operation.name in self._operations:
                raise TypeError(f"{operation.name} is declared twice")
            self._operations[operation.name] = operation
            for rest in operation.rest:
                if (rest.gives == EVENTS) is not (operation.kind is Kind.SUBSCRIPTION):
                    raise TypeError(f"{operation.name}: a subscription's routes give events")
                path = re.sub(r"\{[^}]*\}", "{}", rest.path)
                key = (rest.method, path, rest.gives == EVENTS)
                if key in routes:
                    raise TypeError(f"{operation.name}: {rest.method} {rest.path} is taken")
                routes.add(key)

    def __iter__(self) -> Iterator[Operation]:
        return iter(self._operations.values())

    def __len__(self) -> int:
        return len(self._operations)

    def get(self, name: str) -> Operation | None:
        """By its name or an alias's, as it is on the wire."""
        found = self._operations.get(name)
        if found is None:
            router, _, rest = name.partition(".")
            found = self._operations.get(f"{self.aliases.get(router, router)}.{rest}")
        return found


def load(*packages: str, aliases: Mapping[str, str] = {}) -> Registry:
    """The registry of all modules in the packages; each module has a ``router``."""
    routers: list[Router] = []
    for package in packages:
        folder = importlib.import_module(package)
        for module in pkgutil.iter_modules(folder.__path__):
            found = importlib.import_module(f"{package}.{module.name}").router
            routers.append(found)
    return Registry(routers, aliases)
