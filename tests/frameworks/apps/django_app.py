"""A Django project of one file that reads its prices at the start, in the middle and at the end of everything it does.

``asgi`` and ``wsgi`` are its two applications.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from threading import Thread

from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse, StreamingHttpResponse
from django.urls import path

from nexus_supervisor import current

settings.configure(
    ALLOWED_HOSTS=["*"], MIDDLEWARE=["django.middleware.common.CommonMiddleware"], ROOT_URLCONF=__name__, SECRET_KEY="k"
)

PAUSE = 0.004


def price() -> int:
    return int(current().items["nut"].price)


async def while_others_run() -> list[int]:
    seen = [price()]
    for _ in range(2):
        await asyncio.sleep(PAUSE)
        seen.append(price())
    return seen


def in_a_thread() -> list[int]:
    seen = [price()]
    for _ in range(2):
        time.sleep(PAUSE)
        seen.append(price())
    return seen


async def handle_async(_: HttpRequest) -> JsonResponse:
    seen = await while_others_run()
    return JsonResponse([*seen, *await sync_to_async(in_a_thread)()], safe=False)


def handle_sync(_: HttpRequest) -> JsonResponse:
    return JsonResponse(in_a_thread(), safe=False)


def handle_threads(_: HttpRequest) -> JsonResponse:
    seen: list[int] = []
    thread = Thread(target=lambda: seen.extend(in_a_thread()))
    thread.start()
    thread.join()
    return JsonResponse([price(), *seen], safe=False)


def handle_stream(_: HttpRequest) -> StreamingHttpResponse:
    def parts() -> Iterator[str]:
        yield f"[{price()}"
        for seen in in_a_thread():
            yield f", {seen}"
        yield "]"

    return StreamingHttpResponse(parts(), content_type="application/json")


async def handle_stream_async(_: HttpRequest) -> StreamingHttpResponse:
    async def parts() -> AsyncIterator[str]:
        yield f"[{price()}"
        for seen in await while_others_run():
            yield f", {seen}"
        yield "]"

    return StreamingHttpResponse(parts(), content_type="application/json")


def handle_upload(request: HttpRequest) -> JsonResponse:
    return JsonResponse([len(request.body), request.META["REMOTE_ADDR"], request.build_absolute_uri()], safe=False)


urlpatterns = [
    path("async", handle_async),
    path("sync", handle_sync),
    path("threads", handle_threads),
    path("stream", handle_stream),
    path("stream-async", handle_stream_async),
    path("upload", handle_upload),
]

asgi = get_asgi_application()
wsgi = get_wsgi_application()
