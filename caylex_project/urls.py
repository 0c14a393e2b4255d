"""The addresses of the service."""

from django.contrib import admin
from django.urls import include, path

from caylex_project.accounts.site.second_factor import second_factor
from tasks_app.monitoring import views

urlpatterns = [
    path("admin/second-factor/", admin.site.admin_view(second_factor), name="second_factor"),
    path("admin/", admin.site.urls),
    path("api/", include("tasks_app.api.urls")),
    path("", include("caylex_project.connect.urls")),
    path("healthz", views.healthz),
    path("readyz", views.readyz),
    path("metrics", views.metrics),
]

handler500 = "caylex_project.web.server_errors.server_error"
