"""The addresses of the page, and those that authorization servers know."""

from django.urls import path

from caylex_project.connect import views

urlpatterns = [
    path("connect/<str:token>", views.open_link, name="connect_link"),
    path("connect/l/<uuid:link_id>/", views.show, name="connect"),
    path("connect/l/<uuid:link_id>/address", views.send, name="connect_address"),
    path("connect/l/<uuid:link_id>/code", views.prove, name="connect_code"),
    path("connect/l/<uuid:link_id>/<uuid:instance_id>/connect", views.connect, name="connect_out"),
    path("connect/l/<uuid:link_id>/<uuid:instance_id>/value", views.keep, name="connect_value"),
    path("connect/l/<uuid:link_id>/<uuid:instance_id>/test", views.test, name="connect_test"),
    path(
        "connect/l/<uuid:link_id>/<uuid:instance_id>/disconnect",
        views.disconnect,
        name="connect_end",
    ),
    path("oauth/callback", views.callback, name="oauth_callback"),
    path("oauth/client.json", views.client_metadata, name="oauth_client"),
]
