"""A switch that closes the board without a restart."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from nexus_supervisor import current

Respond = Callable[[HttpRequest], HttpResponse]


def closed(respond: Respond) -> Respond:
    """Answer 503 while site/board.toml says that the board is closed."""

    def middleware(request: HttpRequest) -> HttpResponse:
        if current().board["board"].closed:
            return HttpResponse("closed\n", status=503, content_type="text/plain")
        return respond(request)

    return middleware
