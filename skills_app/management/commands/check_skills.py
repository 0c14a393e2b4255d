"""`manage.py check_skills PATH... [--json]`; see docs/skills.md."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from skills_app.parsing.checking import CheckedSkill, check_skills


class Command(BaseCommand):
    """Say which skills under some paths load, and why the others do not. Stores nothing."""

    help = "Say which skills under PATH load, and why the others do not; nothing is stored."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        """The paths, and the switch."""
        parser.add_argument(
            "paths",
            type=Path,
            nargs="+",
            metavar="PATH",
            help="A skill's folder, a SKILL.md, a ZIP, or a folder with skills somewhere in it.",
        )
        parser.add_argument("--json", action="store_true", help="Print JSON, for programs.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print a line for each skill; exit 1 where one does not load, or there is none."""
        found = [each for path in options["paths"] for each in check_skills(path)]
        refused = sum(each.refused is not None for each in found)
        if options["json"]:
            self.stdout.write(json.dumps([_as_json(each) for each in found]))
        else:
            for each in found:
                self._tell(each)
            self.stdout.write(f"{len(found) - refused} of {len(found)} skills load.")
        if refused or not found:
            raise CommandError(f"{refused} refused." if found else "No skill was found.")

    def _tell(self, skill: CheckedSkill) -> None:
        if skill.refused is None:
            self.stdout.write(f"loads    {skill.path}: {skill.slug}")
        else:
            self.stdout.write(f"refused  {skill.path}: {skill.refused}")
        for note in skill.notes:
            self.stdout.write(f"         {note}")


def _as_json(skill: CheckedSkill) -> dict[str, Any]:
    return {
        "path": str(skill.path),
        "slug": skill.slug,
        "refused": skill.refused,
        "notes": list(skill.notes),
    }
