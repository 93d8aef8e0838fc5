"""Quotes, as a Flask application: ``current()`` in a view is the version of the request."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, abort, jsonify, request

from nexus_supervisor import current

if TYPE_CHECKING:
    from collections.abc import Iterator

app = Flask(__name__)


@app.get("/")
def home() -> Response:
    """Say what there is."""
    now = current()
    return jsonify(title=now.site["main"].title, quotes=len(now.quotes), authors=len(now.authors))


@app.get("/quotes/<name>")
def quote(name: str) -> Response:
    """Show one quote with its author: both of one version, so the reference between them always leads somewhere."""
    now = current()
    if name not in now.quotes:
        abort(404)
    found = now.quotes[name]
    return jsonify(text=found.text, author=now.authors[found.author].name, tags=found.tags)


@app.get("/search")
def search() -> Response:
    """Find quotes in the database that was made for this version."""
    now = current()
    return jsonify(now.derived.find(request.args.get("q", ""), now.site["main"].most_found))


@app.get("/all")
def everything() -> Response:
    """Stream every quote; the version stays the same until the last line is sent."""

    def lines() -> Iterator[str]:
        for name in sorted(current().quotes):
            yield f"{name}: {current().quotes[name].text}\n"

    return Response(lines(), mimetype="text/plain")


@app.get("/version")
def version() -> dict[str, Any]:
    """Tell an editor which version this worker uses."""
    now = current()
    presented = request.headers.get("Authorization", "").removeprefix("Bearer ")
    if not hmac.compare_digest(presented.encode(), now.site["main"].editor_key.reveal().encode()):
        abort(403)
    return {"version": now.version, "digest": now.digest}
