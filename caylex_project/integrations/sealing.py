"""Sealing credentials: AES-256-GCM with a ring of keys, each value bound to its row.

A sealed value is one version byte, the 8-byte fingerprint of the key, a random 12-byte nonce
(NIST SP 800-38D), then the ciphertext with its tag. The version, the fingerprint and the row's
id are authenticated along: moved to another row or changed in one bit, it does not open.
The ring is `CAYLEX_CREDENTIAL_KEYS`, newest first: the first seals, all open.
"""

from __future__ import annotations

import hashlib
import secrets
import uuid
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

VERSION = b"\x01"
_FINGERPRINT = 8
_NONCE = 12
_HEADER = len(VERSION) + _FINGERPRINT


class DoesNotOpen(Exception):
    """The sealed value opens with none of our keys, or was tampered with."""


def seal(value: str, *, row_id: uuid.UUID) -> bytes:
    """Return the value sealed by the newest key, for the row of that id alone."""
    fingerprint, key = _newest()
    header = VERSION + fingerprint
    nonce = secrets.token_bytes(_NONCE)
    return header + nonce + key.encrypt(nonce, value.encode(), header + row_id.bytes)


def open_sealed(sealed: bytes | memoryview, *, row_id: uuid.UUID) -> str:
    """Return the value that was sealed for the row of that id. Raises DoesNotOpen."""
    data = bytes(sealed)
    header, nonce = data[:_HEADER], data[_HEADER : _HEADER + _NONCE]
    key = _ring().get(header[len(VERSION) :])
    if key is None or header[: len(VERSION)] != VERSION or len(nonce) != _NONCE:
        raise DoesNotOpen
    try:
        return key.decrypt(nonce, data[_HEADER + _NONCE :], header + row_id.bytes).decode()
    except (InvalidTag, ValueError):
        raise DoesNotOpen from None


def sealed_by_newest(sealed: bytes | memoryview) -> bool:
    """True when the value bears the newest key's fingerprint."""
    return bytes(sealed[:_HEADER]) == VERSION + _newest()[0]


def _newest() -> tuple[bytes, AESGCM]:
    for item in _ring().items():
        return item
    raise ImproperlyConfigured("CAYLEX_CREDENTIAL_KEYS holds no key.")


def _ring() -> dict[bytes, AESGCM]:
    return _ring_of(settings.ENVIRONMENT.credential_keys)


@lru_cache(maxsize=8)
def _ring_of(keys: tuple[bytes, ...]) -> dict[bytes, AESGCM]:
    return {_fingerprint(key): AESGCM(key) for key in keys}


def _fingerprint(key: bytes) -> bytes:
    return hashlib.sha256(b"caylex credential key\0" + key).digest()[:_FINGERPRINT]
