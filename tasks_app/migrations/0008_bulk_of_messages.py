"""A bulk operation is of tasks or of webhooks' messages."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("tasks_app", "0007_deliveries_by_time")]

    operations = [
        migrations.RenameField("bulkoperation", "task_ids", "subject_ids"),
        migrations.AlterField(
            "bulkoperation",
            "subject_ids",
            models.JSONField(
                default=list, help_text="Of tasks; of webhooks' messages where these are sent again."
            ),
        ),
        migrations.AlterField(
            "bulkoperation",
            "refused",
            models.JSONField(
                default=dict, help_text="Sentence to the number of those of which it is true."
            ),
        ),
    ]
