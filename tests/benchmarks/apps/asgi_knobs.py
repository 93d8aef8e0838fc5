"""A FastAPI application that answers from its snapshot; ``mixed`` says whether that changed within the request."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.responses import PlainTextResponse

from nexus_supervisor import current

app = FastAPI()


@app.get("/")
def hello() -> PlainTextResponse:
    before = current()
    text = before.knobs["main"].text
    return PlainTextResponse(text, 200 if current().knobs["main"].text == text else 500)
