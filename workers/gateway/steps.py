"""Steps: what ``[source.transform]`` may do to a field.

Decided here: which steps there are, how each is written, and what is said about one that is written wrongly. Not
decided here: what a step does (``transform.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidatorFunctionWrapHandler, WrapValidator
from pydantic_core import PydanticCustomError

from nexus_supervisor.core.spelling import suggestion

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Default", "Replace", "Step", "Steps", "Truncate"]

_MOST_STEPS = 16
_MOST_CHARACTERS = 1_000
_MOST_TRUNCATED = 1_000_000_000

Plain = Literal["strip", "collapse_spaces", "lower", "upper", "json", "drop"]
Text = Annotated[str, Field(max_length=_MOST_CHARACTERS)]


class _StepTable(BaseModel):
    """Be one step that says more than its name."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Truncate(_StepTable):
    """Keep so many characters of a text, from its beginning."""

    truncate: Annotated[int, Field(ge=1, le=_MOST_TRUNCATED)]


class Replace(_StepTable):
    """Replace one text by another wherever it occurs."""

    replace: Annotated[list[Text], Field(min_length=2, max_length=2)]


class Default(_StepTable):
    """Give a value to a field that is missing or null."""

    default: str | int | float | bool | list[Text]


def _is_limit(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _MOST_TRUNCATED


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= _MOST_CHARACTERS


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_text, value)) and value[0] != ""


def _is_plain_value(value: Any) -> bool:
    return _is_text(value) or isinstance(value, (int, float)) or (isinstance(value, list) and all(map(_is_text, value)))


_PLAIN: tuple[str, ...] = get_args(Plain)
_TABLES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "truncate": (_is_limit, "{ truncate = N } with a whole number of characters, at least 1"),
    "replace": (_is_pair, '{ replace = ["from", "to"] } with two texts, the first one not empty'),
    "default": (_is_plain_value, "{ default = VALUE } with a text, a number, true, false or a list of texts"),
}
"""By name of the step: whether its value is right, and how it is written."""


def _mistake(value: Any) -> str | None:
    """Return what is wrong with a step as people wrote it, or None; texts in it are not repeated, names are."""
    if isinstance(value, str):
        return None if value in _PLAIN else _unknown(value)
    if not isinstance(value, dict):
        return f"expected the name of a step or a table such as {{ truncate = 100 }}: {_known()}"
    if len(value) != 1:
        return f"expected a table with one key, the name of the step, found {len(value)} keys"
    [(name, argument)] = value.items()
    if name not in _TABLES:
        return _unknown(name)
    is_right, words = _TABLES[name]
    return None if is_right(argument) else f"expected {words}"


def _unknown(name: str) -> str:
    """Return what to write instead of a step that doesn't exist, or not in this form."""
    if name in _PLAIN:
        return f'expected "{name}", which takes no value, found a table'
    if name in _TABLES:
        return f"expected {_TABLES[name][1]}"
    meant = suggestion(name, [*_PLAIN, *_TABLES])
    hint = f"did you mean {meant}?" if meant else _known()
    return f"expected a known step, found {name[:64]!r}: {hint}"


def _known() -> str:
    return f"there are {', '.join([*_PLAIN, *_TABLES])}"


def _checked(value: Any, judge: ValidatorFunctionWrapHandler) -> Any:
    wrong = _mistake(value)
    if wrong is not None:
        raise PydanticCustomError("step", "{wrong}", {"wrong": wrong})  # noqa: EM101
    return judge(value)


def _in_order(value: tuple[Any, ...]) -> tuple[Any, ...]:
    if "drop" in value and len(value) > 1:
        message = '"drop" removes the field: expected no other step beside it'
        raise PydanticCustomError("steps", message)  # noqa: EM101
    return value


Step = Annotated[Plain | Truncate | Replace | Default, WrapValidator(_checked)]
Steps = Annotated[tuple[Step, ...], Field(min_length=1, max_length=_MOST_STEPS), AfterValidator(_in_order)]
"""Be what one field goes through, in order."""
