"""Whether an error of the database means "not now": away, read-only, locked, full or overloaded.

The class of an exception does not say that: psycopg raises a read-only transaction as an
InternalError and a document that is too large as an OperationalError. What the server means stands
in the SQLSTATE (PostgreSQL, Appendix A) or in SQLite's result code.
"""

from __future__ import annotations

import sqlite3

import psycopg
from django.db import Error, InterfaceError, OperationalError

# Whole classes, by their first two characters.
_CLASSES = frozenset(
    {
        "08",  # connection exception
        "40",  # transaction rollback: deadlock, serialization failure
        "53",  # insufficient resources: disk, memory, connections
        "57",  # operator intervention: shutdown, start-up, timeout, cancelled by a person
        "58",  # system error, such as a failed read
    }
)
_STATES = frozenset(
    {
        "25006",  # read-only transaction
        "25P03",  # the session was idle in a transaction for too long
        "25P04",  # the transaction took too long
        "55006",  # object in use
        "55P03",  # lock not available
    }
)
# Primary result codes; an extended one has its primary in the lowest byte.
_SQLITE_CODES = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_READONLY,
    }
)
_WITHOUT_CODE = (
    OperationalError,
    InterfaceError,
    psycopg.OperationalError,
    psycopg.InterfaceError,
    sqlite3.OperationalError,
)


def is_outage(error: BaseException) -> bool:
    """Tell whether the same request may succeed later, although nothing in it is changed.

    Takes the errors of Django and those of the drivers. One without a code, such as a connection
    that was refused or lost, is judged by its class.
    """
    cause = error.__cause__ if isinstance(error, Error) and error.__cause__ is not None else error
    state = getattr(cause, "sqlstate", None)
    if state:
        return state in _STATES or state[:2] in _CLASSES
    code = getattr(cause, "sqlite_errorcode", None)
    if code is not None:
        return code & 0xFF in _SQLITE_CODES
    return isinstance(cause, _WITHOUT_CODE)
