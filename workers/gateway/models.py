"""Source and destination: what people write in ``sources/*.toml`` and ``destinations/*.toml``.

Decided here: every field with its type, bounds and default, and which of them are only reserved. Not decided here:
how documents are validated (``nexus_supervisor.models``) and what the gateway does with them (its other files).

A field that no code reads yet exists with the default that means "nothing"; any other value is refused by name, so
that nobody believes in a protection that isn't there.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo
from pydantic_core import PydanticCustomError

from nexus_supervisor.models.marks import HashedSecret, References, Secret, Unique, Widens

from .mapping import check_path
from .steps import Steps

__all__ = ["Destination", "Source"]

T = TypeVar("T")

_NO_NUL = r"^[^\x00]*$"
"""Databases of some kinds can't store it."""

_MAX_BODY_BYTES = 256 * 1024 * 1024
_MAX_REQUESTS_PER_MINUTE = 100_000_000
_MAX_BYTES_PER_SECOND = 1 << 31
_MAX_RESULTS = 1_000
_MAX_RESPONSE_BYTES = 64 * 1024 * 1024
_MAX_WINDOW_SECONDS = 31_536_000
_CLASSES = ("public", "internal", "confidential", "restricted")


def _reserved(value: T, info: ValidationInfo) -> T:
    """Refuse every value of a reserved field but the ones that mean nothing."""
    if value:
        message = "{key} is not supported yet: remove it"
        raise PydanticCustomError("not_supported", message, {"key": info.field_name or "this key"})  # noqa: EM101
    return value


def _path(value: str) -> str:
    wrong = check_path(value)
    if wrong is not None:
        raise PydanticCustomError("dot_path", "{wrong}", {"wrong": wrong})  # noqa: EM101
    return value


def _namespace(value: str, info: ValidationInfo) -> str:
    """Give a source without a namespace its own name as one; a name that was refused is no longer there."""
    return value or str(info.data.get("name", ""))


Limit = Widens(times=10)
"""Mark a limit: one that grows tenfold gives more rights."""

OpenLimit = Widens(times=10, empty_is_all=True)
"""Mark a limit of which 0 is none."""

Allowed = Widens(empty_is_all=True)
"""Mark what is allowed; naming nothing allows all."""

Forbidden = Widens(less=True)
"""Mark what keeps something back."""

Later = AfterValidator(_reserved)
"""Mark a field that is reserved for a later version."""

Name = Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,64}$")]
Word = Annotated[str, Field(min_length=1, max_length=256, pattern=_NO_NUL)]
Tier = Annotated[int, Field(ge=0, le=3)]
Classification = Literal["", "public", "internal", "confidential", "restricted"]
Words = Annotated[tuple[Word, ...], Field(max_length=1_000)]
Path = Annotated[str, Field(min_length=1, max_length=1_024), AfterValidator(_path)]
Count = Annotated[int, Field(ge=0, le=1_000_000_000)]
Share = Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)]


