"""From SQLAlchemy statements to what a driver takes: text, values, and rows back.

Each statement is compiled once per dialect and set of parameter names, and kept. A compiled
statement is found by the identity of the statement object, so module constants cost a dictionary
look-up; statements built for one occasion work too and push the least recently used ones out.

Python-side column defaults (``Column(default=...)``) are not run: wit's tables have none.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

import attrs
from sqlalchemy import BindParameter, Dialect
from sqlalchemy.sql import Executable, visitors
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import ClauseElement, Select, UpdateBase
from sqlalchemy.types import TypeEngine

from wit.db.port import Row

KEPT = 256
"""Compiled statements that are kept at most."""

Processor = Callable[[Any], Any]
Source = tuple[str, str | None, Processor | None, Any]
"""Of a value: its name in the text; the parameter that has it and how that is stored, or itself."""
Values = Sequence[Any] | Mapping[str, Any]
"""What the driver takes: positions for sqlite3, names for psycopg2."""


@attrs.frozen
class Query:
    """A statement and its values, ready for the driver; it may cross into a thread."""

    sql: str
    values: Values
    plan: Plan

    @property
    def reads(self) -> bool:
        return self.plan.reads

    @property
    def quick(self) -> bool:
        return self.plan.quick

    def rows(self, description: Iterable[Sequence[Any]], fetched: Iterable[Any]) -> list[Row]:
        """The driver's rows (PEP 249 ``description`` and tuples) as dicts of Python values."""
        return self.plan.rows(description, fetched)


