"""The database itself refuses to change or delete an audit entry."""

from django.db import migrations

SENTENCE = "Audit entries cannot be changed or deleted."
POSTGRESQL = (
    f"""
    CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION '{SENTENCE}' USING ERRCODE = 'restrict_violation';
    END $$
    """,
    """
    CREATE TRIGGER audit_is_append_only BEFORE UPDATE OR DELETE ON accounts_auditentry
    FOR EACH ROW EXECUTE FUNCTION audit_is_append_only()
    """,
)
SQLITE = tuple(
    f"""
    CREATE TRIGGER audit_refuses_{verb} BEFORE {verb} ON accounts_auditentry
    BEGIN SELECT RAISE(ABORT, '{SENTENCE}'); END
    """
    for verb in ("UPDATE", "DELETE")
)
NO_POSTGRESQL = (
    "DROP TRIGGER audit_is_append_only ON accounts_auditentry",
    "DROP FUNCTION audit_is_append_only()",
)
NO_SQLITE = ("DROP TRIGGER audit_refuses_UPDATE", "DROP TRIGGER audit_refuses_DELETE")


def guard(apps, schema_editor):
    for statement in SQLITE if schema_editor.connection.vendor == "sqlite" else POSTGRESQL:
        schema_editor.execute(statement)


def unguard(apps, schema_editor):
    for statement in NO_SQLITE if schema_editor.connection.vendor == "sqlite" else NO_POSTGRESQL:
        schema_editor.execute(statement)


class Migration(migrations.Migration):
    dependencies = [("accounts", "0002_stops_staff_and_audit")]
    operations = [migrations.RunPython(guard, unguard)]
