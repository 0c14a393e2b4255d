"""What becomes of messages in a bad queue: they are lost, doubled, or late."""

from __future__ import annotations

import random

from django.utils import timezone
from django_q.models import OrmQ

from tasks_app.models import AgentTask
from tasks_app.notifications.wakeup import send_wakeup

REPEATED = 10


def lose_knocks() -> int:
    """Delete the messages that wait or are under way; return how many there were."""
    return int(OrmQ.objects.all().delete()[0])


def repeat_knocks(dice: random.Random) -> int:
    """Send again what is under way, and knock twice for tasks of any age; return how many."""
    under_way = list(OrmQ.objects.all()[:REPEATED])
    OrmQ.objects.bulk_create(
        OrmQ(key=each.key, payload=each.payload, lock=timezone.now()) for each in under_way
    )
    tasks = list(AgentTask.objects.order_by("created_at").values_list("id", flat=True))
    for task_id in dice.choices(tasks, k=REPEATED) if tasks else []:
        send_wakeup(task_id=task_id)
        send_wakeup(task_id=task_id)
    return len(under_way) + (2 * REPEATED if tasks else 0)
