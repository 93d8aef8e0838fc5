"""Secrets as pydantic sees them: the one place where a secret field is validated and written.

Decided here: that validation asks its context for the secret, and that no error shows what was written. Not decided
here: where the value comes from (``secrets.py``). Importing this brings pydantic.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic_core import PydanticCustomError, core_schema

from nexus_supervisor.models.marks import noted
from nexus_supervisor.models.secrets import Literals, SecretMistakeError

if TYPE_CHECKING:
    from nexus_supervisor.models.marks import Secret
    from nexus_supervisor.models.secrets import SecretSource

__all__ = ["SECRET_ERROR", "secret_schema"]

SECRET_ERROR = "secret"  # noqa: S105 - the code of an error
_WITHOUT_CONTEXT = Literals()


def secret_schema(cls: type[Secret]) -> core_schema.CoreSchema:
    """Return the schema of a field of this class of secrets."""
    described = noted({"type": "string", "minLength": 1, "writeOnly": True}, "secret" if cls.travels() else "hashed")

    def validate(written: Any, info: core_schema.ValidationInfo) -> Secret:
        if isinstance(written, cls):
            return written
        context: Any = info.context
        source: SecretSource = context if hasattr(context, "secret") else _WITHOUT_CONTEXT
        try:
            return source.secret(cls, written)
        except SecretMistakeError as mistake:
            raise PydanticCustomError(SECRET_ERROR, "{message}", {"message": str(mistake)}) from None

    return core_schema.with_info_plain_validator_function(
        validate,
        serialization=core_schema.plain_serializer_function_ser_schema(_stored, return_schema=core_schema.any_schema()),
        metadata={"pydantic_js_functions": [lambda _schema, _handler: {**described}]},
    )


def _stored(secret: Secret) -> dict[str, str | None]:
    return secret.stored()
