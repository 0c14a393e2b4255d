"""Queries whose SQL is made once, for what is asked with every request."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from django.db import DEFAULT_DB_ALIAS, connection
from django.db.models import Model, QuerySet
from django.db.models.query import get_related_populators

Row = TypeVar("Row", bound=Model)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Compiled:
    """The SQL, its parameters (a name stands for a value to come), and what makes a row of it."""

    sql: str
    parameters: Sequence[Any]
    make: Callable[[Sequence[Any]], Model]


class CompiledQuery(Generic[Row]):
    """A query for one row of a model, `select_related` and `only` included.

    Making the SQL costs Django several times what asking the database costs. `build` is called
    once, with a stand-in for each of the `kinds`, and returns the queryset; a value is given where
    its stand-in came out in the SQL's parameters. So a value can be compared with a column, and
    can't change the shape of the query.
    """

    def __init__(self, build: Callable[..., QuerySet[Row]], **kinds: type[str | uuid.UUID]) -> None:
        self._build = build
        self._kinds = kinds

    def find(self, **values: Any) -> Row | None:
        """Return the row that the query finds first, or None."""
        compiled = self._compiled
        adapted = {name: _adapted(value) for name, value in values.items()}
        with connection.cursor() as cursor:
            cursor.execute(
                compiled.sql,
                [
                    adapted[each.name] if isinstance(each, _Value) else each
                    for each in compiled.parameters
                ],
            )
            found = cursor.fetchone()
        return None if found is None else compiled.make(found)  # type: ignore[return-value]

    @functools.cached_property
    def _compiled(self) -> _Compiled:
        stand_ins = {
            name: uuid.uuid4() if kind is uuid.UUID else uuid.uuid4().hex
            for name, kind in self._kinds.items()
        }
        compiler = self._build(**stand_ins).query.get_compiler(DEFAULT_DB_ALIAS)
        sql, parameters = compiler.as_sql()
        names = {_adapted(stand_in): _Value(name) for name, stand_in in stand_ins.items()}
        return _Compiled(
            sql=sql,
            parameters=[names.get(each, each) for each in parameters],
            make=_maker(compiler),
        )


@dataclass(frozen=True, slots=True)
class _Value:
    """Where a value goes."""

    name: str


def _adapted(value: Any) -> Any:
    """Return the value as a column of its type holds it."""
    native = connection.features.has_native_uuid_field
    return value.hex if isinstance(value, uuid.UUID) and not native else value


def _maker(compiler: Any) -> Callable[[Sequence[Any]], Model]:
    """Return what makes a model's row of a database's; after `ModelIterable` of Django 5.2."""
    select, shape = compiler.select, compiler.klass_info
    converters = compiler.get_converters([expression for expression, *_ in select])
    first, last = shape["select_fields"][0], shape["select_fields"][-1] + 1
    names = [expression.target.attname for expression, *_ in select[first:last]]
    related = get_related_populators(shape, select, DEFAULT_DB_ALIAS)  # type: ignore[call-arg]

    def make(found: Sequence[Any]) -> Model:
        [values] = compiler.apply_converters([found], converters)
        row: Model = shape["model"].from_db(DEFAULT_DB_ALIAS, names, values[first:last])
        for each in related:
            each.populate(values, row)
        return row

    return make
