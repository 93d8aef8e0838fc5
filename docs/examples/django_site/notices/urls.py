"""Where the views of the board are."""

from __future__ import annotations

from django.urls import path

from notices import views

urlpatterns = [path("", views.notices)]
