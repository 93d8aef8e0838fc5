"""Hypothesis profiles, and the fixtures of ``support/`` that tests of several folders ask for."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.support.postgres"]

# A slow machine is no failure, so there is no deadline. Runs are the same every time; HYPOTHESIS_PROFILE=search looks
# for new examples instead.
settings.register_profile(
    "repeat",
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=100,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("search", parent=settings.get_profile("repeat"), derandomize=False, max_examples=2_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeat"))
