"""Admin pages that check their query parameters before anything reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import ValidationError
from django.db import models
from django.http import HttpRequest, HttpResponse

from caylex_project.accounts.site.query_params import CheckedList, ParameterRefused, check_form

if TYPE_CHECKING:
    BaseAdmin = admin.ModelAdmin[models.Model]
else:
    BaseAdmin = admin.ModelAdmin


class CheckedAdmin(BaseAdmin):
    """Lists and forms that raise ParameterRefused, which the site answers with 400."""

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """A list without field lookups; what a class returns instead inherits from it."""
        return CheckedList

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """Return the list. Raises ParameterRefused."""
        try:
            return super().get_changelist_instance(request)
        except IncorrectLookupParameters:
            raise ParameterRefused("A filter of this list does not take its value.") from None

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Leave it to the list, which refuses whatever none of its filters takes."""
        return True

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Any:
        """Return the row, or None; no row's key holds a NUL."""
        return None if "\0" in object_id else super().get_object(request, object_id, from_field)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Return the values that a new row's form begins with. Raises ParameterRefused."""
        form: Any = self.get_form(request)
        check_form(request.GET, form.base_fields)
        return super().get_changeform_initial_data(request)

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """The page of a row, or of a new one. Raises ParameterRefused."""
        if object_id is not None:
            check_form(request.GET)
        return super().changeform_view(request, object_id, *args, **kwargs)

    def delete_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """The page that asks before a row is deleted. Raises ParameterRefused."""
        check_form(request.GET)
        return super().delete_view(request, *args, **kwargs)

    def response_action(
        self, request: HttpRequest, queryset: models.QuerySet[Any], *args: Any, **kwargs: Any
    ) -> HttpResponse | None:
        """Do what the list was told to. Raises ParameterRefused for an id that is none."""
        key: Any = self.opts.pk
        for each in request.POST.getlist(ACTION_CHECKBOX_NAME):
            try:
                key.to_python(each)
            except ValidationError:
                raise ParameterRefused.value_of(ACTION_CHECKBOX_NAME) from None
        return super().response_action(request, queryset, *args, **kwargs)
