"""The query parameters of admin pages: which there are, and what each may hold.

Django lets an address filter a list by any field of its model, shown or not, with any lookup. So
an address could ask about fields that the page hides, and run a pattern in the database.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from django.contrib.admin import SimpleListFilter
from django.contrib.admin.options import (
    IS_FACETS_VAR,
    IS_POPUP_VAR,
    TO_FIELD_VAR,
    IncorrectLookupParameters,
)
from django.contrib.admin.views.main import (
    ALL_VAR,
    ERROR_FLAG,
    ORDER_VAR,
    PAGE_VAR,
    SEARCH_VAR,
    ChangeList,
)
from django.core.exceptions import ValidationError
from django.forms import Field, ModelMultipleChoiceField
from django.http import HttpRequest, QueryDict

KEPT_FILTERS = "_changelist_filters"  # the list's own query, on the pages that lead back to it
MAX_SEARCHED = 200  # characters; each word of a search is one more condition
_MOST_KEPT = 2_000  # characters
_PAGE = re.compile(r"[1-9][0-9]{0,6}")
_ORDER = re.compile(r"(-?[0-9]{1,2}(\.-?[0-9]{1,2}){0,9})?")
_FLAGS = frozenset({"", "1", "True"})
_NULL = frozenset({"True", "False", "1", "0"})

Takes = Callable[[str], bool]

_OF_FORMS: Mapping[str, Takes] = {
    IS_POPUP_VAR: _FLAGS.__contains__,
    TO_FIELD_VAR: str.isidentifier,  # which field it may be: `to_field_allowed`
    KEPT_FILTERS: lambda value: len(value) <= _MOST_KEPT,
}
_OF_LISTS: Mapping[str, Takes] = {
    **_OF_FORMS,
    SEARCH_VAR: lambda value: len(value) <= MAX_SEARCHED,
    PAGE_VAR: lambda value: _PAGE.fullmatch(value) is not None,
    ORDER_VAR: lambda value: _ORDER.fullmatch(value) is not None,
    ALL_VAR: _FLAGS.__contains__,
    ERROR_FLAG: _FLAGS.__contains__,
    IS_FACETS_VAR: _FLAGS.__contains__,
}


class ParameterRefused(Exception):
    """A page does not know a parameter, or not this value of it; `str()` is safe to show."""

    @classmethod
    def value_of(cls, name: str) -> ParameterRefused:
        """Return the refusal of a parameter's value."""
        return cls(f"The parameter “{_shown(name)}” does not take this value.")


def _shown(name: str) -> str:
    return name if len(name) <= 60 else f"{name[:59]}…"


def check_parameters(
    given: QueryDict, takes: Mapping[str, Takes], *, others: bool = False
) -> dict[str, str]:
    """Return the parameters that `takes` does not name, each with its value.

    Raises ParameterRefused for a doubled one, for a value that is not taken, and without `others`
    for one that `takes` does not name.
    """
    left = {}
    for name, values in given.lists():
        if len(values) > 1:
            raise ParameterRefused(f"The parameter “{_shown(name)}” is given more than once.")
        value = str(values[0])
        if name in takes:
            if not takes[name](value):
                raise ParameterRefused.value_of(name)
        elif others:
            left[name] = value
        else:
            raise ParameterRefused(f"This page has no parameter “{_shown(name)}”.")
    return left


def check_form(given: QueryDict, fields: Mapping[str, Field] | None = None) -> None:
    """Check the parameters of a form's page: Django's own, and values for `fields` if any.

    Raises ParameterRefused.
    """
    takes = {name: _initial_of(field) for name, field in (fields or {}).items()}
    check_parameters(given, {**takes, **_OF_FORMS})


def _initial_of(field: Field) -> Takes:
    """Return what tells whether a form's field takes a value before somebody has typed one."""

    def takes(text: str) -> bool:
        several = isinstance(field, ModelMultipleChoiceField)
        return not text or _is_valid(field, text.split(",") if several else text)

    return takes


def _is_valid(field: Any, *value: Any) -> bool:
    try:
        field.clean(*value)
    except ValidationError:
        return False
    return True


class CheckedList(ChangeList):
    """A list that takes Django's own parameters and those of its filters, and no field lookups.

    `date_hierarchy` is a set of field lookups, and not supported.
    """

    def __init__(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        """Check Django's own parameters, then build the list. Raises ParameterRefused."""
        self._for_filters = check_parameters(request.GET, _OF_LISTS, others=True)
        super().__init__(request, *args, **kwargs)

    def get_filters_params(self, params: Any = None) -> dict[str, Any]:
        """Return what is left for the filters."""
        found: dict[str, Any] = super().get_filters_params(params)
        return {name: value for name, value in found.items() if name != KEPT_FILTERS}

    def get_filters(self, request: HttpRequest) -> Any:
        """Return the filters. Raises ParameterRefused for what none of them offers."""
        filters, has_filters, remaining, *more = super().get_filters(request)
        for name in remaining:
            raise ParameterRefused(f"This list has no parameter “{_shown(name)}”.")
        for each in filters:
            for own in self._for_filters.keys() & set(each.expected_parameters()):
                if not _offers(each, own, self._for_filters[own]):
                    raise ParameterRefused.value_of(own)
        return filters, has_filters, remaining, *more

    def get_results(self, request: HttpRequest) -> None:
        """Read the page. Raises ParameterRefused where the list has none of that number."""
        try:
            super().get_results(request)
        except IncorrectLookupParameters:
            raise ParameterRefused(f"This list has no page {self.page_num}.") from None


def _offers(list_filter: Any, name: str, value: str) -> bool:
    """Tell whether a filter has the value among its choices, or its field could hold it."""
    if isinstance(list_filter, SimpleListFilter):
        return value in {str(each) for each, _ in list_filter.lookup_choices}
    if name.endswith("__isnull"):
        return value in _NULL
    field = list_filter.field
    return _is_valid(field.target_field if field.is_relation else field, value, None)
