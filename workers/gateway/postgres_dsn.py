"""The connection string of a PostgreSQL destination.

Decided here: whether a text is one at all, so that ``check`` finds it and no worker has to. Not decided here: whether
anything answers there (``postgres_connections.py``). No message holds any part of it: psycopg's own would.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexus_supervisor.errors import NexusError

if TYPE_CHECKING:
    from nexus_supervisor.models.marks import Secret

__all__ = ["mistake_in"]


def mistake_in(dsn: Secret) -> str | None:
    """Return what is wrong with a connection string, or None; None too where its value didn't travel here."""
    try:
        from psycopg import ProgrammingError
        from psycopg.conninfo import conninfo_to_dict, timeout_from_conninfo
    except ImportError:
        return 'this needs psycopg, which can\'t be imported: pip install "nexus-supervisor[postgres]"'
    try:
        timeout_from_conninfo(conninfo_to_dict(dsn.reveal()))
    except (ProgrammingError, UnicodeError):
        return (
            "expected a connection string of PostgreSQL, such as postgresql://role:password@host/database or "
            "host=… dbname=… user=… password=…, found something else"
        )
    except NexusError:
        return None
    return None
