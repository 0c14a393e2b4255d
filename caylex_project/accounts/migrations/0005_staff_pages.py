"""What the groups of staff may do on the pages beside those of tasks."""

from django.db import migrations

LOOKED_AT = frozenset(
    {
        ("tasks_app", "webhookendpoint", "view_webhookendpoint"),
        ("tasks_app", "webhookdelivery", "view_webhookdelivery"),
    }
)
GROUPS = {
    "support viewer": LOOKED_AT,
    "support operator": LOOKED_AT,
    "project admin": LOOKED_AT
    | {
        ("accounts", "enduser", "change_enduser"),
        ("accounts", "navigator", "change_navigator"),
        ("accounts", "project", "change_project"),
        ("integrations", "server", "change_server"),
        ("integrations", "serverinstance", "change_serverinstance"),
        ("skills_app", "skill", "add_skill"),
        ("skills_app", "skillrevision", "change_skillrevision"),
        ("tasks_app", "webhookendpoint", "change_webhookendpoint"),
    },
}


def extend_groups(apps, schema_editor):
    content_types = apps.get_model("contenttypes", "ContentType").objects
    permissions = apps.get_model("auth", "Permission").objects
    groups = apps.get_model("auth", "Group").objects
    for name, wanted in GROUPS.items():
        group, _ = groups.get_or_create(name=name)
        for app, model, codename in sorted(wanted):
            kind, _ = content_types.get_or_create(app_label=app, model=model)
            verb = codename.split("_")[0]
            words = f"Can {verb} {apps.get_model(app, model)._meta.verbose_name}"
            permission, _ = permissions.get_or_create(
                content_type=kind, codename=codename, defaults={"name": words}
            )
            group.permissions.add(permission)


class Migration(migrations.Migration):
    dependencies = [("accounts", "0004_staff_groups")]
    # Who goes back keeps the permissions: the older version has no page that asks for them.
    operations = [migrations.RunPython(extend_groups, migrations.RunPython.noop)]
