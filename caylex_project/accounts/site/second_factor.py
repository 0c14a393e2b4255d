"""The page on which staff turn their second factor on and off.

Until the first right code nothing is kept: the key waits in the form, signed.
"""

from __future__ import annotations

import base64
import io
from typing import Any

import qrcode
from django import forms
from django.contrib import admin, messages
from django.core import signing
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.views.decorators.debug import sensitive_post_parameters
from django_otp.oath import TOTP
from django_otp.plugins.otp_totp.models import TOTPDevice, default_key
from qrcode.image.svg import SvgPathImage

from caylex_project.accounts.audit import record
from caylex_project.accounts.site.sign_in import WRONG_CODE, code_is_right, second_factor_of
from caylex_project.db.clock import clock

_SALT = "second-factor"
_PATIENCE = 900  # seconds from the page to its code


class CodeForm(forms.Form):
    """A code of the authenticator, and the key that it comes from while that is new."""

    code = forms.RegexField(
        r"^\d{6}$",
        widget=forms.TextInput(attrs={"autocomplete": "one-time-code", "inputmode": "numeric"}),
    )
    key = forms.CharField(required=False, widget=forms.HiddenInput)


@sensitive_post_parameters("key", "code")
def second_factor(request: HttpRequest) -> HttpResponse:
    """Show whether it is on, and turn it on or off for who posts a right code."""
    device = second_factor_of(request.user)
    if request.method != "POST":
        return _page(request, device, CodeForm())
    form = CodeForm(request.POST)
    if not form.is_valid() or not (_off if device else _on)(request, device, form.cleaned_data):
        form.add_error("code", WRONG_CODE)
        return _page(request, device, form)
    messages.success(request, f"Your second factor is {'off' if device else 'on'}.")
    return HttpResponseRedirect(request.path)


def _off(request: HttpRequest, device: Any, given: dict[str, Any]) -> bool:
    if not code_is_right(device, given["code"]):
        return False
    with transaction.atomic():
        TOTPDevice.objects.filter(user=device.user).delete()
        _record(request, "second factor off")
    return True


def _on(request: HttpRequest, device: Any, given: dict[str, Any]) -> bool:
    key = _opened(request, given["key"])
    totp = TOTP(bytes.fromhex(key))
    if not key or not totp.verify(int(given["code"]), tolerance=1):
        return False
    with transaction.atomic():
        TOTPDevice.objects.create(user=request.user, name="authenticator", key=key, last_t=totp.t())
        _record(request, "second factor on")
    return True


def _record(request: HttpRequest, action: str) -> None:
    user: Any = request.user
    record(actor=user, action=action, on=user, now=clock.now())


def _opened(request: HttpRequest, sealed: str) -> str:
    """Return the key that we signed for this user, or nothing."""
    try:
        user, key = signing.loads(sealed, salt=_SALT, max_age=_PATIENCE)
    except signing.BadSignature:
        return ""
    return str(key) if user == request.user.pk else ""


def _page(request: HttpRequest, device: TOTPDevice | None, form: CodeForm) -> HttpResponse:
    context = {**admin.site.each_context(request), "title": "Second factor", "form": form}
    if device is None:
        key = _opened(request, form.data.get("key", "")) or default_key()
        user: Any = request.user
        fresh = TOTPDevice(user=user, name="authenticator", key=key)
        form.fields["key"].initial = signing.dumps([user.pk, key], salt=_SALT)
        context |= {"picture": _picture(fresh.config_url), "typed": _base32(key)}
    return TemplateResponse(request, "admin/accounts/second_factor.html", context)


def _picture(text: str) -> str:
    out = io.BytesIO()
    qrcode.make(text, image_factory=SvgPathImage).save(out)
    return "data:image/svg+xml;base64," + base64.b64encode(out.getvalue()).decode()


def _base32(key: str) -> str:
    return base64.b32encode(bytes.fromhex(key)).decode()
