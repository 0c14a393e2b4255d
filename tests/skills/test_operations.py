"""Skills as rows: revisions, references, the catalogue of a run, and reading them."""

from __future__ import annotations

import threading
import uuid
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from caylex_project.accounts.models import Navigator, Project
from skills_app.models import Skill, SkillBlob, SkillFile, SkillRevision
from skills_app.operations import (
    ResolvedSkill,
    SkillText,
    Source,
    catalogue,
    resolve_skill,
    skill_body,
    skill_file,
    store_skill,
)
from skills_app.parsing.assets import asset_of
from skills_app.parsing.skill_md import ParsedSkill, parse_skill
from tests.skills.test_skill_md import skill
from tests.support.factories import NavigatorFactory, ProjectFactory


@pytest.fixture
def navigator(db: None) -> Navigator:
    made: Navigator = NavigatorFactory()
    return made


def parsed(name: str = "Weekly Report", body: str = "Do it.", **files: str) -> ParsedSkill:
    """A skill with these files, `_` for `.` in their names."""
    return parse_skill(
        skill(name=name) + body, files={k.replace("_", "."): v for k, v in files.items()}
    )


def resolve(navigator: Navigator, ref: str) -> ResolvedSkill | None:
    """What the reference means for the navigator in its project."""
    return resolve_skill(project=navigator.project, navigator=navigator, ref=ref)


def test_a_skill_that_did_not_change_keeps_its_revision(navigator: Navigator) -> None:
    first = store_skill(project=navigator.project, parsed=parsed(style_md="x"))
    again = store_skill(project=navigator.project, parsed=parsed(style_md="x"))

    assert again == first
    assert (first.number, SkillRevision.objects.count(), SkillFile.objects.count()) == (1, 1, 1)


def test_every_change_is_a_new_revision_and_the_old_one_stays(navigator: Navigator) -> None:
    project = navigator.project
    first = store_skill(project=project, parsed=parsed(body="One.", style_md="x"))
    second = store_skill(project=project, parsed=parsed(body="Two.", style_md="x"))
    third = store_skill(project=project, parsed=parsed(body="Two.", style_md="y"))

    assert [first.number, second.number, third.number] == [1, 2, 3]
    assert Skill.objects.get().current == third
    assert "One." in (skill_body(first.pk) or "")
    assert skill_file(second.pk, "style.md") == SkillText("x")
    assert skill_file(third.pk, "style.md") == SkillText("y")


def test_a_skill_needs_exactly_one_owner(navigator: Navigator) -> None:
    with pytest.raises(ValueError, match="one owner"):
        store_skill(parsed=parsed())
    with pytest.raises(ValueError, match="one owner"):
        store_skill(parsed=parsed(), project=navigator.project, navigator=navigator)
    assert not Skill.objects.exists()


@pytest.mark.parametrize(
    "ref", ["Weekly Report", "WEEKLY REPORT", "weekly-report", "Weekly-Report"]
)
def test_a_reference_is_a_name_in_any_case_or_a_slug(navigator: Navigator, ref: str) -> None:
    revision = store_skill(project=navigator.project, parsed=parsed())

    assert resolve(navigator, ref) == ResolvedSkill(
        id=revision.skill_id,
        name="Weekly Report",
        slug="weekly-report",
        source=Source.PROJECT,
        revision_id=revision.pk,
        warning=None,
    )


@pytest.mark.parametrize(
    "ref",
    [
        *["", " ", "weekly", "weekly report!", "weekly--report", "\x00", "weekly-report\x00"],
        *["\ud800", "x" * 100_000, "報告", "%", "' OR 1=1 --"],
    ],
)
def test_any_other_reference_is_none(navigator: Navigator, ref: str) -> None:
    store_skill(project=navigator.project, parsed=parsed())

    assert resolve(navigator, ref) is None


def test_skills_of_others_are_not_there(navigator: Navigator) -> None:
    store_skill(project=ProjectFactory(tenant=navigator.project.tenant), parsed=parsed())
    store_skill(navigator=NavigatorFactory(project=navigator.project), parsed=parsed())

    assert resolve(navigator, "weekly-report") is None
    assert catalogue(project=navigator.project, navigator=navigator) == []


def test_a_global_skill_is_found_and_named_so(navigator: Navigator) -> None:
    store_skill(navigator=navigator, parsed=parsed())

    found = resolve(navigator, "weekly-report")

    assert found is not None
    assert (found.source, found.warning) == (Source.GLOBAL, None)


def test_the_projects_skill_wins_a_clash_and_says_so(navigator: Navigator) -> None:
    glob = store_skill(navigator=navigator, parsed=parsed(name="weekly report"))
    own = store_skill(project=navigator.project, parsed=parsed())

    found = resolve(navigator, "weekly report")

    assert found is not None
    assert (found.id, found.source) == (own.skill_id, Source.PROJECT)
    assert found.warning == (
        "The project and the navigator both have a skill 'weekly-report'; the project's is used."
    )
    listed = catalogue(project=navigator.project, navigator=navigator)
    assert [entry.id for entry in listed] == [own.skill_id]
    assert glob.skill_id not in [entry.id for entry in listed]


def test_the_catalogue_lists_current_revisions_in_one_query(
    navigator: Navigator, django_assert_num_queries: Any
) -> None:
    store_skill(project=navigator.project, parsed=parsed(name="b", body="One."))
    second = store_skill(project=navigator.project, parsed=parsed(name="b", body="Two."))
    first = store_skill(navigator=navigator, parsed=parsed(name="a"))

    with django_assert_num_queries(1):
        listed = catalogue(project=navigator.project, navigator=navigator)

    assert listed == [
        (first.skill_id, "a", "Reports.", first.pk),
        (second.skill_id, "b", "Reports.", second.pk),
    ]


