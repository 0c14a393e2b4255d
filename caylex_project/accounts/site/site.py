"""The admin site: Django's, without the pages that nothing here uses."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.contrib.admin.exceptions import DisallowedModelAdminToField
from django.contrib.admin.options import IS_POPUP_VAR, TO_FIELD_VAR
from django.contrib.admin.views.autocomplete import AutocompleteJsonView
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache

from caylex_project.accounts.site.query_params import MAX_SEARCHED, ParameterRefused
from caylex_project.accounts.site.sign_in import SignInForm

NUL_REFUSED = "The address holds a NUL character."


class DeclaredAutocomplete(AutocompleteJsonView):
    """Suggestions for the `autocomplete_fields` of our pages, and for no other foreign key."""

    def process_request(self, request: HttpRequest) -> Any:
        """Return what Django does. Raises Http404, ParameterRefused, PermissionDenied."""
        term, owner, field, to_field = super().process_request(request)
        site: Any = self.admin_site
        asking = site._registry.get(field.model)
        if asking is None or field.name not in asking.get_autocomplete_fields(request):
            raise PermissionDenied
        if len(term) > MAX_SEARCHED:
            raise ParameterRefused.value_of("term")
        return term, owner, field, to_field


class StaffSite(admin.AdminSite):
    """The site of all pages for staff. What is wrong with an address is answered with 400."""

    login_form = SignInForm
    login_template = "admin/accounts/login.html"

    def admin_view(self, view: Any, cacheable: bool = False) -> Any:
        """Wrap a view for staff alone; it may raise ParameterRefused."""
        return super().admin_view(self._refusing(view), cacheable)

    @method_decorator(never_cache)
    def login(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show and read the form to sign in."""
        return self._refusing(super().login)(request, extra_context)

    def autocomplete_view(self, request: HttpRequest) -> Any:
        """Answer suggestions for a field. Raises Http404, ParameterRefused, PermissionDenied."""
        return DeclaredAutocomplete.as_view(admin_site=self)(request)

    def get_urls(self) -> list[Any]:
        """Return all addresses but that of *View on site*: no row here has a page elsewhere."""
        return [each for each in super().get_urls() if getattr(each, "name", "") != "view_on_site"]

    def _refusing(self, view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
        @functools.wraps(view)
        def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            try:
                _check_nul(request)
                return view(request, *args, **kwargs)
            except ParameterRefused as refused:
                return self._refuse(request, str(refused))
            except DisallowedModelAdminToField:
                return self._refuse(request, str(ParameterRefused.value_of(TO_FIELD_VAR)))

        return answer

    def _refuse(self, request: HttpRequest, sentence: str) -> HttpResponse:
        context = {
            **self.each_context(request),
            "title": "This address cannot be read",
            "sentence": sentence,
            "is_popup": IS_POPUP_VAR in request.GET,
            "is_nav_sidebar_enabled": self.has_permission(request),
        }
        return TemplateResponse(request, "admin/accounts/refused.html", context, status=400)


def _check_nul(request: HttpRequest) -> None:
    """Refuse what no database stores. Raises ParameterRefused."""
    texts = [request.path, *request.GET]
    for values in dict(request.GET.lists()).values():
        texts += [str(each) for each in values]
    if any("\0" in each for each in texts):
        raise ParameterRefused(NUL_REFUSED)
