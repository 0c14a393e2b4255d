"""The web process: `uvicorn caylex_project.asgi:application`."""

from __future__ import annotations

import asyncio
import contextvars
import io
import os
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import django
from django.conf import settings
from django.core import signals
from django.core.handlers.asgi import ASGIHandler, get_script_prefix
from django.http import HttpResponseBase
from django.urls import set_script_prefix
from django.utils.module_loading import import_string

from caylex_project.bodylimit import RequestGuard, whole_body
from caylex_project.hub import Hub
from caylex_project.waiting import Waiting
from caylex_project.warm import warm_up

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "caylex_project.settings")

Headers = list[tuple[bytes, bytes]]


class ThreadedDjango(ASGIHandler):
    """Django on a few threads that live as long as the process, entered once a request.

    The stock handler starts a thread for each request and enters it once for each signal and
    each half of a middleware, which costs more than all that our views do. Here one entry
    builds the request, runs the middleware and the view, and closes up. Answers are whole:
    what streams or waits belongs into a layer before this one.
    """

    def __init__(self) -> None:
        super().__init__()
        self._threads = ThreadPoolExecutor(settings.WEB_THREADS, thread_name_prefix="django")
        # For who asks whether the process lives, when all others wait for a database that is away.
        self._spare_thread = ThreadPoolExecutor(1, thread_name_prefix="django-alive")

    def load_middleware(self, is_async: bool = False) -> None:
        """Build the synchronous chain, whatever was asked for."""
        super().load_middleware(is_async=False)

    async def __call__(
        self,
        scope: dict[str, Any],
        receive: Callable[[], Awaitable[Mapping[str, Any]]],
        send: Callable[[Mapping[str, Any]], Awaitable[None]],
    ) -> None:
        """Answer one request."""
        body = await whole_body(receive)
        if body is None:
            return
        context = contextvars.copy_context()
        threads = self._spare_thread if scope["path"] == "/healthz" else self._threads
        status, headers, content = await asyncio.get_running_loop().run_in_executor(
            threads, context.run, self._respond, scope, body
        )
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    def _respond(self, scope: dict[str, Any], body: bytes) -> tuple[int, Headers, bytes]:
        """Return status, headers and body; runs on a thread of ours."""
        set_script_prefix(get_script_prefix(scope))
        signals.request_started.send(sender=self.__class__, scope=scope)
        request, refusal = self.create_request(scope, io.BytesIO(body))
        response = refusal if request is None else self.get_response(request)
        assert response is not None
        try:
            return response.status_code, _headers(response), b"".join(response)
        finally:
            response.close()  # sends request_finished, which gives the connection back


def _headers(response: HttpResponseBase) -> Headers:
    headers = [(name.encode("ascii"), value.encode("latin-1")) for name, value in response.items()]
    cookies = [
        (b"Set-Cookie", each.output(header="").strip().encode("ascii"))
        for each in response.cookies.values()
    ]
    return headers + cookies


django.setup(set_prefix=False)
# By name, because models can be imported only after the setup.
hub = Hub(import_string("tasks_app.listening.ChangeListener"))
warm_up()
application = RequestGuard(Waiting(ThreadedDjango(), hub=hub))
