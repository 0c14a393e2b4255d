"""The web process: `uvicorn caylex_project.asgi:application`."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable
from typing import cast

import django
from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpRequest, HttpResponseBase, StreamingHttpResponse

from caylex_project.bodylimit import RequestGuard

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "caylex_project.settings")


class OneHopHandler(ASGIHandler):
    """Django with its middleware and its view on one thread, entered once a request.

    Under ASGI the stock handler runs each middleware's two halves in thread hops of their own,
    which costs more than everything that our views do.
    """

    def load_middleware(self, is_async: bool = False) -> None:
        """Build the synchronous chain, whatever was asked for."""
        super().load_middleware(is_async=False)

    async def get_response_async(self, request: HttpRequest) -> HttpResponseBase:
        """Run the chain in the request's own thread."""
        response: HttpResponseBase = await sync_to_async(self.get_response)(request)
        if isinstance(response, StreamingHttpResponse) and not response.is_async:
            response.streaming_content = _in_thread(
                cast(Iterable[bytes], response.streaming_content)
            )
        return response


async def _in_thread(parts: Iterable[bytes]) -> AsyncIterator[bytes]:
    """Yield what a blocking iterator yields (a static file), off the event loop."""
    following = iter(parts)
    while (part := await sync_to_async(lambda: next(following, None))()) is not None:
        yield part


django.setup(set_prefix=False)
application = RequestGuard(OneHopHandler())
