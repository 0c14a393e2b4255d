"""What an admin address may ask for: its page's own parameters, and no field of any model."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.test import RequestFactory
from django.utils import timezone

from caylex_project.accounts.admin.checked import CheckedAdmin
from caylex_project.accounts.models import PlatformToken, StaffScope
from caylex_project.accounts.site.query_params import CheckedList
from tests.accounts.test_admin import Browser, browser, rows, staff, text_of  # noqa: F401
from tests.accounts.test_staff_scope import limited_to
from tests.support.factories import (
    AgentTaskFactory,
    EndUserFactory,
    ProjectFactory,
    ServerInstanceFactory,
    StepFactory,
    ToolCallFactory,
)

pytestmark = pytest.mark.django_db
TITLE = "<h1>This address cannot be read</h1>"
TASKS = "tasks_app/agenttask"


def sentence(name: str) -> str:
    return f"The parameter “{name}” does not take this value. Nothing was changed."


def viewer() -> Browser:
    """A browser of staff who may see tasks but no payloads."""
    user = User.objects.create_user("vera", is_staff=True)
    user.groups.add(Group.objects.get(name="support viewer"))
    made = Browser()
    made.force_login(user)
    return made


def test_every_page_of_the_admin_checks_its_parameters() -> None:
    request = RequestFactory().get("/")

    assert len(admin.site._registry) > 20
    for owner in admin.site._registry.values():
        assert isinstance(owner, CheckedAdmin), owner
        assert issubclass(owner.get_changelist(request), CheckedList), owner
        assert owner.date_hierarchy is None, owner


@pytest.mark.parametrize(
    ("model", "lookup", "right", "wrong"),
    [
        (TASKS, "prompt__startswith", "a secr", "b"),
        (TASKS, "report__contains", "secret", "nothing"),
        (TASKS, "report__regex", "^a s", "^b"),
        (TASKS, "metadata__order", '"a secret word"', '"x"'),
        (TASKS, "prompt__isnull", "0", "1"),
        (TASKS, "end_user__email__startswith", "jane", "joe"),
        (TASKS, "steps__tool_calls__result__contains", "secret", "nothing"),
        ("tasks_app/event", "data__reason__contains", "secret", "nothing"),
        ("accounts/enduser", "email", "jane@example.com", "joe@example.com"),
        ("accounts/project", "instructions__contains", "secret", "nothing"),
        ("accounts/auditentry", "details__by", '"a secret word"', '"x"'),
    ],
)
def test_a_list_answers_no_question_about_a_field(
    model: str, lookup: str, right: str, wrong: str
) -> None:
    said = "a secret word"
    task = AgentTaskFactory(
        prompt=said,
        status="INCOMPLETE",
        stop_reason="max_steps",
        report=said,
        completed_at=timezone.now(),
        metadata={"order": said},
        end_user__email="jane@example.com",
    )
    ToolCallFactory(step=StepFactory(task=task), state="succeeded", result=said)
    vera = viewer()

    for value in (right, wrong):
        answer = vera.get(f"/admin/{model}/", {lookup: value})
        page = text_of(answer)
        assert answer.status_code == 400
        assert f"This list has no parameter “{lookup}”." in page
        assert TITLE in page
        assert str(task.pk)[:8] not in page


@pytest.mark.parametrize(
    ("model", "query"),
    [
        ("accounts/enduser", "email__iregex=%5B"),
        ("accounts/enduser", "email__regex=%5C"),
        ("accounts/enduser", "email__range=1"),
        ("accounts/enduser", "created_at__year=99999999999"),
        (TASKS, "metadata__contained_by=%7B"),
        (TASKS, "prompt__regex=^(a%2B)%2B$"),
        ("integrations/credential", "sealed=x"),
        ("accounts/platformtoken", "digest__startswith=a"),
        ("auth/user", "password__startswith=pbkdf2"),
    ],
)
def test_a_lookup_that_was_a_server_error_or_ran_a_pattern_is_refused(
    browser: Browser,  # noqa: F811
    model: str,
    query: str,
) -> None:
    answer = browser.get(f"/admin/{model}/?{query}")

    assert answer.status_code == 400
    assert "This list has no parameter" in text_of(answer)


@pytest.mark.parametrize(
    "query",
    [
        *("", "q=a", "p=1", "o=1.-2", "o=", "all=", "e=1", "_facets=True", "_popup=1"),
        *("_to_field=id", "_popup=1&_to_field=id&q=a", "_changelist_filters=q%3Da"),
    ],
)
def test_what_django_s_own_pages_put_into_addresses_is_taken_by_every_list(
    browser: Browser,  # noqa: F811
    query: str,
) -> None:
    for model in admin.site._registry:
        page = f"/admin/{model._meta.label_lower.replace('.', '/')}/"
        assert browser.get(f"{page}?{query}").status_code == 200, page


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("p", each) for each in ("-1", "0", "x", "", "1.5", "٣", "9" * 5_000)],
        *[("o", each) for each in ("x", "--1", "1..2", "1.x", "999", "1" * 400)],
        *[("q", each) for each in ("a" * 201, "a " * 101)],
        *[(each, "x") for each in ("all", "e", "_facets", "_popup")],
        *[("_to_field", each) for each in ("digest", "a b", "project__name")],
        ("_changelist_filters", "a" * 2_001),
    ],
)
def test_a_value_that_does_not_fit_is_400_and_names_the_parameter(
    browser: Browser,  # noqa: F811
    name: str,
    value: str,
) -> None:
    for model in ("accounts/enduser", TASKS):
        answer = browser.get(f"/admin/{model}/", {name: value})

        assert answer.status_code == 400, model
        assert sentence(name) in text_of(answer)
        assert f'<a href="/admin/{model}/">Open this page without parameters</a>' in text_of(answer)


def test_a_page_that_a_list_does_not_have_and_a_doubled_parameter_are_400(
    browser: Browser,  # noqa: F811
) -> None:
    for _ in range(51):
        EndUserFactory()

    second = browser.get("/admin/accounts/enduser/?p=2")
    third = browser.get("/admin/accounts/enduser/?p=3")
    doubled = browser.get("/admin/accounts/enduser/?p=1&p=2")

    assert (second.status_code, third.status_code, doubled.status_code) == (200, 400, 400)
    assert "This list has no page 3." in text_of(third)
    assert "The parameter “p” is given more than once." in text_of(doubled)


@pytest.mark.parametrize(
    ("model", "query", "status"),
    [
        ("tasks_app/toolcall", "state__exact=failed", 200),
        ("tasks_app/toolcall", "state__isnull=True", 200),
        ("tasks_app/toolcall", "state__exact=nonsense", 400),
        ("tasks_app/toolcall", "state__isnull=x", 400),
        ("tasks_app/toolcall", "state__startswith=f", 400),
        ("accounts/auditentry", f"action={'x' * 51}", 400),
        ("auth/user", "is_staff__exact=1", 200),
        ("auth/user", "is_staff__exact=maybe", 400),
        ("auth/user", "groups__id__exact=99999999999999999999", 400),
        ("auth/user", "groups__id__exact=x", 400),
        ("auth/user", "groups__id__exact=1", 200),
        ("auth/user", "groups__name=x", 400),
        (TASKS, "status=COMPLETED", 200),
        (TASKS, "status=x", 400),
        (TASKS, "status__exact=COMPLETED", 400),
        (TASKS, f"project={uuid.uuid4()}", 400),
    ],
)
def test_a_filter_takes_what_its_field_can_hold(
    browser: Browser,  # noqa: F811
    model: str,
    query: str,
    status: int,
) -> None:
    ToolCallFactory(state="failed", result="{}")

    assert browser.get(f"/admin/{model}/?{query}").status_code == status


def test_who_may_not_see_a_list_is_403_whatever_the_address_holds(rows: Any) -> None:  # noqa: F811
    answer = viewer().get("/admin/accounts/platformtoken/?digest__startswith=a")

    assert answer.status_code == 403


def test_a_new_row_s_form_begins_with_values_that_its_fields_take_and_no_others(
    browser: Browser,  # noqa: F811
    rows: dict[str, Any],  # noqa: F811
) -> None:
    add, tenant = "/admin/accounts/platformtoken/add/", rows["accounts/tenant"]

    page = browser.get(add, {"tenant": str(tenant.pk), "name": "backend", "_popup": "1"})

    assert f'<option value="{tenant.pk}" selected>' in text_of(page)
    for name, value in (
        ("expires_at", "x"),  # was a server error
        ("tenant", str(uuid.uuid4())),
        ("tenant", "x"),
        ("name", "x" * 101),
    ):
        answer = browser.get(add, {name: value})
        assert answer.status_code == 400, name
        assert sentence(name) in text_of(answer)
    assert browser.get(add, {"digest": "x"}).status_code == 400
    skill = "/admin/skills_app/skill/add/"
    project = rows["accounts/project"].pk
    assert f'value="{project}" selected' in text_of(browser.get(skill, {"project": str(project)}))
    assert browser.get(skill, {"kept": "x"}).status_code == 400


def test_a_row_s_page_takes_django_s_own_parameters_alone(
    browser: Browser,  # noqa: F811
    rows: dict[str, Any],  # noqa: F811
) -> None:
    page = f"/admin/accounts/platformtoken/{rows['accounts/platformtoken'].pk}/change/"
    scope = StaffScope.objects.create(user=User.objects.create_user("sue"))

    assert browser.get(f"{page}?_changelist_filters=q%3Da").status_code == 200
    assert browser.get(f"{page}?_to_field=id").status_code == 200
    assert sentence("_to_field") in text_of(browser.get(f"{page}?_to_field=digest"))
    assert browser.get(f"{page}?digest=x").status_code == 400
    assert browser.get(f"/admin/accounts/staffscope/{scope.pk}/delete/?x=1").status_code == 400


def test_an_action_on_an_id_that_is_none_is_400_and_does_nothing(
    browser: Browser,  # noqa: F811
    rows: dict[str, Any],  # noqa: F811
) -> None:
    own = str(rows["accounts/platformtoken"].pk)

    answer = browser.post(
        "/admin/accounts/platformtoken/", {"action": "revoke", "_selected_action": [own, "x"]}
    )

    assert answer.status_code == 400
    assert PlatformToken.objects.get().revoked_at is None


@pytest.mark.parametrize(
    "path",
    [
        *("/admin/?x=%00", "/admin/accounts/project/?q=%00", "/admin/accounts/%00/", "/admin/%00"),
        *("/admin/login/?next=%00", "/admin/second-factor/?%00=1", "/admin/autocomplete/?term=%00"),
        "/admin/accounts/project/%00/change/",
    ],
)
def test_a_nul_in_an_address_is_a_page_that_says_so(browser: Browser, path: str) -> None:  # noqa: F811
    answer = browser.get(path)

    assert answer.status_code == 400
    assert "The address holds a NUL character." in text_of(answer)
    assert "script-src 'self'" in answer["Content-Security-Policy"]


@pytest.mark.parametrize("key", ["_00", "x_00", "%5F00", "-1", "9" * 5_000])
def test_a_key_that_is_none_is_not_found(browser: Browser, key: str) -> None:  # noqa: F811
    for model in admin.site._registry:
        page = f"/admin/{model._meta.label_lower.replace('.', '/')}/"
        for view in ("change", "history"):
            assert browser.get(f"{page}{key}/{view}/").status_code in (403, 404), page


def test_pages_that_nothing_uses_are_closed(browser: Browser, rows: dict[str, Any]) -> None:  # noqa: F811
    person = rows["accounts/enduser"]
    of = {"app_label": "integrations", "model_name": "credential", "field_name": "end_user"}

    assert browser.get("/admin/autocomplete/", {**of, "term": "j"}).status_code == 403
    for kind in range(1, 40):
        assert browser.get(f"/admin/r/{kind}/{person.pk}/").status_code == 404


def test_a_form_names_no_row_of_another_project(rows: dict[str, Any]) -> None:  # noqa: F811
    own = rows["accounts/project"]
    hidden = EndUserFactory(email="hidden@example.com")
    server = ServerInstanceFactory(project=hidden.project, server__name="secret-server")
    omar = limited_to(own)
    add = "/admin/integrations/credential/add/"
    mine = rows["accounts/enduser"]

    shown = text_of(omar.get(add, {"end_user": str(mine.pk)}))
    refused = [omar.get(add, {"end_user": str(pk)}) for pk in (hidden.pk, uuid.uuid4())]
    posted = omar.post(
        add, {"end_user": str(hidden.pk), "instance": str(server.pk), "value": "planted-s3cret"}
    )

    assert "jane@example.com" in shown
    assert [each.status_code for each in refused] == [400, 400]
    for each in refused:
        assert sentence("end_user") in text_of(each)
        assert "hidden@example.com" not in text_of(each)
    assert omar.get(add, {"instance": str(server.pk)}).status_code == 400
    assert "hidden@example.com" not in text_of(posted)
    assert "secret-server" not in text_of(posted)
    assert text_of(posted).count("Select a valid choice.") == 2


def test_a_form_names_no_row_of_a_kind_that_its_user_may_not_see(rows: dict[str, Any]) -> None:  # noqa: F811
    omar = staff("add_credential", "view_credential")
    add = "/admin/integrations/credential/add/"

    page = omar.get(add, {"end_user": str(rows["accounts/enduser"].pk)})

    assert page.status_code == 200
    assert "jane@example.com" not in text_of(page)


def test_another_project_s_rows_are_in_no_page_of_an_empty_one(rows: dict[str, Any]) -> None:  # noqa: F811
    omar = limited_to(ProjectFactory())

    page = omar.get("/admin/accounts/enduser/?_popup=1&_to_field=id&_facets=True&all=")

    assert page.status_code == 200
    assert "jane@example.com" not in text_of(page)
