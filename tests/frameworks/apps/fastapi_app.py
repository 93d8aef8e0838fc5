"""A FastAPI application that reads its prices at the start, in the middle and at the end of everything it does."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from threading import Thread
from typing import Annotated

from fastapi import BackgroundTasks, Depends, FastAPI, WebSocket
from fastapi.responses import StreamingResponse

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


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, int]]:
    yield {"price_at_start": price()}


app = FastAPI(lifespan=lifespan)


def depends_in_a_thread() -> int:
    return price()


async def depends() -> AsyncIterator[int]:
    yield price()
    finished.append([price()])


@app.get("/async")
async def handle_async(
    one: Annotated[int, Depends(depends_in_a_thread)], other: Annotated[int, Depends(depends)]
) -> list[int]:
    return [one, other, *await while_others_run()]


@app.get("/sync")
def handle_sync(
    one: Annotated[int, Depends(depends_in_a_thread)], other: Annotated[int, Depends(depends)]
) -> list[int]:
    return [one, other, *in_a_thread()]


@app.get("/threads")
async def handle_threads() -> list[int]:
    seen: list[int] = []
    thread = Thread(target=lambda: seen.extend(in_a_thread()))
    thread.start()
    loop = asyncio.get_running_loop()
    results = await asyncio.gather(
        loop.run_in_executor(None, in_a_thread), asyncio.to_thread(in_a_thread), while_others_run()
    )
    await asyncio.to_thread(thread.join)
    return [price(), *seen, *(one for result in results for one in result)]


@app.get("/background")
async def handle_background(tasks: BackgroundTasks) -> list[int]:
    first = price()
    tasks.add_task(lambda: finished.append([first, *in_a_thread()]))
    tasks.add_task(afterwards, first)
    return [first]


async def afterwards(first: int) -> None:
    finished.append([first, *await while_others_run()])


@app.get("/finished")
async def handle_finished() -> list[list[int]]:
    """Return what was seen by work that went on after its answer."""
    return finished


@app.get("/stream")
async def handle_stream() -> StreamingResponse:
    async def parts() -> AsyncIterator[str]:
        yield f"[{price()}"
        for seen in await while_others_run():
            yield f", {seen}"
        yield "]"

    return StreamingResponse(parts(), media_type="application/json")


@app.get("/stream-in-a-thread")
def handle_stream_in_a_thread() -> StreamingResponse:
    def parts() -> Iterator[str]:
        yield f"[{price()}"
        for seen in in_a_thread():
            yield f", {seen}"
        yield "]"

    return StreamingResponse(parts(), media_type="application/json")


@app.websocket("/talk")
async def talk(websocket: WebSocket) -> None:
    await websocket.accept()
    while True:
        await websocket.receive_text()
        await websocket.send_json(await while_others_run())
