"""Links from a row to the task that it belongs to."""

from __future__ import annotations

from typing import Any

from django.urls import reverse
from django.utils.html import format_html


def task_link(task_id: Any) -> str:
    """Return a link to the task's page, by the first digits of its id."""
    page = reverse("admin:tasks_app_agenttask_change", args=[task_id])
    return format_html('<a href="{}">{}</a>', page, str(task_id)[:8])
