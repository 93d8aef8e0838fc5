"""The same for Flask."""

from __future__ import annotations

from flask import Flask

from nexus_supervisor import current

app = Flask(__name__)


@app.get("/")
def hello() -> tuple[str, int]:
    text = current().knobs["main"].text
    return text, 200 if current().knobs["main"].text == text else 500
