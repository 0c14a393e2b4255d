"""Skills: the SKILL.md standard, kept with every revision."""

from __future__ import annotations

import uuid
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Q

from caylex_project.accounts.models import Navigator, Project


class Skill(models.Model):
    """A skill of one project, or a global one of one navigator. Its text is in its revisions."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    project = models.ForeignKey(
        Project, on_delete=models.CASCADE, related_name="skills", null=True, blank=True
    )
    navigator = models.ForeignKey(
        Navigator, on_delete=models.CASCADE, related_name="global_skills", null=True, blank=True
    )
    slug = models.SlugField(max_length=64)
    current = models.ForeignKey(
        "SkillRevision", on_delete=models.RESTRICT, related_name="+", null=True, editable=False
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(project__isnull=True) ^ Q(navigator__isnull=True),
                name="skill_has_one_owner",
            ),
            models.UniqueConstraint(fields=["project", "slug"], name="skill_slug_once_per_project"),
            models.UniqueConstraint(
                fields=["navigator", "slug"], name="skill_slug_once_per_navigator"
            ),
        ]

    def __str__(self) -> str:
        return self.slug


class SkillRevision(models.Model):
    """One version of a skill, never changed; a run keeps the revision that it started with."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    skill = models.ForeignKey(Skill, on_delete=models.CASCADE, related_name="revisions")
    number = models.PositiveIntegerField()
    name = models.CharField(max_length=64)
    description = models.CharField(max_length=1024)
    body = models.TextField()
    frontmatter: models.JSONField[Any, Any] = models.JSONField(default=dict)
    digest = models.CharField(max_length=64)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["skill", "number"], name="skill_revision_number_once")
        ]

    def __str__(self) -> str:
        return f"{self.name} r{self.number}"


class SkillBlob(models.Model):
    """The bytes of files that are kept aside; the revisions of a skill share what is the same."""

    skill = models.ForeignKey(Skill, on_delete=models.CASCADE, related_name="blobs")
    sha256 = models.CharField(max_length=64)
    size = models.PositiveIntegerField(help_text="Bytes.")
    data = models.BinaryField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["skill", "sha256"], name="skill_blob_once_per_skill")
        ]

    def __str__(self) -> str:
        return f"{self.sha256[:12]} ({self.size:,} bytes)"


class SkillFile(models.Model):
    """A file of a revision, by its path inside the skill's folder.

    Agents can read a text; a file with a `blob` is kept aside, for people to download.
    """

    revision = models.ForeignKey(SkillRevision, on_delete=models.CASCADE, related_name="files")
    path = models.CharField(max_length=200)
    text = models.TextField(blank=True)
    blob = models.ForeignKey(
        SkillBlob, on_delete=models.CASCADE, related_name="files", null=True, editable=False
    )
    media_type = models.CharField(max_length=100, blank=True, help_text="Of what is kept aside.")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["revision", "path"], name="skill_file_path_once"),
            models.CheckConstraint(
                condition=Q(blob__isnull=True, media_type="")
                | (Q(blob__isnull=False, text="") & ~Q(media_type="")),
                name="skill_file_is_text_or_kept_aside",
            ),
        ]

    def __str__(self) -> str:
        return self.path


class SkillUpload(models.Model):
    """A part of a file that a member of staff has uploaded and previews before it is stored.

    It is kept in parts because a statement with all of it takes a multiple of its size in memory.
    """

    upload_id = models.UUIDField()
    number = models.PositiveSmallIntegerField(help_text="Of the part, from 0.")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    data = models.BinaryField()
    created_at = models.DateTimeField(db_index=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["upload_id", "number"], name="skill_upload_part_once")
        ]

    def __str__(self) -> str:
        return f"{self.upload_id} part {self.number}"
