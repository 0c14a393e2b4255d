"""Signing in to the admin: a password, and a code where a second factor is on."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth.forms import UsernameField
from django.db import transaction
from django_otp.plugins.otp_totp.models import TOTPDevice

WRONG_CODE = "This is not the code of your authenticator, or you tried too fast. Try the next one."


def second_factor_of(user: Any) -> TOTPDevice | None:
    """Return the authenticator that the user has turned on, or None."""
    return TOTPDevice.objects.filter(user=user, confirmed=True).first()


def code_is_right(device: TOTPDevice, code: str) -> bool:
    """Check a code; each works once, and wrong ones make the next try wait, longer each time."""
    with transaction.atomic():
        locked = TOTPDevice.objects.select_for_update().get(pk=device.pk)
        allowed, _ = locked.verify_is_allowed()
        return bool(allowed and locked.verify_token(code))


class SignInForm(AdminAuthenticationForm):
    """Name, password and the code of an authenticator.

    What fails a field's own checks reaches neither the table of failed sign-ins nor a hash.
    """

    username = UsernameField(max_length=150, widget=forms.TextInput(attrs={"autofocus": True}))
    password = forms.CharField(
        strip=False,
        max_length=4_096,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )
    otp_token = forms.CharField(
        label="Code",
        required=False,
        max_length=10,
        widget=forms.TextInput(attrs={"autocomplete": "one-time-code", "inputmode": "numeric"}),
        help_text="From your authenticator, if you have turned it on.",
    )

    def clean(self) -> dict[str, Any]:
        """Check the password, then the code, where every field is valid and holds no NUL."""
        posted: Any = self.data
        if any("\0" in text for _, texts in posted.lists() for text in texts):
            raise forms.ValidationError("This cannot be read.")
        if self.errors:
            return self.cleaned_data
        cleaned: dict[str, Any] = super().clean()
        user = self.get_user()
        device = None if user is None else second_factor_of(user)
        if device and not code_is_right(device, cleaned.get("otp_token", "")):
            raise forms.ValidationError(WRONG_CODE)
        return cleaned
