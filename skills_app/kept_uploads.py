"""Uploads between the page that shows what is in them and the POST that stores it.

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


def keep_upload(*, user_id: Any, data: bytes, now: datetime.datetime) -> uuid.UUID:
    """Keep an upload in place of the user's last one; return its id."""
    with transaction.atomic():
        drop_upload(user_id=user_id)
        drop_old_uploads(now=now)
        return SkillUpload.objects.create(user_id=user_id, data=data, created_at=now).pk


def kept_upload(*, user_id: Any, upload_id: uuid.UUID, now: datetime.datetime) -> bytes | None:
    """Return what the user uploaded under this id, or None where it is not kept any more."""
    rows = SkillUpload.objects.filter(pk=upload_id, user_id=user_id, created_at__gt=now - KEPT_FOR)
    data = rows.values_list("data", flat=True).first()
    return None if data is None else bytes(data)


def drop_upload(*, user_id: Any) -> None:
    """Forget the user's upload."""
    SkillUpload.objects.filter(user_id=user_id).delete()


def drop_old_uploads(*, now: datetime.datetime) -> None:
    """Forget the uploads that were looked at and never stored."""
    SkillUpload.objects.filter(created_at__lte=now - KEPT_FOR).delete()
