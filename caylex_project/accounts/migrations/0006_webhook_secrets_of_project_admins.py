"""Project admins make new webhook secrets, and see when the older ones end."""

from django.db import migrations

VERBS = ("view", "add")


def extend_group(apps, schema_editor):
    kind, _ = apps.get_model("contenttypes", "ContentType").objects.get_or_create(
        app_label="tasks_app", model="webhooksecret"
    )
    group, _ = apps.get_model("auth", "Group").objects.get_or_create(name="project admin")
    for verb in VERBS:
        permission, _ = apps.get_model("auth", "Permission").objects.get_or_create(
            content_type=kind,
            codename=f"{verb}_webhooksecret",
            defaults={"name": f"Can {verb} webhook secret"},
        )
        group.permissions.add(permission)


class Migration(migrations.Migration):
    dependencies = [("accounts", "0005_staff_pages")]
    operations = [migrations.RunPython(extend_group, migrations.RunPython.noop)]