class _Table(BaseModel):
    """Be one table of a file: strict, closed, unchanging."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class RateLimit(_Table):
    """Bound what a source sends, over all workers together; 0 is no limit."""

    requests_per_minute: Annotated[int, Field(ge=0, le=_MAX_REQUESTS_PER_MINUTE), OpenLimit] = 2000
    bytes_per_second: Annotated[int, Field(ge=0, le=_MAX_BYTES_PER_SECOND), OpenLimit] = 0


class PayloadLimits(_Table):
    """Bound one request."""

    max_bytes: Annotated[int, Field(ge=1, le=_MAX_BODY_BYTES), Limit] = 10 * 1024 * 1024


class Idempotency(_Table):
    """Recognize a repeated request by its ``Idempotency-Key``."""

    enabled: bool = False
    dedup_window_seconds: Annotated[int, Field(ge=1, le=_MAX_WINDOW_SECONDS)] = 300


class FieldVisibility(_Table):
    """Choose what a query shows: these fields of a body (none: all), and whether anything beside the body."""

    include_fields: Annotated[Words, Allowed] = ()
    strip_metadata: Annotated[bool, Forbidden] = False


class Cache(_Table):
    """Answer queries from a cache; reserved."""

    read_from_cache: Annotated[bool, Later] = False
    write_to_cache: Annotated[bool, Later] = False
    max_ttl_seconds: Annotated[Count, Later] = 0
    semantic_similarity_threshold: Annotated[Share, Later] = 0.0


class Decay(_Table):
    """Weigh memories by age; reserved."""

    half_life_days: Annotated[Share, Later] = 0.0
    decay_mode: Annotated[Annotated[str, Field(max_length=256)], Later] = ""
    step_threshold_days: Annotated[Share, Later] = 0.0


class DestinationDecay(Decay):
    """Weigh the memories of a destination by age, by collection where one is named; reserved."""

    collections: Annotated[dict[Word, Decay], Field(max_length=1_000)] = Field(default_factory=dict)


def _default_classification(value: str, info: ValidationInfo) -> str:
    if value and not info.data.get("max_classification_tier"):
        message = "this means nothing without max_classification_tier: write that, too, or remove this"
        raise PydanticCustomError("meaningless", message)  # noqa: EM101
    return value


def _cross_namespace(value: bool, info: ValidationInfo) -> bool:  # noqa: FBT001 - pydantic calls it
    if value and info.data.get("visible_namespaces"):
        message = "with this, every namespace is visible: remove this or visible_namespaces"
        raise PydanticCustomError("meaningless", message)  # noqa: EM101
    return value


class RetrievalFirewall(_Table):
    """Keep records out of queries: by label, by classification, and by namespace."""

    blocked_labels: Annotated[Words, Forbidden] = ()
    required_labels: Annotated[Words, Forbidden] = ()
    max_classification_tier: Annotated[Classification, Widens(order=_CLASSES, empty_is_all=True)] = ""
    default_classification_tier: Annotated[Classification, AfterValidator(_default_classification)] = ""
    visible_namespaces: Annotated[Words, Widens] = ()
    cross_namespace_read: Annotated[bool, AfterValidator(_cross_namespace), Widens] = False


class Policy(_Table):
    """Say what a source may do; an empty list allows all."""

    allowed_destinations: Annotated[tuple[str, ...], References("destinations"), Field(max_length=1_000), Allowed] = ()
    allowed_operations: Annotated[tuple[Literal["read", "write", "search"], ...], Field(max_length=3), Allowed] = ()
    allowed_retrieval_modes: Annotated[tuple[Literal["recent", "search"], ...], Field(max_length=2), Allowed] = ()
    allowed_profiles: Annotated[Words, Allowed] = ()
    max_results: Annotated[int, Field(ge=1, le=_MAX_RESULTS), Limit] = 50
    max_response_bytes: Annotated[int, Field(ge=1_024, le=_MAX_RESPONSE_BYTES), Limit] = 1024 * 1024
    field_visibility: FieldVisibility = FieldVisibility()
    cache: Cache = Cache()
    decay: Decay = Decay()
    retrieval_firewall: RetrievalFirewall = RetrievalFirewall()


class Signing(_Table):
    """Sign what a source sends; reserved."""

    mode: Annotated[Annotated[str, Field(max_length=256)], Later] = ""


class Source(_Table):
    """Describe one client of the gateway: its key, what it may do, and how its bodies become records."""

    name: Name
    api_key: Annotated[HashedSecret, Unique]
    namespace: Annotated[
        str, Field(max_length=256, pattern=_NO_NUL, validate_default=True), AfterValidator(_namespace)
    ] = ""
    can_read: Annotated[bool, Widens] = False
    can_write: Annotated[bool, Widens] = False
    target_destination: Annotated[str | None, References("destinations")] = None
    default_actor_type: Word = "user"
    default_actor_id: Annotated[str, Field(max_length=256, pattern=_NO_NUL)] = ""
    default_profile: Word = "balanced"
    tier: Annotated[Tier, Widens] = 3
    default_write_tier: Tier = 1
    rate_limit: RateLimit = RateLimit()
    payload_limits: PayloadLimits = PayloadLimits()
    mapping: Annotated[dict[Word, Path], Field(max_length=256)] = Field(default_factory=dict)
    transform: Annotated[dict[Word, Steps], Field(max_length=256)] = Field(default_factory=dict)
    idempotency: Idempotency = Idempotency()
    policy: Policy = Policy()
    signing: Signing = Signing()


def _type_of_destination(value: str) -> str:
    if value == "postgres" and find_spec("psycopg_pool") is None:
        message = 'this needs psycopg, which is not installed: pip install "nexus-supervisor[postgres]"'
        raise PydanticCustomError("not_installed", message)  # noqa: EM101
    return value


def _db_path(value: str, info: ValidationInfo) -> str:
    if not value and info.data.get("type") == "sqlite":
        message = "expected the path of a file, relative to the directory of daemon.toml, found nothing"
        raise PydanticCustomError("missing", message)  # noqa: EM101
    return value


def _dsn(value: Secret | None, info: ValidationInfo) -> Secret | None:
    if value is None or info.data.get("type") != "postgres":
        return value
    from .postgres_dsn import mistake_in

    if (mistake := mistake_in(value)) is not None:
        raise PydanticCustomError("dsn", "{mistake}", {"mistake": mistake})  # noqa: EM101
    return value


def _connection(value: Secret | None, info: ValidationInfo) -> Secret | None:
    """Ask for one way to connect, in the last of the fields that may hold it."""
    if info.data.get("type") != "postgres" or "dsn" not in info.data or (value is None) != (info.data["dsn"] is None):
        return value  # a dsn that was refused is no longer there
    message = "expected either dsn or connection_string, found {found}"
    raise PydanticCustomError("connection", message, {"found": "none" if value is None else "both"})  # noqa: EM101


class Destination(_Table):
    """Describe one place that records go to; ``db_path`` is relative to DIR.

    A PostgreSQL destination has its address in ``dsn`` or in ``connection_string``, which mean the same, and at most
    ``pool_size`` connections in each worker.
    """

    name: Name
    type: Annotated[Literal["sqlite", "postgres"], AfterValidator(_type_of_destination)]
    db_path: Annotated[str, Field(max_length=4_096, validate_default=True), AfterValidator(_db_path)] = ""
    dsn: Annotated[Secret | None, AfterValidator(_dsn)] = None
    url: Annotated[Annotated[str, Field(max_length=4_096)], Later] = ""
    api_key: Secret | None = None
    pool_size: Annotated[int, Field(ge=1, le=64)] = 4
    connection_string: Annotated[
        Secret | None, Field(validate_default=True), AfterValidator(_connection), AfterValidator(_dsn)
    ] = None
    decay: DestinationDecay = DestinationDecay()
