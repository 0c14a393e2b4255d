"""Skills in the admin: uploaded after a preview, and any revision taken up again."""

from __future__ import annotations

import datetime
import os
import re
import time
import uuid
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from caylex_project.accounts.models import AuditEntry, StaffScope
from skills_app.kept_uploads import (
    KEPT_FOR,
    PART,
    drop_old_uploads,
    keep_upload,
    kept_upload,
)
from skills_app.models import Skill, SkillFile, SkillRevision, SkillUpload
from skills_app.operations import catalogue, skill_body, store_skill
from skills_app.parsing.upload import load_upload
from tests.accounts.test_admin import Browser, text_of
from tests.skills.test_skill_md import skill
from tests.skills.test_upload import GOOD, packed
from tests.support.factories import NavigatorFactory, ProjectFactory

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
    return hidden_in(text_of(answer))


def hidden_in(page: str) -> dict[str, str]:
    """Return the hidden fields of a page's text."""
    fields = re.findall(r'type="hidden" name="(\w+)"(?: value="([^"]*)")?', page)
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
        (packed(*GOOD, ("a.md", b"0" * 5_000_001)), "a.md is larger than 5,000,000 bytes."),
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

    for kept in ("", "%%%", "UEsDBA==", "é", str(uuid.uuid4())):
        answer = browser.post(ADD, {"project": project.pk, "kept": kept, "store": "Store"})
        assert answer.status_code == 200, kept
    both = {"project": project.pk, "navigator": NavigatorFactory().pk}
    assert "a skill has one owner" in text_of(upload(browser, skill().encode(), **both))
    assert "a skill has one owner" in text_of(upload(browser, skill().encode()))
    assert not Skill.objects.exists()


def test_a_kept_upload_is_its_owner_s_alone_for_an_hour_and_goes_once_it_is_stored() -> None:
    project = ProjectFactory()
    browser = staff("project admin")
    asked = {**hidden(upload(browser, skill().encode(), project=project.pk)), "store": "Store"}
    User.objects.filter(username="project admin").update(username="else")
    other = staff("project admin")

    refused = "The uploaded file is no longer available; choose it again."
    assert refused in text_of(other.post(ADD, asked))
    SkillUpload.objects.update(created_at=timezone.now() - KEPT_FOR)
    assert refused in text_of(browser.post(ADD, asked))
    assert not Skill.objects.exists()
    SkillUpload.objects.update(created_at=timezone.now())
    assert browser.post(ADD, asked).status_code == 302
    assert not SkillUpload.objects.exists()
    assert refused in text_of(browser.post(ADD, asked))
    assert SkillRevision.objects.count() == 1


def test_one_upload_of_a_user_is_kept_and_the_old_ones_of_others_go() -> None:
    boss = User.objects.create_superuser("boss")
    long_ago = timezone.now() - datetime.timedelta(hours=2)
    keep_upload(user_id=boss.pk, data=b"old", now=long_ago)
    browser, project = staff("project admin"), ProjectFactory()

    for text in (skill(), skill(description="Two.")):
        upload(browser, text.encode(), project=project.pk)

    kept = SkillUpload.objects.get()
    assert bytes(kept.data) == skill(description="Two.").encode()
    drop_old_uploads(now=timezone.now() + datetime.timedelta(minutes=59))
    assert SkillUpload.objects.exists()
    drop_old_uploads(now=timezone.now() + datetime.timedelta(minutes=61))
    assert not SkillUpload.objects.exists()


@pytest.mark.parametrize("size", [0, 1, PART, PART + 1, 3 * PART])
def test_an_upload_is_kept_in_parts_and_comes_back_whole(size: int) -> None:
    boss, now = User.objects.create_superuser("boss"), timezone.now()
    data = os.urandom(size)

    kept = keep_upload(user_id=boss.pk, data=data, now=now)

    assert kept_upload(user_id=boss.pk, upload_id=kept, now=now) == data
    assert max(len(each.data) for each in SkillUpload.objects.all()) <= PART


LOGO = b"\x89PNG\xff<script>"


