"""The hooks, each of which may be where the poison strikes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from poisons import begin, strike

if TYPE_CHECKING:
    from nexus_supervisor import Snapshot


def _strike_at(place: str, snapshot: Snapshot) -> object:
    rule = snapshot.rules["main"]
    if rule.at != place or (rule.spares_trial and os.environ.get("NEXUS_TRIAL")):
        return None
    return strike(rule.poison)


def validate(snapshot: Snapshot) -> None:
    _strike_at("validate", snapshot)


def prepare(snapshot: Snapshot) -> object:
    return _strike_at("prepare", snapshot)


def probe(snapshot: Snapshot) -> None:
    _strike_at("probe", snapshot)


def activated(old: Snapshot | None, new: Snapshot) -> None:
    begin(new.rules["main"].poison)
    _strike_at("activated", new)
