"""What is in the database."""

from __future__ import annotations

from django.db import models


class Notice(models.Model):
    """One notice, and the version of the configuration that it was accepted by."""

    text = models.TextField()
    accepted_by = models.IntegerField()

    def __str__(self) -> str:
        """Return its text."""
        return self.text
