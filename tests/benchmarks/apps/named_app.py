"""A FastAPI application whose answers name the process that gave them."""

from __future__ import annotations

import os

from fastapi import FastAPI
from fastapi.responses import PlainTextResponse

app = FastAPI()


@app.get("/", response_class=PlainTextResponse)
async def name() -> str:
    return str(os.getpid())
