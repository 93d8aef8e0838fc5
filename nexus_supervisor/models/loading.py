"""Models of entries: from ``module:Class`` to something that compiles documents and builds instances.

Decided here: how strictly a document is judged, what its canonical form is, and that this form builds the same instance
again. Not decided here: which section has which model (``core/settings.py``), and where secrets come from
(``secrets.py``).

Strict means: no coercion (pydantic's strict mode on JSON), and no unknown keys at any depth, whatever the model says,
unless it says ``extra="allow"``. The canonical form is the instance written out with its defaults, secrets in their
stored form, so that comments and spelled-out defaults change nothing.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from nexus_supervisor.core import canonical
from nexus_supervisor.models.facts import NO_FACTS, Facts
from nexus_supervisor.models.importing import LoadError, imported
from nexus_supervisor.models.secrets import Resolution, SecretSource, Stored, Unresolved

if TYPE_CHECKING:
    from nexus_supervisor.models.secrets import Origins

__all__ = ["UNRESOLVED", "Compiled", "EntryModel", "PlainModel", "load_model"]


@dataclass(frozen=True, slots=True)
class Compiled:
    """Hold a compiled document: canonical JSON, the secrets that travel (digest to value), names and files used."""

    body: bytes
    facts: Facts
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
        """Return what cross-checks need to know about canonical bytes; ``source`` sees every secret in them."""

    def targets(self) -> frozenset[str]:
        """Return the sections that entries of this model may refer to."""


class PlainModel:
    """Take any document as it is: for sections without a model."""

    def compile(self, document: dict[str, Any], _origins: Origins) -> Compiled:
        """Return the document's canonical form."""
        return Compiled(canonical.encode(document), NO_FACTS)

    def build(self, body: bytes, _secrets: Mapping[str, str]) -> Any:
        """Return the document as a read-only mapping."""
        from nexus_supervisor.core.freezing import frozen

        return frozen(canonical.decode(body))

    def examine(self, _body: bytes, _source: SecretSource) -> Facts:
        """Return no facts: a plain document claims and refers to nothing."""
        return NO_FACTS

    def targets(self) -> frozenset[str]:
        """Return nothing: a plain document refers to nothing."""
        return frozenset()


class ClassModel:
    """Judge and build by a pydantic model or a dataclass."""

    def __init__(self, cls: type) -> None:
        from nexus_supervisor.models.marked import MarkedFields
        from nexus_supervisor.models.strict import StrictAdapter

        self._adapter = StrictAdapter(cls)
        self._marked = MarkedFields(cls)

    def compile(self, document: dict[str, Any], origins: Origins) -> Compiled:
        """Judge a document; raise ModelMistakesError with every mistake.

        What was judged is built again from its canonical form, so that no worker meets a form that its model refuses.
        """
        resolution = Resolution(origins)
        instance = self._adapter.judge(document, resolution, resolution.redacted)
        body = self._adapter.write(instance)
        self._adapter.read(body, Stored(resolution.traveling))
        return Compiled(
            body,
            self._marked.facts(instance),
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
        return self._marked.facts(self._adapter.read(body, source))

    def targets(self) -> frozenset[str]:
        """Return the sections that entries of this model may refer to."""
        return self._marked.targets


UNRESOLVED: SecretSource = Unresolved()
"""The source for looking at stored entries without their secrets."""


def load_model(path: str) -> EntryModel:
    """Load the model ``module:Class``; ``""`` takes plain documents. Raise LoadError with a sentence that says why."""
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
