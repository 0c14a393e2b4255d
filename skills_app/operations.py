"""What can be done with skills: store, resolve, list for a run, read."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from enum import StrEnum
from pathlib import PurePosixPath
from typing import NamedTuple

from django.db import transaction
from django.db.models import F, Max, Q, QuerySet
from django.utils.text import slugify

from caylex_project.accounts.models import Navigator, Project
from skills_app.models import Skill, SkillBlob, SkillFile, SkillRevision
from skills_app.parsing.assets import Asset
from skills_app.parsing.names import normal
from skills_app.parsing.skill_md import MAX_NAME, ParsedSkill

ASIDE = "Files of this skill that are kept aside and that you cannot read (not text, or too large):"


class Source(StrEnum):
    """Whose skill it is."""

    PROJECT = "project"  # the project's
    GLOBAL = "global"  # the navigator's own, whatever the project


class ResolvedSkill(NamedTuple):
    """The skill that a reference means; `warning` is a sentence or None."""

    id: uuid.UUID
    name: str
    slug: str
    source: Source
    revision_id: uuid.UUID
    warning: str | None


class CatalogueEntry(NamedTuple):
    """A skill as a run may load it, in the revision that is current now."""

    id: uuid.UUID
    name: str
    description: str
    revision_id: uuid.UUID


class SkillText(NamedTuple):
    """What an agent is given to read; not `readable` where it is a sentence about the file."""

    text: str
    readable: bool = True


def store_skill(
    *, parsed: ParsedSkill, project: Project | None = None, navigator: Navigator | None = None
) -> SkillRevision:
    """Keep the skill for the project or, as a global one, for the navigator.

    Returns the current revision: a new one where anything changed, else the one that was
    there. Give exactly one owner. Two that store at once wait for each other.
    """
    if (project is None) == (navigator is None):
        raise ValueError("A skill has one owner: a project or a navigator.")
    with transaction.atomic():
        made, _ = Skill.objects.get_or_create(
            project=project, navigator=navigator, slug=parsed.slug
        )
        skill = Skill.objects.select_for_update().get(pk=made.pk)
        current = skill.current
        if current is not None and current.digest == parsed.digest:
            return current
        revision = SkillRevision.objects.create(
            skill=skill,
            number=1 + (skill.revisions.aggregate(last=Max("number"))["last"] or 0),
            name=parsed.name,
            description=parsed.description,
            body=parsed.body,
            frontmatter=dict(parsed.frontmatter),
            digest=parsed.digest,
        )
        SkillFile.objects.bulk_create(
            SkillFile(revision=revision, path=path, text=text)
            for path, text in parsed.files.items()
        )
        _keep_aside(revision, parsed.assets)
        skill.current = revision
        skill.save(update_fields=["current"])
    return revision


def _keep_aside(revision: SkillRevision, assets: Mapping[str, Asset]) -> None:
    """Store the files that are kept aside; the caller holds the lock on the skill's row."""
    blobs = SkillBlob.objects.filter(skill=revision.skill_id)
    ids = dict(blobs.values_list("sha256", "pk"))
    for path, asset in assets.items():
        if asset.sha256 not in ids:
            assert asset.data is not None, "read from a disk or an upload, it has its bytes"
            made = SkillBlob.objects.create(
                skill_id=revision.skill_id, sha256=asset.sha256, size=asset.size, data=asset.data
            )
            ids[asset.sha256] = made.pk
        SkillFile.objects.create(
            revision=revision,
            path=path,
            blob_id=ids[asset.sha256],
            media_type=asset.media_type,
        )


def use_revision(*, revision: SkillRevision) -> bool:
    """Make a revision of a skill the current one; return False where it is that already.

    Runs that have begun keep the revision that they started with.
    """
    with transaction.atomic():
        skill = Skill.objects.select_for_update().get(pk=revision.skill_id)
        if skill.current_id == revision.pk:
            return False
        skill.current = revision
        skill.save(update_fields=["current"])
    return True


def resolve_skill(*, project: Project, navigator: Navigator, ref: str) -> ResolvedSkill | None:
    """Return the skill of that name (in any case) or slug, or None.

    Where the project and the navigator both have one of the same slug, the project's wins and
    `warning` says so. One query.
    """
    slug = slugify(ref) if len(ref) <= MAX_NAME else ""
    if not slug:
        return None
    found = list(_visible(project, navigator).filter(slug=slug))
    if not any(_means(ref, each) for each in found):
        return None
    chosen = found[0]
    assert chosen.current is not None
    warning = (
        f"The project and the navigator both have a skill '{slug}'; the project's is used."
        if len(found) > 1
        else None
    )
    return ResolvedSkill(
        id=chosen.pk,
        name=chosen.current.name,
        slug=chosen.slug,
        source=Source.GLOBAL if chosen.project_id is None else Source.PROJECT,
        revision_id=chosen.current.pk,
        warning=warning,
    )


def catalogue(*, project: Project, navigator: Navigator) -> list[CatalogueEntry]:
    """Return the skills that a run may load, by slug; a global one of the same slug is hidden.

    One query.
    """
    chosen: dict[str, CatalogueEntry] = {}
    for skill in _visible(project, navigator):
        current = skill.current
        assert current is not None
        entry = CatalogueEntry(skill.pk, current.name, current.description, current.pk)
        chosen.setdefault(skill.slug, entry)
    return list(chosen.values())


def skill_body(revision_id: uuid.UUID) -> str | None:
    """Return what a revision tells the agent, with a list of its files, or None."""
    body = SkillRevision.objects.filter(pk=revision_id).values_list("body", flat=True).first()
    if body is None:
        return None
    rows = SkillFile.objects.filter(revision_id=revision_id).order_by("path")
    texts, aside = list[str](), list[str]()
    for path, media_type, size in rows.values_list("path", "media_type", "blob__size"):
        if size is None:
            texts.append(f"- {path}")
        else:
            aside.append(f"- {path} ({media_type}, {size:,} bytes)")
    parts = [body]
    if texts:
        parts.append("\n".join(["Files of this skill:", *texts]))
    if aside:
        parts.append("\n".join([ASIDE, *aside]))
    return "\n\n".join(parts)


def skill_file(revision_id: uuid.UUID, path: str) -> SkillText | None:
    """Return what an agent reads of a file, by its path inside the folder, or None.

    Of a file that is kept aside that is a sentence that says so.
    """
    if not path.isprintable():
        return None
    asked = str(PurePosixPath(path))
    rows = SkillFile.objects.filter(revision_id=revision_id, path__in={asked, normal(asked)})
    row = rows.values_list("path", "text", "media_type", "blob__size").first()
    if row is None:
        return None
    found, text, media_type, size = row
    if size is None:
        return SkillText(text)
    said = (
        f"{found} ({media_type}, {size:,} bytes) is kept aside: it is not text, or it is too large."
    )
    return SkillText(f"{said} You cannot read it.", readable=False)


def _visible(project: Project, navigator: Navigator) -> QuerySet[Skill]:
    """Return the project's and the navigator's skills by slug, the project's first."""
    return (
        Skill.objects.filter(Q(project=project) | Q(navigator=navigator), current__isnull=False)
        .select_related("current")
        .defer("current__body", "current__frontmatter")
        .order_by("slug", F("navigator_id").asc(nulls_first=True))
    )


def _means(ref: str, skill: Skill) -> bool:
    assert skill.current is not None
    return ref.lower() in (skill.slug, skill.current.name.lower())
