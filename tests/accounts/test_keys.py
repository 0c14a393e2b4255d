"""Platform tokens and navigator keys: made once, found by their text, every bad one alike."""

from __future__ import annotations

import base64
import datetime
import hashlib
import hmac
import uuid
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from caylex_project.accounts import keys
from caylex_project.accounts.keys import (
    find_navigator_key,
    find_platform_token,
    issue_navigator_key,
    issue_platform_token,
)
from caylex_project.accounts.models import NavigatorKey, PlatformToken
from tests.support.factories import NavigatorFactory, TenantFactory

NOW = datetime.datetime(2026, 6, 18, 15, 0, tzinfo=datetime.UTC)
SECOND = datetime.timedelta(seconds=1)
ODD = [
    "",
    "ck_",
    ".",
    "cpt_" + "0" * 32 + ".",
    "\x00",
    "cpt_\x00.\x00",
    "ключ",
    "\ud800",
    "cpt_" + "٣" * 32 + "." + "a" * 43,
    "x" * 100_000,
    "cpt_" + "0" * 32 + "." + "a" * 100_000,
    "ck_" + str(uuid.UUID(int=5)) + "." + "a" * 43,
]


@pytest.mark.django_db
def test_an_issued_token_is_found_with_its_tenant_in_one_query(
    django_assert_num_queries: Any,
) -> None:
    row, text = issue_platform_token(tenant=TenantFactory(name="acme"), name="backend")

    with django_assert_num_queries(1):
        found = find_platform_token(text, now=NOW)
        assert found == row
        assert found is not None
        assert found.tenant.name == "acme"


@pytest.mark.django_db
def test_an_issued_key_is_found_with_its_project_in_one_query(
    django_assert_num_queries: Any,
) -> None:
    navigator = NavigatorFactory(project__name="support")
    row, text = issue_navigator_key(navigator=navigator)

    with django_assert_num_queries(1):
        found = find_navigator_key(text, tenant=navigator.project.tenant, now=NOW)
        assert found == row
        assert found is not None
        assert found.navigator.project.name == "support"


@pytest.mark.django_db
def test_the_text_names_the_row_and_holds_32_random_bytes() -> None:
    row, text = issue_navigator_key(navigator=NavigatorFactory())
    token_row, token = issue_platform_token(tenant=TenantFactory(), name="backend")

    head, secret = text.split(".")
    assert head == f"ck_{row.id.hex}" == str(row)
    assert len(base64.urlsafe_b64decode(secret + "=")) == 32
    assert token.startswith(f"cpt_{token_row.id.hex}.")


@pytest.mark.django_db
def test_only_the_digest_of_the_whole_text_is_kept() -> None:
    row, text = issue_navigator_key(navigator=NavigatorFactory())

    kept = NavigatorKey.objects.filter(pk=row.pk).values().get()
    assert kept["digest"] == hashlib.sha256(text.encode()).hexdigest()
    assert text.split(".")[1] not in repr(kept)


@pytest.mark.django_db
def test_every_bad_key_is_none_for_the_same_query_digest_and_comparison(
    django_assert_num_queries: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    navigator = NavigatorFactory()
    tenant = navigator.project.tenant
    row, good = issue_navigator_key(navigator=navigator)
    _, expired = issue_navigator_key(navigator=navigator, expires_at=NOW)
    revoked_row, revoked = issue_navigator_key(navigator=navigator)
    revoked_row.revoke(NOW)
    _, strange = issue_navigator_key(navigator=NavigatorFactory())
    bad = {
        "malformed": "ck_nonsense",
        "unknown": f"ck_{uuid.uuid4().hex}.{'a' * 43}",
        "wrong secret": f"ck_{row.id.hex}.{'a' * 43}",
        "expired": expired,
        "revoked": revoked,
        "of another tenant": strange,
        "a token's prefix": good.replace("ck_", "cpt_"),
    }
    work: list[tuple[str, int]] = []
    digest, compare = keys._digest, hmac.compare_digest

    def counted_digest(text: str) -> str:
        work.append(("digest", len(text)))
        return digest(text)

    def counted_compare(one: str, other: str) -> bool:
        work.append(("compare", len(one) + len(other)))
        return compare(one, other)

    monkeypatch.setattr(keys, "_digest", counted_digest)
    monkeypatch.setattr(hmac, "compare_digest", counted_compare)
    for name, text in bad.items():
        work.clear()
        with django_assert_num_queries(1):
            assert find_navigator_key(text, tenant=tenant, now=NOW) is None, name
        assert work == [("digest", len(good)), ("compare", 128)], name

    assert find_navigator_key(good, tenant=tenant, now=NOW) == row


@pytest.mark.django_db
@pytest.mark.parametrize("text", ODD, ids=range(len(ODD)))
def test_odd_text_is_none(text: str) -> None:
    tenant = TenantFactory()

    assert find_platform_token(text, now=NOW) is None
    assert find_navigator_key(text, tenant=tenant, now=NOW) is None


@pytest.mark.django_db
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.text() | st.from_regex(r"cpt_[0-9a-f]{30,33}\.[\w-]{42,44}"))
def test_no_text_raises(text: str) -> None:
    assert find_platform_token(text, now=NOW) is None


@pytest.mark.django_db
def test_a_token_ends_at_its_expiry_and_not_before() -> None:
    _, text = issue_platform_token(tenant=TenantFactory(), name="backend", expires_at=NOW)

    assert find_platform_token(text, now=NOW - SECOND) is not None
    assert find_platform_token(text, now=NOW) is None


@pytest.mark.django_db
def test_a_revoked_token_stays_revoked_since_the_first_time() -> None:
    row, text = issue_platform_token(tenant=TenantFactory(), name="backend")

    row.revoke(NOW)
    row.revoke(NOW + SECOND)

    assert find_platform_token(text, now=NOW) is None
    assert PlatformToken.objects.get(pk=row.pk).revoked_at == NOW


@pytest.mark.django_db
def test_expire_by_shortens_a_life_and_never_lengthens_it() -> None:
    row, _ = issue_platform_token(tenant=TenantFactory(), name="backend")

    row.expire_by(NOW)
    row.expire_by(NOW + SECOND)
    assert PlatformToken.objects.get(pk=row.pk).expires_at == NOW
    row.expire_by(NOW - SECOND)
    assert PlatformToken.objects.get(pk=row.pk).expires_at == NOW - SECOND