def test_the_body_ends_with_the_list_of_files(navigator: Navigator) -> None:
    plain = store_skill(project=navigator.project, parsed=parsed(name="a", body="Now."))
    filed = store_skill(project=navigator.project, parsed=parsed(name="b", b_md="x", a_md="y"))

    assert skill_body(plain.pk) == "Do it.\nNow."
    assert (skill_body(filed.pk) or "").endswith("\n\nFiles of this skill:\n- a.md\n- b.md")
    assert skill_body(uuid.uuid4()) is None


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("style.md", "x"),
        ("./style.md", "x"),
        ("../style.md", None),
        ("/style.md", None),
        ("STYLE.md", None),
        ("", None),
        ("style.md\x00", None),
        ("\ud800", None),
        ("x" * 100_000, None),
    ],
)
def test_a_file_is_read_by_its_own_path_alone(
    navigator: Navigator, path: str, text: str | None
) -> None:
    revision = store_skill(project=navigator.project, parsed=parsed(style_md="x"))

    assert skill_file(revision.pk, path) == (SkillText(text) if text else None)


LOGO = b"\x89PNG\xff"


def with_logo(body: str = "Do it.", *, logo: bytes = LOGO, **files: str) -> ParsedSkill:
    """A skill with a picture at two places, beside these files."""
    paths = ("assets/logo.png", "assets/logo-again.png")
    return parse_skill(
        skill(name="Weekly Report") + body,
        files={k.replace("_", "."): v for k, v in files.items()},
        assets={path: asset_of(path, logo) for path in paths},
    )


def test_what_is_kept_aside_is_told_to_the_agent_and_its_bytes_are_not(
    navigator: Navigator, django_assert_num_queries: Any
) -> None:
    revision = store_skill(project=navigator.project, parsed=with_logo(style_md="x"))

    with django_assert_num_queries(2):
        body = skill_body(revision.pk)
    with CaptureQueriesContext(connection) as queries:
        read = skill_file(revision.pk, "./assets/logo.png")

    assert body == (
        "Do it.\nDo it.\n\nFiles of this skill:\n- style.md\n\nFiles of this skill that are kept "
        "aside and that you cannot read (not text, or too large):\n"
        "- assets/logo-again.png (image/png, 5 bytes)\n- assets/logo.png (image/png, 5 bytes)"
    )
    assert read == SkillText(
        "assets/logo.png (image/png, 5 bytes) is kept aside: it is not text, or it is too "
        "large. You cannot read it.",
        readable=False,
    )
    assert '"data"' not in "".join(each["sql"] for each in queries), "the bytes were read"


def test_a_new_revision_stores_the_bytes_that_are_there_no_second_time(
    navigator: Navigator,
) -> None:
    project = navigator.project
    first = store_skill(project=project, parsed=with_logo("One."))
    second = store_skill(project=project, parsed=with_logo("Two."))
    again = store_skill(project=project, parsed=with_logo("Two."))
    third = store_skill(project=project, parsed=with_logo("Two.", logo=b"\xfe"))

    assert again == second
    assert [first.number, second.number, third.number] == [1, 2, 3]
    assert SkillBlob.objects.count() == 2, "a picture for each content, not for each place"
    assert SkillFile.objects.count() == 6
    kept = second.files.get(path="assets/logo.png")
    assert kept.blob is not None
    assert (bytes(kept.blob.data), kept.blob.size, kept.text) == (LOGO, 5, "")


def test_another_skill_does_not_share_the_bytes(navigator: Navigator) -> None:
    store_skill(project=navigator.project, parsed=with_logo())
    store_skill(navigator=navigator, parsed=with_logo())
    assert SkillBlob.objects.count() == 2

    Project.objects.all().delete()
    assert not SkillBlob.objects.exists()


def test_the_digest_of_a_skill_without_such_files_is_what_it_always_was(
    navigator: Navigator,
) -> None:
    assert parse_skill(skill(), files={"a.md": "x"}).digest == (
        "64315069d768999396f760c331d9c697a467af6d96c55e8cf869f5654c0e68dc"
    )
    digests = [with_logo(logo=logo).digest for logo in (LOGO, b"\xfe")]
    assert len({*digests, parse_skill(skill(name="Weekly Report") + "Do it.").digest}) == 3


def test_the_database_refuses_a_file_that_is_both_or_neither(navigator: Navigator) -> None:
    store_skill(project=navigator.project, parsed=with_logo())
    for values in ({"text": "x"}, {"media_type": ""}, {"blob": None}):
        with pytest.raises(IntegrityError, match="kept_aside"), transaction.atomic():
            SkillFile.objects.filter(blob__isnull=False).update(**values)


def test_a_project_with_skills_can_be_deleted(navigator: Navigator) -> None:
    store_skill(project=navigator.project, parsed=parsed(style_md="x"))
    store_skill(navigator=navigator, parsed=parsed())

    Project.objects.all().delete()

    assert not Skill.objects.exists()
    assert not SkillFile.objects.exists()


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
def test_eight_that_store_at_once_make_eight_numbered_revisions() -> None:
    project = ProjectFactory()
    start = threading.Barrier(8)

    def store(number: int) -> None:
        try:
            start.wait(timeout=30)
            store_skill(project=project, parsed=parsed(body=f"Way {number % 4}.{number}"))
        finally:
            connection.close()

    threads = [threading.Thread(target=store, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)

    numbers = SkillRevision.objects.order_by("number").values_list("number", flat=True)
    assert list(numbers) == list(range(1, 9))
    current = Skill.objects.select_related("current").get().current
    assert current is not None
    assert current.number == 8
