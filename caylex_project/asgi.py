"""The web process: `uvicorn caylex_project.asgi:application`."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "caylex_project.settings")

application = get_asgi_application()
