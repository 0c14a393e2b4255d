"""Webhooks in the admin: where messages go and what became of them; secrets made and shown once."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.utils import timezone

from caylex_project.accounts.models import AuditEntry
from tasks_app.models import WebhookDelivery, WebhookEndpoint, WebhookSecret
from tasks_app.webhooks.secrets import live_secrets, make_secret
from tests.accounts.test_admin import Browser, browser, text_of  # noqa: F401
from tests.accounts.test_staff_scope import limited_to
from tests.provisioning.test_provision import dump
from tests.skills.test_skill_pages import staff
from tests.support.factories import ProjectFactory
from tests.support.webhook_rows import a_delivery, an_endpoint

pytestmark = pytest.mark.django_db
URL = "https://93.184.216.34/hook?token=planted-s3cret-1"
DELIVERIES = "/admin/tasks_app/webhookdelivery/"
ENDPOINTS = "/admin/tasks_app/webhookendpoint/"
SECRETS = "/admin/tasks_app/webhooksecret/"


def test_a_message_s_row_says_what_became_of_it_and_hides_the_query() -> None:
    delivery = a_delivery(URL)
    viewer, operator = staff("support viewer"), staff("support operator")
    pages = (DELIVERIES, f"{DELIVERIES}{delivery.pk}/change/")
    assert all("resend/" not in text_of(operator.get(each)) for each in pages)  # it waits
    WebhookDelivery.objects.update(
        state="failed", attempts=10, last_status=503, last_error="The address answered 503."
    )

    for each in pages:
        text = text_of(viewer.get(each))
        assert "https://93.184.216.34/hook?…" in text
        assert "The address answered 503." in text
        assert f"/agenttask/{delivery.task_id}/change/" in text
        assert "planted" not in text
        assert "Done." not in text
        assert "resend/" not in text
        assert f"/webhookdelivery/resend/?message={delivery.pk}" in text_of(operator.get(each))


def test_an_endpoint_is_disabled_with_a_reason_and_enabled_again() -> None:
    endpoint = an_endpoint(a_delivery(URL).task, URL)
    admin, viewer = staff("project admin"), staff("support viewer")
    page = f"{ENDPOINTS}{endpoint.pk}/"

    for action in ("disable", "enable"):
        assert viewer.post(f"{page}{action}/").status_code == 403
    admin.get(f"{page}disable/")
    assert WebhookEndpoint.objects.get().disabled_at is None
    answer = admin.post(f"{page}disable/", {"reason": "It is away."}, follow=True)
    assert "It is told of nothing any more." in text_of(answer)
    assert WebhookEndpoint.objects.get().disabled_reason == "It is away."
    admin.post(f"{page}enable/", {"reason": "It is back."})

    row = WebhookEndpoint.objects.get()
    assert (row.disabled_at, row.disabled_reason) == (None, "")
    assert "planted" not in text_of(admin.get(f"{page}change/")) + text_of(admin.get(ENDPOINTS))
    assert list(AuditEntry.objects.order_by("pk").values_list("action", "object_name")) == [
        ("disable", "https://93.184.216.34/hook?…"),
        ("enable", "https://93.184.216.34/hook?…"),
    ]


def test_a_new_secret_is_shown_once_and_the_older_one_signs_along() -> None:
    project: Any = ProjectFactory()
    old = make_secret(project=project)
    admin = staff("project admin")

    answer = admin.post(f"{SECRETS}add/", {"project": project.pk})

    found = re.search(r"whsec_[\w+/=]{44}", text_of(answer))
    assert found is not None
    assert live_secrets(project=project, now=timezone.now()) == (found[0], old)
    assert WebhookSecret.objects.count() == 2
    kept = WebhookSecret.objects.earliest("created_at")
    assert kept.expires_at is not None
    for page in (SECRETS, f"{SECRETS}{kept.pk}/change/", "/admin/"):
        assert "whsec_" not in text_of(admin.get(page))
    assert found[0] not in dump()
    assert AuditEntry.objects.get().object_id == str(project.pk)


def test_webhooks_of_other_projects_are_not_there() -> None:
    delivery = a_delivery(URL)
    endpoint = an_endpoint(delivery.task, URL)
    make_secret(project=delivery.task.project)
    limited = limited_to(ProjectFactory())
    viewer = staff("support viewer")

    for path, row in (
        (DELIVERIES, delivery),
        (ENDPOINTS, endpoint),
        (SECRETS, WebhookSecret.objects.get()),
    ):
        assert limited.get(f"{path}{row.pk}/change/").status_code == 404
        assert f"/{row.pk}/change/" not in text_of(limited.get(path))
    assert limited.post(f"{ENDPOINTS}{endpoint.pk}/disable/").status_code == 404
    form = limited.post(f"{SECRETS}add/", {"project": delivery.task.project_id})
    assert "Select a valid choice" in text_of(form)
    assert viewer.post(f"{SECRETS}add/", {}).status_code == 403
    assert WebhookSecret.objects.count() == 1
