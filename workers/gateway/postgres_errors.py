"""What an error of PostgreSQL means to a client, in our words.

Decided here: the rest of the sentence for each error, and which errors leave open whether a write was made. Not decided
here: what is done about them (``postgres.py``).

Texts of the server and of psycopg name hosts, roles, databases, and for a malformed connection string parts of it, so
none of them is ever shown: errors are told apart by their SQLSTATE. Those of a connection that was not made have none;
they are told apart by well-known words of the server's English text, or else are told as "can't be reached".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psycopg

__all__ = ["READ_ONLY", "TABLES_GONE", "deserves_another_try", "is_uncertain", "reason_of"]

READ_ONLY = "it takes no writes: it is a standby, or set to read only"
TABLES_GONE = "its tables are gone"

_REASONS = {
    "08": "the connection to it was lost",
    "23": "it holds a record that this one conflicts with",
    "25006": READ_ONLY,
    "28": "it refuses the role or the password of its dsn",
    "3D000": "it has no database of the name in its dsn",
    "40": "too much happened in it at once",
    "42501": "the role of its dsn may not use or make its tables: grant the rights",
    "42P01": TABLES_GONE,
    "42P07": "it has tables of the same names that are not ours: give it a database or schema of its own",
    "53100": "its disk is full",
    "53200": "it is out of memory",
    "53300": "it has too many connections",
    "55P03": "it is locked by somebody else",
    "57014": "it did not finish in time",
    "57P": "it is starting or stopping",
}
"""By SQLSTATE or its beginning (PostgreSQL documentation, appendix A)."""

_WORDS = {
    "password authentication failed": "28",
    "no password supplied": "28",
    "no pg_hba.conf entry": "28",
    "is not permitted to log in": "28",
    "too many clients": "53300",
    "too many connections": "53300",
    "remaining connection slots": "53300",
    "is starting up": "57P",
    "is shutting down": "57P",
    "recovery mode": "57P",
    "not yet accepting connections": "57P",
}
"""Words of the server where it refuses a connection, and the SQLSTATE that it means."""

_MISSING_DATABASE = ('database "', "does not exist")
_MISSING_ROLE = ('role "', "does not exist")
_UNREACHABLE = "it can't be reached"


def reason_of(error: psycopg.Error) -> str:
    """Return the rest of a sentence that tells an error without any word of the server."""
    state = error.sqlstate or _state_of_refusal(str(error))
    if state is None:
        return _UNREACHABLE
    for length in (5, 3, 2):
        if (found := _REASONS.get(state[:length])) is not None:
            return found
    return f"it reports an error (SQLSTATE {state})"


def is_uncertain(error: psycopg.Error) -> bool:
    """Return whether a statement that ended so may have been committed: its connection ended before its answer."""
    return error.sqlstate is None or error.sqlstate.startswith(("08", "57P"))


def deserves_another_try(error: psycopg.Error) -> bool:
    """Return whether the same statement may succeed on another connection at once."""
    return is_uncertain(error) or (error.sqlstate or "").startswith(("40", "42P01"))


def _state_of_refusal(text: str) -> str | None:
    for words, state in _WORDS.items():
        if words in text:
            return state
    if all(part in text for part in _MISSING_DATABASE):
        return "3D000"
    if all(part in text for part in _MISSING_ROLE):
        return "28"
    return None
