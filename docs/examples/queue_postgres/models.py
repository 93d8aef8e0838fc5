"""What knobs/mail.toml and database/main.toml may say."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field, ValidationInfo, field_validator

from nexus_supervisor import Secret


class Mail(BaseModel):
    """How mail is written, and how the queue is worked off; times in seconds."""

    greeting: Annotated[str, Field(pattern=r"\{name\}")]
    closing: str
    batch: Annotated[int, Field(ge=1, le=100)] = 5
    seconds_per_mail: Annotated[float, Field(ge=0, le=60)] = 0.0
    max_attempts: Annotated[int, Field(ge=1, le=20)] = 3
    retry_seconds: Annotated[float, Field(ge=0, le=3_600)] = 10.0
    lease_seconds: Annotated[float, Field(ge=1, le=86_400, validate_default=True)] = 60.0

    @field_validator("lease_seconds")
    @classmethod
    def _outlasts_the_work(cls, lease: float, info: ValidationInfo) -> float:
        """Refuse a lease that ends while its worker is still at work: the jobs would be done twice."""
        needed = info.data.get("batch", 0) * info.data.get("seconds_per_mail", 0.0)
        if needed >= lease:
            message = f"expected more than batch * seconds_per_mail, which is {needed:g}, found {lease:g}"
            raise ValueError(message)
        return lease


class Database(BaseModel):
    """Where the queue is. The dsn holds a password: it is shown nowhere, and versions hold a digest of it.

    ``connect_seconds`` is how long a version waits for the database before it is refused: less than a worker may take
    to get ready for it (``stage_timeout_seconds``).
    """

    dsn: Secret
    connect_seconds: Annotated[int, Field(ge=2, le=8)] = 3
