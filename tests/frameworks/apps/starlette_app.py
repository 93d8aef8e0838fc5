"""A Starlette application that reads its prices at the start, in the middle and at the end of everything it does."""

import asyncio
import time
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from nexus_supervisor import current

PAUSE = 0.004
finished: list[list[int]] = []


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


class PriceAround(BaseHTTPMiddleware):
    """Note the price before and after the handler."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        before = price()
        response = await call_next(request)
        response.headers["X-Prices"] = f"{before},{price()}"
        return response


async def handle_async(_: Request) -> Response:
    return JSONResponse(await while_others_run(), background=BackgroundTask(afterwards, price()))


async def afterwards(first: int) -> None:
    finished.append([first, *await while_others_run()])


def handle_sync(_: Request) -> Response:
    return JSONResponse(in_a_thread())


async def handle_finished(_: Request) -> Response:
    return JSONResponse(finished)


async def handle_stream(_: Request) -> Response:
    async def parts() -> AsyncIterator[str]:
        yield f"[{price()}"
        for seen in await while_others_run():
            yield f", {seen}"
        yield "]"

    return StreamingResponse(parts(), media_type="application/json")


async def talk(websocket: WebSocket) -> None:
    await websocket.accept()
    async for _ in websocket.iter_text():
        await websocket.send_json(await while_others_run())


app = Starlette(
    routes=[
        Route("/async", handle_async),
        Route("/sync", handle_sync),
        Route("/stream", handle_stream),
        Route("/finished", handle_finished),
        WebSocketRoute("/talk", talk),
    ],
    middleware=[Middleware(PriceAround)],
)
