"""Models of entries: from ``module:Class`` to something that compiles documents and builds instances.

Decided here: how strictly a document is judged, what its canonical form is, and that this form is proved to build the
same instance again. Not decided here: which section has which model (``core/settings.py``), and where secrets come from
(``secrets.py``).

Strict means: no coercion (pydantic's strict mode on JSON), and no unknown keys at any depth, whatever the model says,
unless it says ``extra="allow"``. The canonical form is the instance written out with its defaults, secrets in their
stored form, so that comments and spelled-out defaults change nothing.
"""

from __future__ import annotations

import dataclasses
import hashlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from nexus_supervisor.core import canonical
from nexus_supervisor.models.facts import NO_FACTS, Facts
from nexus_supervisor.models.importing import LoadError, imported
from nexus_supervisor.models.mistakes import Mistake, ModelMistakesError
from nexus_supervisor.models.secrets import Known, Resolution, SecretSource, Stored

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import ParamSpec, TypeVar

    from nexus_supervisor.core.changes import Pattern
    from nexus_supervisor.core.widening import WideField
    from nexus_supervisor.models.secrets import Origins

    P = ParamSpec("P")
    T = TypeVar("T")

__all__ = ["Compiled", "EntryModel", "PlainModel", "digest_of", "hold_model", "load_model"]


@dataclass(frozen=True, slots=True)
class Compiled:
    """Hold a compiled document: canonical JSON, the secrets that travel (digest to value), names and files used.

    ``written`` is the digest of the document as it was written (``digest_of``).
    """

    body: bytes
    facts: Facts
    written: bytes
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    environment: frozenset[str] = frozenset()
    files: Mapping[str, tuple[int, int, int, int] | None] = field(default_factory=dict)


class EntryModel(Protocol):
    """Compile the documents of one section, and build their instances."""

    def compile(self, document: dict[str, Any], origins: Origins) -> Compiled:
        """Judge a document; raise ModelMistakesError with every mistake."""

    def build(self, body: bytes, secrets: Mapping[str, str]) -> Any:
        """Return the instance that canonical bytes stand for, frozen; raise ModelMistakesError."""

    def examine(self, body: bytes, source: SecretSource) -> Facts:
        """Return what cross-checks need to know about canonical bytes; ``source`` sees every secret in them.

        Raise ModelMistakesError where the model refuses them.
        """

    def restated(self, body: bytes, secrets: Mapping[str, str]) -> bytes:
        """Return the canonical form of bytes that were put together; raise ModelMistakesError where they don't fit."""

    def targets(self) -> frozenset[str]:
        """Return the sections that entries of this model may refer to."""

    def restart_required(self) -> tuple[Pattern, ...]:
        """Return where in canonical bytes the fields are whose change needs a restart."""

    def widens(self) -> tuple[WideField, ...]:
        """Return where in canonical bytes the fields are of which more gives more rights."""

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of a document as people write it."""


class PlainModel:
    """Take any document as it is: for sections without a model."""

    def compile(self, document: dict[str, Any], _origins: Origins) -> Compiled:
        """Return the document's canonical form."""
        body = canonical.encode(document)
        return Compiled(body, NO_FACTS, _digest(body))

    def build(self, body: bytes, _secrets: Mapping[str, str]) -> Any:
        """Return the document as a read-only mapping."""
        from nexus_supervisor.core.freezing import frozen

        return frozen(canonical.decode(body))

    def examine(self, _body: bytes, _source: SecretSource) -> Facts:
        """Return no facts: a plain document claims and refers to nothing."""
        return NO_FACTS

    def restated(self, body: bytes, _secrets: Mapping[str, str]) -> bytes:
        """Return the bytes as they are."""
        return body

    def targets(self) -> frozenset[str]:
        """Return nothing: a plain document refers to nothing."""
        return frozenset()

    def restart_required(self) -> tuple[Pattern, ...]:
        """Return nothing: a plain document has no marks."""
        return ()

    def widens(self) -> tuple[WideField, ...]:
        """Return nothing: a plain document has no marks."""
        return ()

    def schema(self) -> dict[str, Any]:
        """Return the schema that takes any table."""
        return {"type": "object", "additionalProperties": True}


