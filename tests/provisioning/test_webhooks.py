"""The project's endpoints in the provisioning file, and the secret that is told once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from caylex_project.accounts.models import Project
from caylex_project.integrations.key_rotation import rotate_credentials
from tasks_app.models import WebhookEndpoint, WebhookSecret
from tasks_app.webhooks.secrets import live_secrets

pytestmark = pytest.mark.django_db
URL = "http://127.0.0.1:8903/hook"
FILE = "tenant: acme\nproject: support\n"
Provision = Callable[..., dict[str, Any]]


@pytest.fixture
def provision(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Provision:
    """Provision a text and return the JSON that it prints."""

    def run(text: str, *options: str) -> dict[str, Any]:
        (tmp_path / "file.yaml").write_text(text)
        call_command("provision", str(tmp_path / "file.yaml"), "--json", *options)
        printed: dict[str, Any] = json.loads(capsys.readouterr().out)
        return printed

    return run


def secrets_of(name: str) -> tuple[str, ...]:
    return live_secrets(project=Project.objects.get(name=name), now=timezone.now())


def test_endpoints_are_made_once_and_their_events_follow_the_file(provision: Provision) -> None:
    printed = provision(f"{FILE}webhooks: [{{url: '{URL}', events: [agent_task.failed]}}]\n")
    endpoint = WebhookEndpoint.objects.get()
    assert (endpoint.url, endpoint.events) == (URL, ["agent_task.failed"])
    assert printed["webhooks"] == [{"id": str(endpoint.pk), "url": URL}]
    provision(f"{FILE}webhooks: [{{url: '{URL}'}}]\n")
    assert WebhookEndpoint.objects.get().events == []
    provision(FILE)
    assert WebhookEndpoint.objects.count() == 1


def test_the_secret_is_told_once_and_rotated_with_the_keys(provision: Provision) -> None:
    first = provision(FILE)["webhook_secret"]
    assert secrets_of("support") == (first,)
    assert provision(FILE)["webhook_secret"] is None
    second = provision(FILE, "--rotate-keys")["webhook_secret"]
    assert secrets_of("support") == (second, first)
    third = provision(FILE, "--rotate-keys")["webhook_secret"]
    assert secrets_of("support") == (third, second, first)
    assert WebhookSecret.objects.filter(expires_at__isnull=True).count() == 1


@pytest.mark.parametrize(
    ("part", "sentence"),
    [
        ("{url: 'http://10.0.0.1/'}", "webhooks[0].url: The address of 10.0.0.1 is not public."),
        ("{url: 'http://127.0.0.1:22/'}", "webhooks[0].url: Port 22"),
        ("{url: 'http://127.0.0.1/', events: [failed]}", "webhooks[0].events[0]: input should be"),
        (f"{{url: '{URL}'}}, {{url: '{URL}'}}", "webhooks: two webhooks have the same address."),
        ("{events: []}", "webhooks[0].url is required."),
    ],
)
def test_a_mistake_is_named_and_changes_nothing(
    part: str, sentence: str, provision: Provision
) -> None:
    with pytest.raises(CommandError) as refused:
        provision(f"{FILE}webhooks: [{part}]\n")
    assert sentence in str(refused.value)
    assert not WebhookEndpoint.objects.exists()
    assert not Project.objects.exists()


def test_a_new_sealing_key_seals_webhook_secrets_anew(provision: Provision, settings: Any) -> None:
    secret = provision(FILE)["webhook_secret"]
    old = settings.ENVIRONMENT.caylex_credential_keys.get_secret_value()
    new = "QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI="

    def keys(text: str) -> None:
        secret_type = type(settings.ENVIRONMENT.caylex_credential_keys)
        settings.ENVIRONMENT = settings.ENVIRONMENT.model_copy(
            update={"caylex_credential_keys": secret_type(text)}
        )

    keys(f"{new},{old}")
    assert rotate_credentials().resealed == 1
    keys(new)
    assert secrets_of("support") == (secret,)
