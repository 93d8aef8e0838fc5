"""Where the views are."""

from __future__ import annotations

from django.urls import include, path

urlpatterns = [path("notices", include("notices.urls"))]