class ClassModel:
    """Judge and build by a pydantic model or a dataclass."""

    def __init__(self, cls: type) -> None:
        from nexus_supervisor.models.marked import MarkedFields
        from nexus_supervisor.models.restart_fields import restart_fields
        from nexus_supervisor.models.strict import StrictAdapter
        from nexus_supervisor.models.wide_fields import wide_fields

        self._name = f"{cls.__module__}:{cls.__qualname__}"
        self._adapter = StrictAdapter(cls)
        self._marked = MarkedFields(cls)
        self._restart_required = restart_fields(cls)
        self._widens = wide_fields(cls)

    def compile(self, document: dict[str, Any], origins: Origins) -> Compiled:
        """Judge a document; raise ModelMistakesError with every mistake.

        What was judged is built again from its canonical form, so that every worker meets what was judged here.
        """
        resolution = Resolution(origins)
        raw = canonical.encode(document)
        try:
            body, facts = self._blaming(self._compiled, document, raw, resolution)
        except ModelMistakesError as refused:
            refused.files = resolution.files
            raise
        return Compiled(
            body,
            facts,
            _digest(raw),
            resolution.traveling,
            frozenset(resolution.environment),
            resolution.files,
        )

    def build(self, body: bytes, secrets: Mapping[str, str]) -> Any:
        """Return the instance that canonical bytes stand for, frozen; raise ModelMistakesError."""
        from nexus_supervisor.core.freezing import frozen

        return frozen(self._adapter.read(body, Stored(secrets)))

    def examine(self, body: bytes, source: SecretSource) -> Facts:
        """Return what cross-checks need to know about canonical bytes; ``source`` sees every secret in them."""
        return self._blaming(lambda: self._marked.facts(self._adapter.read(body, source)))

    def restated(self, body: bytes, secrets: Mapping[str, str]) -> bytes:
        """Return the canonical form of bytes that were put together; raise ModelMistakesError where they don't fit."""
        return self._blaming(self._restated, body, Known(secrets))

    def targets(self) -> frozenset[str]:
        """Return the sections that entries of this model may refer to."""
        return self._marked.targets

    def restart_required(self) -> tuple[Pattern, ...]:
        """Return where in canonical bytes the fields are whose change needs a restart."""
        return self._restart_required

    def widens(self) -> tuple[WideField, ...]:
        """Return where in canonical bytes the fields are of which more gives more rights."""
        return self._widens

    def _compiled(self, document: dict[str, Any], raw: bytes, resolution: Resolution) -> tuple[bytes, Facts]:
        instance = self._adapter.judge(document, raw, resolution, resolution.redacted)
        body = self._adapter.write(instance)
        self._adapter.prove(instance, body, Stored(resolution.traveling))
        return body, self._marked.facts(instance)

    def _restated(self, body: bytes, source: Known) -> bytes:
        instance = self._adapter.read(body, source, source.redacted)
        again = self._adapter.write(instance)
        self._adapter.prove(instance, again, source)
        return again

    def _blaming(self, judge: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """Call what runs code of the model; whatever that raises becomes a mistake that holds nothing of the entry."""
        try:
            return judge(*arguments, **named)
        except ModelMistakesError:
            raise
        except BaseException as error:
            message = f"the model {self._name} raised {type(error).__name__} on this: a mistake in the model"
            raise ModelMistakesError([Mistake((), "internal", message)]) from error

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of a document as people write it."""
        return self._adapter.schema()


def digest_of(document: dict[str, Any]) -> bytes:
    """Return the digest of a document as it was written: the same one compiles to the same, while its secrets are."""
    return _digest(canonical.encode(document))


def _digest(raw: bytes) -> bytes:
    return hashlib.sha256(raw).digest()


_held: dict[str, EntryModel] = {}


def hold_model(path: str) -> None:
    """Load a model for good: in this process, and those forked from it, it is not made again."""
    _held[path] = load_model(path)


def load_model(path: str) -> EntryModel:
    """Load the model ``module:Class``; ``""`` takes plain documents. Raise LoadError with a sentence that says why."""
    if path in _held:
        return _held[path]
    if not path:
        return PlainModel()
    module_name, _, class_name = path.partition(":")
    if not module_name or not class_name.isidentifier():
        message = f'expected a model as "module:Class", found {path!r}'
        raise LoadError(message)
    known = module_name in sys.modules
    try:
        return ClassModel(_model_class(path, imported(f"the model {path!r}", module_name), class_name))
    except LoadError:
        if not known:
            sys.modules.pop(module_name, None)  # so that a mended file is imported again
        raise
    except Exception as error:
        message = f"the model {path!r} can't be used: {type(error).__name__} while its schema was made"
        raise LoadError(message) from error


def _model_class(path: str, module: Any, class_name: str) -> type:
    found = getattr(module, class_name, None)
    if found is None:
        message = f"the model {path!r} can't be loaded: module {module.__name__} has no {class_name}"
        raise LoadError(message)
    if not (isinstance(found, type) and (dataclasses.is_dataclass(found) or hasattr(found, "model_fields"))):
        message = f"the model {path!r} can't be used: expected a pydantic model or a dataclass"
        raise LoadError(message)
    return found
