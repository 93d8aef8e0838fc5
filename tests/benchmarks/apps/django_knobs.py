"""The same for Django, by ASGI."""

from __future__ import annotations

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path

from nexus_supervisor import current

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="of no use", MIDDLEWARE=[])
django.setup()


def hello(_request: HttpRequest) -> HttpResponse:
    text = current().knobs["main"].text
    return HttpResponse(text, status=200 if current().knobs["main"].text == text else 500)


urlpatterns = [path("", hello)]
app = get_asgi_application()
