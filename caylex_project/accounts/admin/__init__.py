"""The admin of accounts, and the base classes of every other admin.

Imports `accounts`; no other app.
"""

import django_otp.plugins.otp_totp.admin  # noqa: F401  registers a page that shows keys
from django.contrib import admin
from django_otp.plugins.otp_totp.models import TOTPDevice

from caylex_project.accounts.admin import secrets, staff, tenants

__all__ = ["secrets", "staff", "tenants"]

admin.site.unregister(TOTPDevice)
