"""A Flask application that reads its prices at the start, in the middle and at the end of everything it does."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Thread

from flask import Flask, Response, jsonify, request, stream_with_context

from nexus_supervisor import current

PAUSE = 0.004
app = Flask(__name__)
pool = ThreadPoolExecutor(2)
finished: list[list[int]] = []


def price() -> int:
    return int(current().items["nut"].price)


def in_a_thread() -> list[int]:
    seen = [price()]
    for _ in range(2):
        time.sleep(PAUSE)
        seen.append(price())
    return seen


@app.get("/plain")
def handle_plain() -> Response:
    return jsonify(in_a_thread())


@app.get("/threads")
def handle_threads() -> Response:
    seen: list[int] = []
    thread = Thread(target=lambda: seen.extend(in_a_thread()))
    thread.start()
    pooled = pool.submit(in_a_thread)
    thread.join()
    return jsonify([price(), *seen, *pooled.result()])


@app.get("/stream")
def handle_stream() -> Response:
    first = price()

    def parts() -> Iterator[str]:
        yield f"[{first}"
        for seen in in_a_thread():
            yield f", {seen}"
        yield "]"

    response = Response(stream_with_context(parts()), mimetype="application/json")
    response.call_on_close(lambda: finished.append([first, price()]))
    return response


@app.get("/finished")
def handle_finished() -> Response:
    """Return what was seen when responses were closed."""
    return jsonify(finished)


@app.post("/upload")
def handle_upload() -> Response:
    return jsonify([len(request.get_data()), request.remote_addr, request.url])
