"""Marks: what a model says about its fields beyond their type.

Decided here: the types of secret fields, how their digests are made, and the words for other meanings. Not decided
here: where a secret's value comes from (``secrets.py``) and what a mark leads to (``compiler/``).

    class Source(BaseModel):
        api_key: Annotated[HashedSecret, Unique]
        target_destination: Annotated[str | None, References("destinations")] = None
        can_write: Annotated[bool, Widens] = False
        max_bytes: Annotated[int, Widens(times=10)] = 1024
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, NoReturn

from nexus_supervisor.core.widening import Wide
from nexus_supervisor.errors import NexusError

if TYPE_CHECKING:
    from typing import Self

    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic_core import CoreSchema

__all__ = [
    "MARKS",
    "HashedSecret",
    "Mark",
    "References",
    "RestartRequired",
    "Secret",
    "Unique",
    "Widening",
    "Widens",
    "keyed_digest",
    "noted",
]

SHOWN = "<secret>"
"""What a secret looks like wherever it is printed."""

MARKS = "x-nexus-marks"
"""The key under which a JSON Schema lists the marks of a field."""


class Mark(Enum):
    """Name the meanings that a field can be marked with in ``Annotated[…]``."""

    RESTART_REQUIRED = "restart_required"
    UNIQUE = "unique"

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Have a marked field's JSON Schema name the mark (pydantic's hook)."""
        return noted(handler(schema), self.value)


RestartRequired: Final = Mark.RESTART_REQUIRED
"""A change of this field needs a restart, whatever its section needs."""

Unique: Final = Mark.UNIQUE
"""No two entries of the section have the same value here; secrets are compared by digest."""


@dataclass(frozen=True, slots=True)
class References:
    """Mark a field that names an entry of another section, or a list of such names; None names nothing."""

    section: str

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Have a marked field's JSON Schema name the section (pydantic's hook)."""
        return noted(handler(schema), f"references:{self.section}")


@dataclass(frozen=True, slots=True)
class Widening:
    """Mark a field of which more gives more rights: ``Annotated[int, Widens]``.

    More is a greater number, a longer list or one that names anything new, true instead of false, any other text but
    the empty one. ``Widens(times=10)`` counts a number only where it grows at least tenfold in one change,
    ``Widens(less=True)`` calls less of it wider (a list of what is forbidden), ``Widens(empty_is_all=True)`` says that
    0 or an empty list means no limit, and ``Widens(order=("low", "high"))`` orders texts.
    """

    wide: Wide = field(default_factory=Wide)

    def __call__(
        self, *, times: float = 1.0, less: bool = False, empty_is_all: bool = False, order: tuple[str, ...] = ()
    ) -> Widening:
        """Return a mark with a rule of its own."""
        return Widening(Wide(times, less, empty_is_all, order))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Have a marked field's JSON Schema name the mark (pydantic's hook)."""
        return noted(handler(schema), "narrows" if self.wide.less else "widens")


Widens: Final = Widening()
"""More of this field gives more rights; called, it says more precisely what more is."""


def noted(schema: dict[str, Any], mark: str) -> dict[str, Any]:
    """Return the JSON Schema of a field with one mark more."""
    return {**schema, MARKS: [*schema.get(MARKS, ()), mark]}


def keyed_digest(pepper: bytes, presented: str) -> str:
    """Return the hex HMAC-SHA256 of a value under the pepper: what stands for a secret wherever it is written."""
    return hmac.digest(pepper, presented.encode("utf-8", "surrogateescape"), "sha256").hex()


class Secret:
    """Hold a secret: where it comes from, its keyed digest, and its value where that has traveled.

    Frozen; equal by digest; shown as ``<secret>`` everywhere. Its stored form is ``{"digest": …, "ref": …}``.
    """

    __slots__ = ("_digest", "_ref", "_value")

    _digest: str
    _ref: str | None
    _value: str | None

    def __init__(self, ref: str | None, digest: str, value: str | None = None) -> None:
        for name, part in (("_ref", ref), ("_digest", digest), ("_value", value)):
            object.__setattr__(self, name, part)

    @classmethod
    def literal(cls, value: str, pepper: bytes = b"") -> Self:
        """Make a secret from its value, for instance in a unit test."""
        return cls(None, keyed_digest(pepper, value), value)

    @property
    def ref(self) -> str | None:
        """Return ``env:…`` or ``file:…`` as it was written, or None for a literal."""
        return self._ref

    @property
    def digest(self) -> str:
        """Return the hex HMAC-SHA256 of the value under the pepper."""
        return self._digest

    def reveal(self) -> str:
        """Return the value; raise NexusError in a process that it did not travel to."""
        if self._value is None:
            message = "the value of this secret did not travel to this process; only its digest can be used here"
            raise NexusError(message)
        return self._value

    @classmethod
    def travels(cls) -> bool:
        """Say whether workers are given the value."""
        return True

    def stored(self) -> dict[str, str | None]:
        """Return the form that is written and signed; it holds no value."""
        return {"digest": self._digest, "ref": self._ref}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._digest, other._digest)

    def __hash__(self) -> int:
        return hash(self._digest)

    def __repr__(self) -> str:
        return SHOWN

    __str__ = __repr__

    def __setattr__(self, name: str, value: object) -> NoReturn:
        message = f"a secret is frozen: {name} can't be set"
        raise AttributeError(message)

    def __delattr__(self, name: str) -> NoReturn:
        message = f"a secret is frozen: {name} can't be deleted"
        raise AttributeError(message)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _: object) -> Self:
        return self

    def __reduce_ex__(self, _: object) -> NoReturn:
        message = "a secret can't be pickled"
        raise TypeError(message)

    @classmethod
    def __get_pydantic_core_schema__(cls, _: Any, __: GetCoreSchemaHandler) -> CoreSchema:
        """Tell pydantic how to validate and write a field of this type (pydantic's hook; imported only here)."""
        from nexus_supervisor.models.schema import secret_schema

        return secret_schema(cls)


class HashedSecret(Secret):
    """Hold a secret whose value never travels to workers: they look it up by its digest only."""

    __slots__ = ()

    @classmethod
    def travels(cls) -> bool:
        """Say that workers are never given the value."""
        return False
