"""Skills in the admin: uploaded after a preview, and any revision taken up again."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.core.files.uploadedfile import SimpleUploadedFile

from caylex_project.accounts.models import AuditEntry, StaffScope
from skills_app.models import Skill, SkillRevision
from skills_app.operations import catalogue, skill_body
from tests.accounts.test_admin import Browser, text_of
from tests.factories import NavigatorFactory, ProjectFactory
from tests.skills.test_skillmd import skill
from tests.skills.test_upload import GOOD, packed

pytestmark = pytest.mark.django_db
ADD = "/admin/skills_app/skill/add/"


def staff(group: str, *projects: Any) -> Browser:
    """A browser of a member of the group, limited to projects where any are given."""
    user = User.objects.create_user(group, is_staff=True)
    user.groups.add(Group.objects.get(name=group))
    if projects:
        StaffScope.objects.create(user=user).projects.set(projects)
    made = Browser()
    made.force_login(user)
    return made


def upload(browser: Browser, data: bytes, name: str = "SKILL.md", **owner: Any) -> Any:
    """Send the file to the page that asks."""
    return browser.post(ADD, {**owner, "file": SimpleUploadedFile(name, data)})


def hidden(answer: Any) -> dict[str, str]:
    """Return what the page would send on with Store."""
    fields = re.findall(r'type="hidden" name="(\w+)"(?: value="([^"]*)")?', text_of(answer))
    return {name: value for name, value in fields if name != "csrfmiddlewaretoken"}


def store(browser: Browser, data: bytes, **owner: Any) -> Any:
    """Upload, look, and store."""
    return browser.post(ADD, {**hidden(upload(browser, data, **owner)), "store": "Store"})


def test_an_upload_is_shown_first_then_stored_and_the_next_run_has_it() -> None:
    navigator = NavigatorFactory()
    browser = staff("project admin")

    shown = upload(browser, packed(*GOOD), "report.zip", project=navigator.project.pk)

    assert "A new skill of" in text_of(shown)
    assert "refs/style.md" in text_of(shown)
    assert "Nothing is stored yet." in text_of(shown)
    assert not Skill.objects.exists()

    answer = browser.post(ADD, {**hidden(shown), "store": "Store"}, follow=True)

    assert "Report r1 is the current revision" in text_of(answer)
    entry = catalogue(project=navigator.project, navigator=navigator)[0]
    assert skill_body(entry.revision_id) == "Do it.\n\nFiles of this skill:\n- refs/style.md"
    audit = AuditEntry.objects.get()
    assert (audit.actor, audit.action, audit.details) == (
        "project admin",
        "upload",
        {"revision": 1},
    )
    assert audit.project_id == navigator.project.pk


def test_a_change_is_shown_line_by_line_and_an_older_revision_can_be_used_again() -> None:
    navigator = NavigatorFactory()
    browser = staff("project admin")
    owner = {"project": navigator.project.pk}
    store(browser, skill().encode(), **owner)
    changed = skill().replace("Do it.", "Do it <b>well</b>.").encode()

    shown = text_of(upload(browser, changed, **owner))
    assert "A new revision of" in shown
    assert '<span class="removed">-Do it.' in shown
    assert '<span class="added">+Do it &lt;b&gt;well&lt;/b&gt;.' in shown

    store(browser, changed, **owner)
    row = Skill.objects.get()
    first = row.revisions.get(number=1)
    page = text_of(browser.get(f"/admin/skills_app/skill/{row.pk}/change/"))
    assert "Instructions: +1 −1" in page
    use = f"/admin/skills_app/skillrevision/{first.pk}/use/"
    assert use in text_of(browser.get(f"/admin/skills_app/skillrevision/{first.pk}/change/"))

    assert browser.get(use).status_code == 200
    assert Skill.objects.get().current_id != first.pk
    assert browser.post(use, {"reason": "The new one is wrong."}).status_code == 302

    entry = catalogue(project=navigator.project, navigator=navigator)[0]
    assert entry.revision_id == first.pk
    audit = AuditEntry.objects.get(action="use")
    assert (audit.object_id, audit.reason) == (str(row.pk), "The new one is wrong.")
    store(browser, skill(description="Third.").encode(), **owner)
    assert SkillRevision.objects.filter(skill=row).count() == 3
    assert Skill.objects.get().current.number == 3  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (packed(*GOOD, ("../evil.md", b"x")), "../evil.md is no path within"),
        (packed(*GOOD, ("a.md", b"0" * 300_000)), "a.md is larger than 200,000 bytes."),
        (b"Do it.", "SKILL.md must begin with its frontmatter"),
        (b"", "SKILL.md must begin with its frontmatter"),
    ],
)
def test_a_refused_upload_says_why_and_writes_nothing(data: bytes, sentence: str) -> None:
    answer = upload(staff("project admin"), data, project=ProjectFactory().pk)

    assert answer.status_code == 200
    assert sentence in text_of(answer)
    assert 'name="store"' not in text_of(answer)
    assert not Skill.objects.exists()
    assert not AuditEntry.objects.exists()


def test_what_comes_back_from_the_preview_is_looked_at_again() -> None:
    project = ProjectFactory()
    browser = staff("project admin")

    for kept in ("", "%%%", "UEsDBA==", "é"):
        answer = browser.post(ADD, {"project": project.pk, "kept": kept, "store": "Store"})
        assert answer.status_code == 200, kept
    both = {"project": project.pk, "navigator": NavigatorFactory().pk}
    assert "a skill has one owner" in text_of(upload(browser, skill().encode(), **both))
    assert "a skill has one owner" in text_of(upload(browser, skill().encode()))
    assert not Skill.objects.exists()


def test_without_permission_or_beyond_their_projects_nobody_uploads_or_goes_back() -> None:
    project = ProjectFactory()
    admin = staff("project admin")
    for text in (skill(), skill(description="Two.")):
        store(admin, text.encode(), project=project.pk)
    first = SkillRevision.objects.get(number=1)
    use = f"/admin/skills_app/skillrevision/{first.pk}/use/"
    viewer = staff("support viewer")
    User.objects.filter(username="project admin").update(username="else")
    other = staff("project admin", ProjectFactory())

    assert viewer.get(ADD).status_code == 403
    assert upload(viewer, skill().encode(), project=project.pk).status_code == 403
    assert viewer.post(use).status_code == 403
    assert "Select a valid choice" in text_of(upload(other, skill().encode(), project=project.pk))
    assert other.post(use).status_code == 404
    assert Skill.objects.get().current_id != first.pk
    assert SkillRevision.objects.count() == 2
