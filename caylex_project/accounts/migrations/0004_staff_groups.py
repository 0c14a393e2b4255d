"""The groups of staff, each with what it needs and no more."""

from django.db import migrations

LOOKED_AT = {
    "accounts": ("tenant", "project", "navigator", "enduser", "auditentry"),
    "integrations": ("server", "serverinstance", "toolpermission"),
    "skills_app": ("skill", "skillrevision", "skillfile"),
    "tasks_app": ("agenttask", "event", "worker"),
}
VIEWS = frozenset(
    (app, model, f"view_{model}") for app, models in LOOKED_AT.items() for model in models
)
GROUPS = {
    "support viewer": VIEWS,
    "support operator": VIEWS
    | {
        ("tasks_app", "agenttask", "change_agenttask"),
        ("tasks_app", "agenttask", "view_payload"),
        ("tasks_app", "step", "view_step"),
        ("tasks_app", "toolcall", "view_toolcall"),
    },
    "project admin": VIEWS
    | {
        (app, model, f"{verb}_{model}")
        for app, model in (
            ("accounts", "platformtoken"),
            ("accounts", "navigatorkey"),
            ("integrations", "credential"),
        )
        for verb in ("view", "add", "change")
    },
}
NAMES = {"view_payload": "Can see prompts, arguments, results and reports"}


def make_groups(apps, schema_editor):
    content_types = apps.get_model("contenttypes", "ContentType").objects
    permissions = apps.get_model("auth", "Permission").objects
    groups = apps.get_model("auth", "Group").objects
    for name, wanted in GROUPS.items():
        group, _ = groups.get_or_create(name=name)
        for app, model, codename in sorted(wanted):
            kind, _ = content_types.get_or_create(app_label=app, model=model)
            words = NAMES.get(codename)
            if words is None:
                verb = codename.split("_")[0]
                words = f"Can {verb} {apps.get_model(app, model)._meta.verbose_name}"
            permission, _ = permissions.get_or_create(
                content_type=kind, codename=codename, defaults={"name": words}
            )
            group.permissions.add(permission)


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0003_audit_is_append_only"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
        ("integrations", "0002_paused_servers"),
        ("skills_app", "0001_initial"),
        ("tasks_app", "0002_lists_webhooks_and_bulk"),
    ]
    # Who goes back keeps the groups: somebody may be in them.
    operations = [migrations.RunPython(make_groups, migrations.RunPython.noop)]