class Plan:
    """One compiled statement."""

    def __init__(self, statement: Executable, names: tuple[str, ...], dialect: Dialect) -> None:
        self.statement = statement  # kept alive: its identity is the key of the cache
        self.reads = bool(statement.is_select)
        self.quick = self.reads and bool(statement.get_execution_options().get("quick"))
        self._dialect = dialect
        element = cast(ClauseElement, statement)
        own = {part.key for part in visitors.iterate(element) if isinstance(part, BindParameter)}
        columns = [name for name in names if name not in own]
        compiled = element.compile(dialect=dialect, column_keys=columns)
        self._compiled = cast(SQLCompiler, compiled)
        self._check_names(names)
        self._expands = bool(
            self._compiled.post_compile_params or self._compiled.literal_execute_params
        )
        self._in: dict[str, Processor] = {}
        for bind, name in self._compiled.bind_names.items():
            processor = bind.type.dialect_impl(dialect).bind_processor(dialect)
            if processor is not None:
                self._in[name] = processor
        self._sources = None if self._expands else self._find_sources(names)
        self._types = _result_types(statement)
        self._out: list[tuple[str, Processor]] | None = None
        self._labels: tuple[str, ...] = ()

    def _find_sources(self, names: tuple[str, ...]) -> list[Source] | None:
        """Where each value comes from, in the order of the positions; None if not all is there."""
        sources: dict[str, Source] = {}
        for bind, name in self._compiled.bind_names.items():
            processor = self._in.get(name)
            given = next((key for key in (bind.key, name) if key in names), None)
            if given is not None:
                sources[name] = (name, given, processor, None)
            elif bind.required or bind.callable:
                return None
            else:
                value = bind.effective_value
                sources[name] = (name, None, None, processor(value) if processor else value)
        return [sources[name] for name in self._compiled.positiontup or sources]

    def _check_names(self, names: tuple[str, ...]) -> None:
        known = set(self._compiled.bind_names.values())
        known.update(bind.key for bind in self._compiled.bind_names)
        if unknown := [name for name in names if name not in known]:
            raise TypeError(f"the statement has no parameter {', '.join(unknown)}")

    def query(self, parameters: Mapping[str, Any]) -> Query:
        """Bind ``parameters``. Raises sqlalchemy.exc.InvalidRequestError if one is missing.

        Where the text does not depend on the values there is nothing to ask of SQLAlchemy, whose
        own way takes longer than a look-up by index.
        """
        if self._sources is not None:
            values = [
                constant
                if given is None
                else (parameters[given] if process is None else process(parameters[given]))
                for _, given, process, constant in self._sources
            ]
            if self._compiled.positiontup is not None:
                return Query(self._compiled.string, tuple(values), self)
            named = {name: value for (name, *_), value in zip(self._sources, values, strict=True)}
            return Query(self._compiled.string, named, self)
        compiled = self._compiled
        if self._expands:
            state = compiled.construct_expanded_state(dict(parameters))
            processors = {**self._in, **cast("Mapping[str, Processor]", state.processors)}
            sql, raw, order = state.statement, state.parameters, state.positiontup
        else:
            processors = self._in
            sql, raw = compiled.string, compiled.construct_params(dict(parameters))
            order = compiled.positiontup
        named = dict(raw)
        for name, processor in processors.items():
            if name in named:
                named[name] = processor(named[name])
        if order is None:
            return Query(sql, named, self)
        return Query(sql, tuple(named[name] for name in order), self)

    def numbered(self, literal: Callable[[Any], str]) -> tuple[str, list[str]] | None:
        """For PREPARE: the text with ``$1``, ``$2`` ... for its parameters and constants written
        out by ``literal``, and the parameters' names in that order. None if the text depends on
        the values, or has them by position."""
        if self._sources is None or self._compiled.positiontup is not None:
            return None
        names = [name for name, given, _, _ in self._sources if given is not None]
        texts = {name: f"${number}" for number, name in enumerate(names, 1)}
        for name, given, _, constant in self._sources:
            if given is None:
                texts[name] = literal(constant)
        return self._compiled.string % texts, names

    def rows(self, description: Iterable[Sequence[Any]], fetched: Iterable[Any]) -> list[Row]:
        if self._out is None:
            self._prepare_rows(list(description))
        labels, processors = self._labels, self._out or []
        rows = [dict(zip(labels, values, strict=True)) for values in fetched]
        for row in rows:
            for label, processor in processors:
                row[label] = processor(row[label])
        return cast("list[Row]", rows)

    def _prepare_rows(self, description: list[Sequence[Any]]) -> None:
        """Names come from the driver; types are those of the statement's columns, in order."""
        out: list[tuple[str, Processor]] = []
        for column, type_ in zip(description, self._types, strict=False):
            implementation = type_.dialect_impl(self._dialect)
            processor = implementation.result_processor(self._dialect, column[1])
            if processor is not None:
                out.append((str(column[0]), processor))
        self._labels = tuple(str(column[0]) for column in description)
        self._out = out


def _result_types(statement: Executable) -> list[TypeEngine[Any]]:
    """Types of the rows' columns; empty for plain text, whose values stay the driver's."""
    if statement.is_select or isinstance(statement, Select | UpdateBase):
        columns = cast(Any, statement).exported_columns
        return [column.type for column in columns]
    return []


class Statements:
    """The compiled statements of one dialect. Used on the reactor only."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._plans: OrderedDict[tuple[int, tuple[str, ...]], Plan] = OrderedDict()

    def query(self, statement: Executable, parameters: Mapping[str, Any]) -> Query:
        return self._plan(statement, tuple(parameters)).query(parameters)

    def queries(self, statement: Executable, rows: Sequence[Mapping[str, Any]]) -> list[Query]:
        """One query for each of ``rows``, which all have the same names."""
        names = tuple(rows[0])
        plan = self._plan(statement, names)
        if any(row.keys() != rows[0].keys() for row in rows):
            raise TypeError("all rows of execute_many must have the same names")
        return [plan.query(row) for row in rows]

    def _plan(self, statement: Executable, names: tuple[str, ...]) -> Plan:
        key = (id(statement), names)
        plan = self._plans.get(key)
        if plan is None:
            plan = self._plans[key] = Plan(statement, names, self._dialect)
            if len(self._plans) > KEPT:
                self._plans.popitem(last=False)
        else:
            self._plans.move_to_end(key)
        return plan
