"""Sealing every credential, and every other sealed value, anew with the newest key."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.db import models, transaction

from caylex_project.integrations.sealing import DoesNotOpen, open_sealed, seal, sealed_by_newest

BATCH = 200  # rows in a transaction


@dataclass(slots=True, kw_only=True)
class Rotation:
    """How many values were sealed anew, how many were so before, which do not open."""

    resealed: int = 0
    current: int = 0
    unopenable: list[uuid.UUID]


def rotate_credentials(*, batch: int = BATCH) -> Rotation:
    """Seal every value with the newest key; those that bear it already are left alone.

    For each model with a `sealed` field:
    1. Lock the next rows in the order of their ids, one transaction a batch.
    2. Open and seal anew those of an older key. A row's `updated_at` stays: its value does.
    3. Go on behind the last id. Killed anywhere, the next start finds what is left; a value
       that is stored meanwhile bears the newest key by itself.
    """
    outcome = Rotation(unopenable=[])
    for model in _sealed_models():
        _rotate_rows(model, outcome, batch)
    return outcome


def _sealed_models() -> Iterator[type[models.Model]]:
    for model in apps.get_models():
        if any(each.name == "sealed" for each in model._meta.get_fields()):
            yield model


def _rotate_rows(model: type[models.Model], outcome: Rotation, batch: int) -> None:
    after: uuid.UUID | None = None
    while True:
        with transaction.atomic():
            rows = model._default_manager.select_for_update().exclude(sealed=b"").order_by("pk")
            if after is not None:
                rows = rows.filter(pk__gt=after)
            found = list(rows[:batch])
            for row in found:
                _rotate(row, outcome)
        if not found:
            return
        after = found[-1].pk


def _rotate(row: Any, outcome: Rotation) -> None:
    try:
        value = open_sealed(row.sealed, row_id=row.pk)
    except DoesNotOpen:
        outcome.unopenable.append(row.pk)
        return
    if sealed_by_newest(row.sealed):
        outcome.current += 1
        return
    type(row)._default_manager.filter(pk=row.pk).update(sealed=seal(value, row_id=row.pk))
    outcome.resealed += 1
