from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from nexus_supervisor.core.settings import UNREAD, Settings
from nexus_supervisor.core.tables import options

ROOT = Path(__file__).parents[2]
DECLARED_IN = {"options.py", "settings.py"}


def keys(table: type = Settings, where: str = "") -> list[str]:
    found = []
    for option in options(table).values():
        key = f"{where}.{option.name}".lstrip(".")
        found += [key] if option.table is None else keys(option.table, key)
    return found


def unread(key: str) -> bool:
    return any(key == prefix or key.startswith(f"{prefix}.") for prefix in UNREAD)


def test_the_page_of_settings_is_what_the_tables_draw() -> None:
    drawn = subprocess.run(
        [sys.executable, ROOT / "docs" / "draw_settings.py", "--print"], capture_output=True, text=True, check=True
    ).stdout
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert page == drawn, "run: python docs/draw_settings.py"


def test_a_setting_is_either_read_by_some_code_or_listed_as_unread() -> None:
    code = "\n".join(
        path.read_text(encoding="utf-8")
        for folder in ("nexus_supervisor", "workers")
        for path in (ROOT / folder).rglob("*.py")
        if path.name not in DECLARED_IN
    )
    forgotten = [key for key in keys() if not unread(key) and not re.search(rf"\.{key.rpartition('.')[2]}\b", code)]
    assert forgotten == []
