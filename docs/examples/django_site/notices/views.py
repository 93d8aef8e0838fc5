"""The notice board."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from nexus_supervisor import current
from notices.models import Notice

if TYPE_CHECKING:
    from live_models import Board

WELCOME = {"en": "Welcome", "de": "Willkommen"}


@csrf_exempt
@require_http_methods(["GET", "POST"])
def notices(request: HttpRequest) -> HttpResponse:
    """Show the newest notices, or add one."""
    board = current().board["board"]
    if request.method == "POST":
        return add(request, board)
    newest = Notice.objects.order_by("-id")[: board.most_shown]
    shown = [{"text": notice.text, "accepted_by": notice.accepted_by} for notice in newest]
    return JsonResponse({"title": f"{WELCOME[board.language]}: {board.title}", "notices": shown})


def add(request: HttpRequest, board: Board) -> HttpResponse:
    """Keep a notice of somebody who has the key."""
    presented = request.headers.get("Authorization", "").removeprefix("Bearer ")
    if not hmac.compare_digest(presented.encode(), board.poster_key.reveal().encode()):
        return HttpResponse("wrong key\n", status=403)
    text = request.body.decode()
    if not 0 < len(text) <= board.most_letters:
        return HttpResponse(f"expected 1 to {board.most_letters} letters, found {len(text)}\n", status=422)
    notice = Notice.objects.create(text=text, accepted_by=current().version)
    return JsonResponse({"id": notice.id}, status=201)
