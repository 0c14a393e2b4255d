"""`manage.py rotate_credentials`: seal every credential anew with the newest key."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from caylex_project.integrations.key_rotation import rotate_credentials


class Command(BaseCommand):
    """Seal every credential anew; may be stopped and started again at any time."""

    help = (
        "Seal every credential with the first key of CAYLEX_CREDENTIAL_KEYS. When it has ended, "
        "the older keys can be taken out. It may be stopped and started again."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        """Rotate and say what was done."""
        outcome = rotate_credentials()
        self.stdout.write(
            f"Sealed anew: {outcome.resealed}. Sealed by the newest key before: {outcome.current}."
        )
        if outcome.unopenable:
            ids = "\n".join(f"  {each}" for each in outcome.unopenable)
            self.stderr.write(
                f"{len(outcome.unopenable)} do not open with any key; they must be entered "
                f"again:\n{ids}"
            )
