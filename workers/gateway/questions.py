"""Questions: what a query asks for, and what it may see of it.

Decided here: the parameters of ``GET /query``, and how they become a search within the policy of a source. Not decided
here: whether the source may ask at all (``permissions.py``) and what a search finds (``retrieval.py``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from urllib.parse import parse_qsl

from .answers import problem
from .retrieval import Search, folded

if TYPE_CHECKING:
    from .models import Source

__all__ = ["CLASSIFICATIONS", "Question", "question", "search_of"]

CLASSIFICATIONS = ("public", "internal", "confidential", "restricted")
"""From what everybody may see to what nearly nobody may."""

_PARAMETERS = ("q", "limit", "mode", "profile")
_MAX_QUERY_BYTES = 8_192
_MAX_WORDS = 16
_MAX_CHARACTERS = 1_024
_MAX_PROFILE_CHARACTERS = 256


@dataclass(frozen=True, slots=True)
class Question:
    """Hold what a query asks for: the words of ``q``, folded, how many records at most, and which profile or any."""

    words: tuple[str, ...]
    limit: int
    profile: str | None

    @property
    def mode(self) -> Literal["recent", "search"]:
        """Return how records are retrieved: the newest, or those with the words."""
        return "search" if self.words else "recent"


def question(source: Source, query_string: bytes) -> Question:
    """Return what a query string asks for; raise Refused (422) where it can't be understood."""
    asked = _parameters(query_string)
    profile = asked.get("profile")
    if profile is not None and (not 0 < len(profile) <= _MAX_PROFILE_CHARACTERS or "\0" in profile):
        raise problem(422, "profile", f"expected profile to have 1 to {_MAX_PROFILE_CHARACTERS} characters, no NUL")
    found = Question(_words(asked.get("q", "")), _limit(source, asked.get("limit")), profile)
    mode = asked.get("mode", found.mode)
    if mode != found.mode:
        raise problem(422, "mode", "expected mode=search with words in q, or mode=recent without q")
    return found


def search_of(source: Source, asked: Question) -> Search:
    """Return the search that answers a question within the policy of a source."""
    policy, firewall = source.policy, source.policy.retrieval_firewall
    highest = firewall.max_classification_tier
    return Search(
        limit=asked.limit,
        max_bytes=policy.max_response_bytes,
        words=asked.words,
        top_tier=source.tier,
        namespaces=_namespaces(source),
        profiles=policy.allowed_profiles or None if asked.profile is None else (asked.profile,),
        blocked_labels=frozenset(firewall.blocked_labels),
        required_labels=frozenset(firewall.required_labels),
        classifications=frozenset(CLASSIFICATIONS[: CLASSIFICATIONS.index(highest) + 1]) if highest else None,
        default_classification=firewall.default_classification_tier or CLASSIFICATIONS[-1],
        include_fields=frozenset(policy.field_visibility.include_fields),
        strip_metadata=policy.field_visibility.strip_metadata,
    )


def _namespaces(source: Source) -> tuple[str, ...] | None:
    firewall = source.policy.retrieval_firewall
    if firewall.cross_namespace_read:
        return None
    return tuple(dict.fromkeys((source.namespace, *firewall.visible_namespaces)))


def _parameters(query_string: bytes) -> dict[str, str]:
    """Return the parameters of a query string (``application/x-www-form-urlencoded``), each known and given once."""
    detail = f"expected parameters of {', '.join(_PARAMETERS)}, each at most once, as URL-encoded UTF-8"
    try:
        pairs = parse_qsl(
            query_string[: _MAX_QUERY_BYTES + 1].decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=len(_PARAMETERS),
        )
    except ValueError:
        raise problem(422, "parameters", detail) from None
    found = dict(pairs)
    if len(query_string) > _MAX_QUERY_BYTES or len(found) != len(pairs) or not found.keys() <= set(_PARAMETERS):
        raise problem(422, "parameters", detail)
    return found


def _words(text: str) -> tuple[str, ...]:
    words = tuple(dict.fromkeys(folded(text).split()))
    if len(words) > _MAX_WORDS or len(text) > _MAX_CHARACTERS:
        raise problem(422, "q", f"expected q to have at most {_MAX_WORDS} words and {_MAX_CHARACTERS} characters")
    return words


def _limit(source: Source, text: str | None) -> int:
    most = source.policy.max_results
    if text is None:
        return most
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(most)) and 1 <= int(text) <= most):
        raise problem(422, "limit", f"expected limit to be a whole number from 1 to {most}, the source's max_results")
    return int(text)
