"""Uploads between the page that previews them and the POST that stores them.

They are kept in the database, one for each member of staff and for an hour: in the page itself a
file of 20 MB would travel twice more.
"""

from __future__ import annotations

import datetime
import uuid
from typing import Any

from django.db import transaction

from skills_app.models import SkillUpload

KEPT_FOR = datetime.timedelta(hours=1)
PART = 1_000_000  # bytes


def keep_upload(*, user_id: Any, data: bytes, now: datetime.datetime) -> uuid.UUID:
    """Keep an upload in place of the user's last one; return its id."""
    upload_id = uuid.uuid4()
    with transaction.atomic():
        drop_upload(user_id=user_id)
        drop_old_uploads(now=now)
        for number, start in enumerate(range(0, max(1, len(data)), PART)):
            SkillUpload.objects.create(
                upload_id=upload_id,
                number=number,
                user_id=user_id,
                data=data[start : start + PART],
                created_at=now,
            )
    return upload_id


def kept_upload(*, user_id: Any, upload_id: uuid.UUID, now: datetime.datetime) -> bytes | None:
    """Return what the user uploaded under this id, or None where it is no longer kept."""
    parts = SkillUpload.objects.filter(
        upload_id=upload_id, user_id=user_id, created_at__gt=now - KEPT_FOR
    )
    data = parts.order_by("number").values_list("data", flat=True)
    return b"".join(data.iterator(chunk_size=1)) if parts.exists() else None


def drop_upload(*, user_id: Any) -> None:
    """Delete the user's upload."""
    SkillUpload.objects.filter(user_id=user_id).delete()


def drop_old_uploads(*, now: datetime.datetime) -> None:
    """Delete uploads that were previewed and never stored."""
    SkillUpload.objects.filter(created_at__lte=now - KEPT_FOR).delete()
