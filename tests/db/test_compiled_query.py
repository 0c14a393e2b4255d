"""Queries that are compiled once."""

from __future__ import annotations

import uuid

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from caylex_project.accounts.models import EndUser
from caylex_project.db.compiled_query import CompiledQuery
from tests.support.factories import EndUserFactory


@pytest.mark.django_db
def test_a_compiled_query_finds_what_the_same_queryset_finds_with_whatever_values() -> None:
    query = CompiledQuery(
        lambda project, email: (
            EndUser.objects.filter(project_id=project, email=email)
            .select_related("project__tenant")
            .only("email", "created_at", "project__name", "project__tenant__limits")
        ),
        project=uuid.UUID,
        email=str,
    )
    first, second = EndUserFactory(email="a@x.org"), EndUserFactory(email="o'neil%s@x.org")
    for each in (first, second, first):
        with CaptureQueriesContext(connection) as queries:
            found = query.find(project=each.project_id, email=each.email)
            assert found == each
            assert (found.email, found.created_at) == (each.email, each.created_at)
            assert found.project.name == each.project.name
            assert found.project.tenant.limits == each.project.tenant.limits
        assert len(queries) == 1
        assert found.get_deferred_fields() == {"disabled_at"}
    assert query.find(project=first.project_id, email=second.email) is None
    assert query.find(project=first.project_id, email="' OR 1=1 --") is None
