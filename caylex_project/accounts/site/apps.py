"""Which site `django.contrib.admin.site` is."""

from django.contrib.admin.apps import AdminConfig


class StaffAdminConfig(AdminConfig):
    """Django's admin with our site."""

    default = False  # named in the settings
    default_site = "caylex_project.accounts.site.site.StaffSite"
