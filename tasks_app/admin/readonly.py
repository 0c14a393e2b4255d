"""The base of the admin of what is durable: every row can be read, and none can be edited."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db import models
from django.http import HttpRequest

if TYPE_CHECKING:
    BaseAdmin = admin.ModelAdmin[models.Model]
    BaseInline = admin.TabularInline[models.Model, models.Model]
else:
    BaseAdmin = admin.ModelAdmin
    BaseInline = admin.TabularInline


class NoChange:
    """Nobody adds, changes or deletes."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """No."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """No."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """No."""
        return False


class ReadOnlyAdmin(NoChange, BaseAdmin):
    """A page for each row and a list of them, to look at."""

    actions: Sequence[str] | None = None
    show_full_result_count = False
    list_per_page = 50


class ReadOnlyInline(NoChange, BaseInline):
    """Rows below another row, each with a link to its page."""

    extra = 0
    can_delete = False
    show_change_link = True
