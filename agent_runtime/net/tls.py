"""The TLS contexts of this process: whose certificates are believed.

`SSL_CERT_FILE` and `SSL_CERT_DIR` are read here, and the context is handed over to the client
that connects: a client told to trust its environment would take passwords from `.netrc` and
proxies from elsewhere, too.
"""

from __future__ import annotations

import functools
import os
import re
import ssl
from collections.abc import Mapping
from pathlib import Path

import httpx

_HASHED = re.compile(r"[0-9a-f]{8}\.[0-9]+")  # as `openssl rehash` names certificates


def tls_context(environ: Mapping[str, str] = os.environ) -> ssl.SSLContext:
    """Return the context for outgoing connections; equal settings share one.

    As with OpenSSL itself, `SSL_CERT_FILE` (one file in PEM) and `SSL_CERT_DIR` (folders of such
    files) replace the authorities that are believed otherwise, those of certifi. Both may be set.
    Raises ValueError, naming the variable, when one cannot be read.
    """
    return _context(environ.get("SSL_CERT_FILE", ""), environ.get("SSL_CERT_DIR", ""))


@functools.cache  # making one takes 20 ms
def _context(file: str, folders: str) -> ssl.SSLContext:
    if not file and not folders:
        return httpx.create_ssl_context(trust_env=False)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # believes nobody yet
    if file:
        _load(context, "SSL_CERT_FILE", Path(file))
    for folder in filter(None, folders.split(os.pathsep)):
        _load_folder(context, Path(folder))
    return context


def _load_folder(context: ssl.SSLContext, folder: Path) -> None:
    """Believe the certificates of a folder; where none has a hashed name, each is read now."""
    try:
        names = sorted(each.name for each in folder.iterdir())
    except OSError as error:
        raise ValueError(f"SSL_CERT_DIR: {folder}: {error.strerror}") from None
    if any(map(_HASHED.fullmatch, names)):
        context.load_verify_locations(capath=str(folder))
        return
    for name in names:
        if name.endswith((".pem", ".crt", ".cer")):
            _load(context, "SSL_CERT_DIR", folder / name)


def _load(context: ssl.SSLContext, variable: str, file: Path) -> None:
    try:
        context.load_verify_locations(cafile=str(file))
    except ssl.SSLError:
        raise ValueError(f"{variable}: {file} holds no certificate in PEM.") from None
    except OSError as error:
        raise ValueError(f"{variable}: {file}: {error.strerror}") from None
