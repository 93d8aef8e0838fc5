"""Text for a terminal: what others wrote is shown, never obeyed.

Decided here: which characters are escaped. Not decided here: what is shown. Control characters (with ESC, a name could
move the cursor or rewrite lines), characters that turn the direction of writing or are invisible, line and paragraph
separators and lone surrogates are shown as their number.
"""

from __future__ import annotations

import unicodedata

__all__ = ["escaped"]

_ESCAPED_CATEGORIES = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})


def escaped(text: object) -> str:
    """Return the text in one line of characters that are safe to show."""
    return "".join(_number(one) if unicodedata.category(one) in _ESCAPED_CATEGORIES else one for one in str(text))


def _number(character: str) -> str:
    code = ord(character)
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
