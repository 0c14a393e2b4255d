"""The web process: `uvicorn caylex_project.asgi:application`."""

from __future__ import annotations

import os

import django
from django.conf import settings
from django.utils.module_loading import import_string

from caylex_project.web.change_hub import ChangeHub
from caylex_project.web.forwarded import TrustedProxies
from caylex_project.web.long_polling import LongPolling
from caylex_project.web.request_limits import RequestLimits
from caylex_project.web.threaded_django import ThreadedDjango
from caylex_project.web.warm_up import warm_up

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "caylex_project.settings")

django.setup(set_prefix=False)
# By name, because models can be imported only after the setup.
hub = ChangeHub(import_string("tasks_app.notifications.change_listener.ChangeListener"))
warm_up()
application = RequestLimits(
    LongPolling(ThreadedDjango(), hub=hub),
    proxies=TrustedProxies(settings.ENVIRONMENT.caylex_trusted_proxies),
)