def test_what_is_kept_aside_is_shown_before_and_saved_after_it_is_stored() -> None:
    project = ProjectFactory()
    browser = staff("project admin")
    data = packed(*GOOD, ("assets/lögo.png", LOGO), ("big.svg", b"<svg>" + b"x" * 200_000))

    shown = text_of(upload(browser, data, "a.zip", project=project.pk))
    assert "<td>assets/lögo.png</td><td>image/png</td><td>13 bytes</td>" in shown.replace(
        "\xa0", " "
    )
    assert "How it was read" in shown

    answer = browser.post(ADD, {**hidden_in(shown), "store": "Store"}, follow=True)
    file = SkillFile.objects.get(path="assets/lögo.png")
    address = f"/admin/skills_app/skillfile/{file.pk}/download/"
    assert address in text_of(answer)
    saved = browser.get(address)
    assert saved.content == LOGO
    assert saved["Content-Type"] == "application/octet-stream"
    assert saved["X-Content-Type-Options"] == "nosniff"
    assert saved["Content-Disposition"] == "attachment; filename*=utf-8''l%C3%B6go.png"
    page = text_of(browser.get(f"/admin/skills_app/skillfile/{file.pk}/change/"))
    assert "image/png, 13 bytes" in page
    assert address in page
    text = SkillFile.objects.get(path="refs/style.md")
    assert browser.get(f"/admin/skills_app/skillfile/{text.pk}/download/").content == b"Short."


def test_a_file_of_another_project_is_nobody_else_s_to_save() -> None:
    project = ProjectFactory()
    admin = staff("project admin")
    store(admin, packed(*GOOD, ("logo.png", LOGO)), project=project.pk)
    address = f"/admin/skills_app/skillfile/{SkillFile.objects.get(path='logo.png').pk}/download/"
    User.objects.filter(username="project admin").update(username="else")
    limited = staff("project admin", ProjectFactory())
    nobody = Browser()
    nobody.force_login(User.objects.create_user("nobody", is_staff=True))

    assert limited.get(address).status_code == 404
    assert nobody.get(address).status_code == 403
    assert Browser().get(address).status_code == 302
    assert admin.get(address).status_code == 200


def test_lists_and_pages_read_no_bytes_of_what_is_kept_aside() -> None:
    project = ProjectFactory()
    browser = staff("project admin")
    for logo in (LOGO, b"\xff"):
        store(browser, packed(*GOOD, ("logo.png", logo)), project=project.pk)
    row, file = Skill.objects.get(), SkillFile.objects.filter(blob__isnull=False)[0]

    with CaptureQueriesContext(connection) as queries:
        for page in (
            "/admin/skills_app/skillfile/",
            f"/admin/skills_app/skillfile/{file.pk}/change/",
            f"/admin/skills_app/skill/{row.pk}/change/",
            f"/admin/skills_app/skillrevision/{row.current_id}/change/",
        ):
            shown = text_of(browser.get(page))
    assert '"skills_app_skillblob"."data"' not in "".join(each["sql"] for each in queries)
    assert "image/png, 13 bytes → image/png, 1 bytes" in shown


def test_a_page_of_revisions_that_are_dear_to_compare_costs_little() -> None:
    project = ProjectFactory()
    files = [(f"{n}.md", "\n".join(["a"] * 2_000).encode()) for n in range(40)]
    other = [(f"{n}.md", "\n".join(["a", "b"] * 99).encode()) for n in range(40)]
    for body, some in (("One.", files), ("Two.", other), ("Three.", files), ("Four.", other)):
        main = ("SKILL.md", (skill() + body).encode())
        store_skill(project=project, parsed=load_upload(packed(main, *some)))
    browser, row = staff("project admin"), Skill.objects.get()

    before = time.thread_time()
    page = text_of(browser.get(f"/admin/skills_app/skill/{row.pk}/change/"))
    took = time.thread_time() - before

    assert took < 10, "forty pairs of these texts take minutes to compare"
    assert "0.md: changed" in page
    assert "Not compared here: open the revision." in page


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
