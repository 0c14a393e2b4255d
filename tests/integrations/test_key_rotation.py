"""Key rotation: everything is sealed anew, and a rotation that was killed is resumed."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.management import call_command

from caylex_project.integrations import key_rotation
from caylex_project.integrations.credentials import store_credential, value_of
from caylex_project.integrations.key_rotation import rotate_credentials
from caylex_project.integrations.models import Credential
from caylex_project.integrations.sealing import seal, sealed_by_newest
from tests.integrations.test_sealing import NEW, OLD, ring
from tests.support.factories import EndUserFactory, ServerInstanceFactory

pytestmark = pytest.mark.django_db


def credentials(count: int) -> list[Credential]:
    """Store one credential each for that many users of one server."""
    instance = ServerInstanceFactory(server__auth_kind="bearer", auth_level="user")
    return [
        store_credential(
            instance=instance,
            end_user=EndUserFactory(project=instance.project),
            value=f"opensesame-{number}",
        )
        for number in range(count)
    ]


def test_every_value_is_sealed_by_the_newest_key_and_opens_without_the_old(settings: Any) -> None:
    ring(settings, OLD)
    rows = credentials(5)
    ring(settings, NEW, OLD)

    outcome = rotate_credentials(batch=2)

    assert (outcome.resealed, outcome.current, outcome.unopenable) == (5, 0, [])
    ring(settings, NEW)
    for number, row in enumerate(rows):
        fresh = Credential.objects.get(pk=row.pk)
        assert value_of(fresh) == f"opensesame-{number}"
        assert fresh.updated_at == row.updated_at


def test_a_second_rotation_touches_nothing(settings: Any) -> None:
    ring(settings, OLD)
    credentials(3)
    ring(settings, NEW, OLD)
    rotate_credentials()
    before = list(Credential.objects.order_by("pk").values_list("sealed", flat=True))

    outcome = rotate_credentials()

    assert (outcome.resealed, outcome.current) == (0, 3)
    after = list(Credential.objects.order_by("pk").values_list("sealed", flat=True))
    assert [bytes(each) for each in after] == [bytes(each) for each in before]


def test_a_rotation_killed_half_way_is_resumed(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring(settings, OLD)
    credentials(7)
    ring(settings, NEW, OLD)
    sealed_so_far = 0

    class Killed(BaseException):
        pass

    def seal_four_then_die(value: str, **row: Any) -> bytes:
        nonlocal sealed_so_far
        if sealed_so_far == 5:
            raise Killed
        sealed_so_far += 1
        return seal(value, **row)

    monkeypatch.setattr(key_rotation, "seal", seal_four_then_die)
    with pytest.raises(Killed):
        rotate_credentials(batch=2)
    done = [sealed_by_newest(row.sealed) for row in Credential.objects.order_by("pk")]
    assert done == [True] * 4 + [False] * 3  # the batch that it was killed in was rolled back

    monkeypatch.undo()
    ring(settings, NEW, OLD)
    outcome = rotate_credentials(batch=2)

    assert (outcome.resealed, outcome.current) == (3, 4)
    assert all(sealed_by_newest(row.sealed) for row in Credential.objects.all())


def test_the_command_names_what_does_not_open_and_leaves_it(settings: Any, capsys: Any) -> None:
    ring(settings, OLD)
    [lost] = credentials(1)
    ring(settings, NEW)
    [kept] = credentials(1)

    call_command("rotate_credentials")

    out, err = capsys.readouterr()
    assert "Sealed anew: 0. Sealed by the newest key before: 1." in out
    assert str(lost.pk) in err
    assert str(kept.pk) not in err
    assert bytes(Credential.objects.get(pk=lost.pk).sealed) == bytes(lost.sealed)
