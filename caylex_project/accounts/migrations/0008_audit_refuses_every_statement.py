"""The database refuses the statements that the triggers for changed and deleted rows do not see.

PostgreSQL: TRUNCATE, which fires no row trigger, and any statement of a session whose
`session_replication_role` is `replica`, which fires only triggers that are enabled always. SQLite:
INSERT OR REPLACE, which deletes the old row without a delete trigger unless the connection has
turned `recursive_triggers` on, and an id below 1, which no row of ours has.
"""

from importlib import import_module

from django.db import migrations

TABLE = "accounts_auditentry"
TRIGGERS = ("audit_is_append_only", "audit_is_not_truncated")  # of PostgreSQL

_before = import_module("caylex_project.accounts.migrations.0003_audit_is_append_only")
_RAISE = f"BEGIN SELECT RAISE(ABORT, '{_before.SENTENCE}'); END"
_REPLACES = f"""
    CREATE TRIGGER audit_refuses_REPLACE BEFORE INSERT ON {TABLE}
    WHEN EXISTS (SELECT 1 FROM {TABLE} WHERE id = NEW.id) {_RAISE}
    """
# Before the insert, an id that the database is going to give reads as -1. So a row with that id
# would make each later one look like a replacement.
_ODD_ID = f"""
    CREATE TRIGGER audit_refuses_ODD_ID AFTER INSERT ON {TABLE} WHEN NEW.id < 1 {_RAISE}
    """
_NO_MORE_SQLITE = ("DROP TRIGGER audit_refuses_REPLACE", "DROP TRIGGER audit_refuses_ODD_ID")
_MORE_POSTGRESQL = (
    f"""
    CREATE TRIGGER audit_is_not_truncated BEFORE TRUNCATE ON {TABLE}
    FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only()
    """,
    *(f"ALTER TABLE {TABLE} ENABLE ALWAYS TRIGGER {each}" for each in TRIGGERS),
)
_NO_MORE_POSTGRESQL = (
    f"DROP TRIGGER audit_is_not_truncated ON {TABLE}",
    f"ALTER TABLE {TABLE} ENABLE TRIGGER audit_is_append_only",
)

# Everything that guards the table on SQLite, for what has to take it away and put it back.
SQLITE = (*_before.SQLITE, _REPLACES, _ODD_ID)
NO_SQLITE = (*_before.NO_SQLITE, *_NO_MORE_SQLITE)


def guard(apps, schema_editor):
    more = (_REPLACES, _ODD_ID)
    for each in more if schema_editor.connection.vendor == "sqlite" else _MORE_POSTGRESQL:
        schema_editor.execute(each)


def unguard(apps, schema_editor):
    on_sqlite = schema_editor.connection.vendor == "sqlite"
    for each in _NO_MORE_SQLITE if on_sqlite else _NO_MORE_POSTGRESQL:
        schema_editor.execute(each)


class Migration(migrations.Migration):
    dependencies = [("accounts", "0007_disabled_end_users")]
    operations = [migrations.RunPython(guard, unguard)]
