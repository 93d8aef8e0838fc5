"""A directory of an application: a model, a secret, hooks."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILES = {
    "daemon.toml": """
        [daemon]
        motd = "hello"
        [supervisor]
        program = "asgi"
        app = "app:app"
        hooks = "shop_hooks"
        [[supervisor.section]]
        name = "knobs"
        files = "knobs/*.toml"
        apply = "live"
        model = "shop_models:Knobs"
    """,
    "shop_models.py": """
from dataclasses import dataclass, field
from nexus_supervisor import Secret

@dataclass
class Knobs:
    price: int
    key: Secret | None = None
    tags: list[str] = field(default_factory=list)
""",
    "shop_words.py": "GREETING = 'here'\n",
    "shop_hooks.py": """
from pathlib import Path
from nexus_supervisor import Objection
from shop_words import GREETING

closed = []

def validate(snapshot):
    for name, knobs in snapshot.knobs.items():
        if knobs.price == 13:
            yield Objection("13 is no price", section="knobs", entry=name, key="price")

def prepare(snapshot, before):
    return {"where": str(Path(__file__).parent), "word": GREETING, "double": snapshot.knobs["main"].price * 2}

def retired(old):
    Path(old.derived["where"], "closed").write_text(f"{old.version}")
""",
    "knobs/main.toml": "price = 3\nkey = 'env:SHOP_KEY'\ntags = ['a']\n",
}


def a_shop(directory: Path) -> Path:
    """Make the directory of an application."""
    for name, text in FILES.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text if name.endswith(".py") else "\n".join(line.strip() for line in text.splitlines()))
    return directory


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("SHOP_KEY", "opensesame")
    before = set(sys.modules)
    yield a_shop(tmp_path / "shop")
    for name in [name for name in sys.modules.keys() - before if name.startswith("shop_")]:
        del sys.modules[name]
