"""``python -m nexus_supervisor``: the same as the command ``nexus-supervisor``."""

from __future__ import annotations

from nexus_supervisor.cli import main

if __name__ == "__main__":
    main(prog_name="nexus-supervisor")
