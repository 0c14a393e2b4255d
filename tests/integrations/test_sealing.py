"""Sealed values: they open for their row and with our keys, and in no other way."""

from __future__ import annotations

import base64
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import SecretStr

from caylex_project.environment import Environment
from caylex_project.integrations.sealing import DoesNotOpen, open_sealed, seal, sealed_by_newest

OLD, NEW = (base64.b64encode(bytes([each]) * 32).decode() for each in (1, 2))
SECRET_KEY = base64.b64encode(bytes(range(7, 255, 7))).decode()
ROW, OTHER = uuid.UUID(int=1), uuid.UUID(int=2)


def ring(settings: Any, *keys: str) -> None:
    """Let the settings hold these credential keys, newest first."""
    settings.ENVIRONMENT = Environment(
        secret_key=SecretStr(SECRET_KEY), caylex_credential_keys=SecretStr(",".join(keys))
    )


def test_a_sealed_value_opens_for_its_row_and_does_not_show() -> None:
    sealed = seal("opensesame-ü", row_id=ROW)

    assert open_sealed(sealed, row_id=ROW) == "opensesame-ü"
    assert open_sealed(memoryview(sealed), row_id=ROW) == "opensesame-ü"
    assert b"opensesame" not in sealed


def test_the_same_value_is_sealed_differently_each_time() -> None:
    assert seal("opensesame", row_id=ROW) != seal("opensesame", row_id=ROW)


def test_a_value_moved_to_another_row_does_not_open() -> None:
    with pytest.raises(DoesNotOpen):
        open_sealed(seal("opensesame", row_id=ROW), row_id=OTHER)


def test_no_single_flipped_bit_opens() -> None:
    sealed = seal("opensesame", row_id=ROW)
    for place in range(len(sealed) * 8):
        flipped = bytearray(sealed)
        flipped[place // 8] ^= 1 << place % 8
        with pytest.raises(DoesNotOpen):
            open_sealed(bytes(flipped), row_id=ROW)


def test_no_cut_off_value_opens() -> None:
    sealed = seal("opensesame", row_id=ROW)
    for length in range(len(sealed)):
        with pytest.raises(DoesNotOpen):
            open_sealed(sealed[:length], row_id=ROW)


@given(st.binary(max_size=200))
@hypothesis_settings(deadline=None)
def test_no_other_bytes_open(data: bytes) -> None:
    with pytest.raises(DoesNotOpen):
        open_sealed(data, row_id=ROW)


def test_an_older_key_still_opens_and_the_newest_seals(settings: Any) -> None:
    ring(settings, OLD)
    sealed = seal("opensesame", row_id=ROW)
    ring(settings, NEW, OLD)

    assert open_sealed(sealed, row_id=ROW) == "opensesame"
    assert not sealed_by_newest(sealed)
    assert sealed_by_newest(seal("opensesame", row_id=ROW))


def test_without_its_key_a_value_does_not_open(settings: Any) -> None:
    ring(settings, OLD)
    sealed = seal("opensesame", row_id=ROW)
    ring(settings, NEW)

    with pytest.raises(DoesNotOpen):
        open_sealed(sealed, row_id=ROW)
