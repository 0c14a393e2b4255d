"""Sealing every credential anew with the newest key."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from django.db import transaction

from caylex_project.integrations.models import Credential
from caylex_project.integrations.sealing import DoesNotOpen, open_sealed, seal, sealed_by_newest

BATCH = 200  # rows in a transaction


@dataclass(slots=True, kw_only=True)
class Rotation:
    """How many credentials were sealed anew, how many were so before, which do not open."""

    resealed: int = 0
    current: int = 0
    unopenable: list[uuid.UUID]


def rotate_credentials(*, batch: int = BATCH) -> Rotation:
    """Seal every credential with the newest key; those that bear it already are left alone.

    1. Lock the next rows in the order of their ids, one transaction a batch.
    2. Open and seal anew those of an older key. A row's `updated_at` stays: its value does.
    3. Go on behind the last id. Killed anywhere, the next start finds what is left; a value
       that is stored meanwhile bears the newest key by itself.
    """
    outcome = Rotation(unopenable=[])
    after: uuid.UUID | None = None
    while True:
        with transaction.atomic():
            rows = Credential.objects.select_for_update().order_by("pk")
            if after is not None:
                rows = rows.filter(pk__gt=after)
            found = list(rows[:batch])
            for row in found:
                _rotate(row, outcome)
        if not found:
            return outcome
        after = found[-1].pk


def _rotate(row: Credential, outcome: Rotation) -> None:
    try:
        value = open_sealed(row.sealed, row_id=row.pk)
    except DoesNotOpen:
        outcome.unopenable.append(row.pk)
        return
    if sealed_by_newest(row.sealed):
        outcome.current += 1
        return
    Credential.objects.filter(pk=row.pk).update(sealed=seal(value, row_id=row.pk))
    outcome.resealed += 1
