"""Models: how strictly documents are judged, and that their canonical form builds the same instance again."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import json
import subprocess
import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    PrivateAttr,
    field_validator,
    model_validator,
)

from nexus_supervisor.core import canonical
from nexus_supervisor.models.importing import LoadError
from nexus_supervisor.models.loading import ClassModel, load_model
from nexus_supervisor.models.marks import HashedSecret, References, Secret, Unique, keyed_digest
from nexus_supervisor.models.mistakes import ModelMistakesError
from nexus_supervisor.models.secrets import Known, Origins

if TYPE_CHECKING:
    from collections.abc import Callable

ORIGINS = Origins(Path("/nowhere"), {"KEY": "from-outside"}, b"pepper")


class Color(Enum):
    RED = "red"
    BLUE = "blue"


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog"]
    tricks: list[str] = []


@dataclasses.dataclass
class Room:
    size: int
    doors: list[int] = dataclasses.field(default_factory=list)


class House(BaseModel):
    name: str
    floors: Annotated[int, Field(ge=1, le=3)] = 1
    open: bool = False
    area: float = 1.0
    color: Color = Color.RED
    tags: set[str] = set()
    rooms: list[Room] = []
    pet: Annotated[Cat | Dog, Field(discriminator="kind")] | None = None
    number: int | bool | None = None
    code: Annotated[str, Field(pattern="^[a-z]+$", max_length=5)] = "a"
    extras: dict[str, int] = {}


HOUSE = ClassModel(House)


def compiled(document: dict[str, Any], model: ClassModel = HOUSE) -> Any:
    return json.loads(model.compile(document, ORIGINS).body)


def mistakes(document: dict[str, Any], model: ClassModel = HOUSE) -> list[tuple[tuple[str | int, ...], str, str]]:
    with pytest.raises(ModelMistakesError) as caught:
        model.compile(document, ORIGINS)
    return [(one.path, one.code, one.message) for one in caught.value.mistakes]


def test_defaults_are_filled_in() -> None:
    assert compiled({"name": "x"})["floors"] == 1


def test_sets_have_one_order() -> None:
    tags = [f"tag-{number}" for number in range(50)]

    assert compiled({"name": "x", "tags": tags})["tags"] == sorted(tags)


@pytest.mark.parametrize(
    ("document", "path", "code", "message"),
    [
        ({}, ("name",), "missing", "expected a value, found none: write this key"),
        ({"name": 3}, ("name",), "type", "expected a text, found 3"),
        ({"name": "x", "floors": "2"}, ("floors",), "type", "expected a whole number, found a text in quotes"),
        ({"name": "x", "floors": 1.5}, ("floors",), "type", "expected a whole number, found 1.5"),
        ({"name": "x", "floors": True}, ("floors",), "type", "expected a whole number, found true"),
        ({"name": "x", "floors": 4}, ("floors",), "range", "expected at most 3, found 4"),
        ({"name": "x", "floors": 0}, ("floors",), "range", "expected at least 1, found 0"),
        ({"name": "x", "open": "yes"}, ("open",), "type", "expected true or false, found a text in quotes"),
        ({"name": "x", "open": 1}, ("open",), "type", "expected true or false, found 1"),
        ({"name": "x", "area": "1"}, ("area",), "type", "expected a number, found a text in quotes"),
        ({"name": "x", "color": "pink"}, ("color",), "value", "expected 'red' or 'blue', found 'pink'"),
        ({"name": "x", "tags": "a"}, ("tags",), "type", "expected an array, found a text in quotes"),
        ({"name": "x", "rooms": [{"size": 1}, {}]}, ("rooms", 1, "size"), "missing",
         "expected a value, found none: write this key"),
        ({"name": "x", "rooms": [{"size": 1, "doors": ["a"]}]}, ("rooms", 0, "doors", 0), "type",
         "expected a whole number, found a text in quotes"),
        ({"name": "x", "pet": {"kind": "cat", "lives": "9"}}, ("pet", "lives"), "type",
         "expected a whole number, found a text in quotes"),
        ({"name": "x", "pet": {}}, ("pet",), "missing",
         "expected the key 'kind', found none: it says what this table is"),
        ({"name": "x", "number": "1"}, ("number",), "type",
         "expected a whole number or true or false, found a text in quotes"),
        ({"name": "x", "code": "A"}, ("code",), "value", "expected a text that matches ^[a-z]+$"),
        ({"name": "x", "code": "abcdef"}, ("code",), "range", "expected at most 5 characters, found 6"),
        ({"name": "x", "flors": 1}, ("flors",), "unknown_key",
         "expected a known key, found an unknown one: did you mean floors?"),
        ({"name": "x", "rooms": [{"size": 1, "dors": []}]}, ("rooms", 0, "dors"), "unknown_key",
         "expected a known key, found an unknown one: did you mean doors?"),
        ({"name": "x", "pet": {"kind": "dog", "zzzzz": 1}}, ("pet", "zzzzz"), "unknown_key",
         "expected a known key, found an unknown one: remove it, or look for its right name"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)  # fmt: skip
def test_a_mistake_has_a_path_a_code_and_a_sentence(
    document: dict[str, Any], path: tuple[str | int, ...], code: str, message: str
) -> None:
    assert mistakes(document) == [(path, code, message)]


def test_every_mistake_is_told_at_once() -> None:
    found = mistakes({"floors": 9, "open": "x", "rooms": [{}, {"size": "1"}], "what": 1})

    assert [path for path, _, _ in found] == [
        ("name",),
        ("floors",),
        ("open",),
        ("rooms", 0, "size"),
        ("rooms", 1, "size"),
        ("what",),
    ]


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    inner: Cat | None = None


def test_a_model_that_allows_more_keys_may_but_those_inside_it_may_not() -> None:
    model = ClassModel(Open)

    assert compiled({"more": 1}, model)["more"] == 1
    assert mistakes({"inner": {"kind": "cat", "live": 1}}, model)[0][:2] == (("inner", "live"), "unknown_key")


class Named(BaseModel):
    inside: Annotated[int, Field(alias="out-side")] = 0


def test_people_write_aliases_and_content_has_names() -> None:
    model = ClassModel(Named)
    body = model.compile({"out-side": 3}, ORIGINS).body

    assert json.loads(body) == {"inside": 3}
    assert model.build(body, {}).inside == 3


class Checked(BaseModel):
    key: Secret
    text: str = ""

    @field_validator("text")
    @classmethod
    def _refuse(cls, value: str) -> str:
        message = f"never \x1b {value}"
        raise ValueError(message)


def test_the_text_of_a_validator_is_shown_without_secrets_and_control_characters() -> None:
    (mistake,) = mistakes({"key": "env:KEY", "text": "from-outside"}, ClassModel(Checked))

    assert mistake == (("text",), "value", "never \\u001b <secret>")


class Asserts(BaseModel):
    name: str = ""

    @field_validator("name")
    @classmethod
    def _refuse(cls, value: str) -> str:
        if value == "said":
            message = "not this one"
            raise AssertionError(message)
        if value == "mute":
            raise AssertionError
        if value == "empty":
            raise ValueError
        return value


@pytest.mark.parametrize(
    ("name", "message"),
    [("said", "not this one"), ("mute", "the model refuses this"), ("empty", "the model refuses this")],
)
def test_a_validator_speaks_for_itself(name: str, message: str) -> None:
    (mistake,) = mistakes({"name": name}, ClassModel(Asserts))

    assert mistake == (("name",), "value", message)


class Raises(BaseModel):
    name: str

    @field_validator("name")
    @classmethod
    def _raise(cls, value: str) -> str:
        raise KeyError(value)


class Revealing(BaseModel):
    key: Secret
    text: str

    @model_validator(mode="after")
    def _refuse(self) -> Self:
        message = f"never {self.key.reveal()}"
        raise ValueError(message)


class Grows(BaseModel):
    text: str

    @field_validator("text")
    @classmethod
    def _grow(cls, value: str) -> str:
        if len(value) > 1:
            message = "too long"
            raise ValueError(message)
        return value + value


class Doubles(BaseModel):
    amount: Annotated[int, AfterValidator(lambda value: value * 2)] = 1
    other: int = 0


class Forgets(BaseModel):
    hidden: Annotated[int, Field(exclude=True)] = 0
    needed: Annotated[int, Field(exclude=True, alias="need-ed")]


class Loses(BaseModel):
    moment: Annotated[str, PlainSerializer(lambda value: value[:4])]
    more: dict[str, Annotated[float, PlainSerializer(round, return_type=float)]] = {}


@dataclasses.dataclass
class Counted:
    rooms: list[Doubles] = dataclasses.field(default_factory=list)


class Token:
    """Compares by identity, as objects do by themselves."""

    def __init__(self, text: str) -> None:
        self.text = text


class Tokens(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    token: Annotated[Token, PlainValidator(Token), PlainSerializer(lambda token: token.text, return_type=str)]


TICKS = itertools.count()


class Restless(BaseModel):
    text: Annotated[str, PlainSerializer(lambda value: f"{value[0]}{next(TICKS)}")]


class Patient(BaseModel):
    """Holds what doesn't compare equal beside its fields: that is no difference."""

    name: str
    _lock: object = PrivateAttr(default_factory=object)


@dataclasses.dataclass(eq=False)
class Same:
    name: str
    tags: frozenset[str] = frozenset()


@pytest.mark.parametrize(
    ("cls", "document", "places"),
    [
        (Grows, {"text": "a"}, [("text",)]),
        (Doubles, {"amount": 3}, [("amount",)]),
        (Doubles, {"amount": 0}, []),
        (Forgets, {"hidden": 1, "need-ed": 1}, [("needed",)]),
        (Loses, {"moment": "2026-01-02"}, [("moment",)]),
        (Loses, {"moment": "2026", "more": {"a": 1.0, "b": 1.5}}, [("more", "b")]),
        (Counted, {"rooms": [{"amount": 0}, {"amount": 4}]}, [("rooms", 1, "amount")]),
        (Tokens, {"token": "x"}, [("token",)]),
        (Restless, {"text": "x"}, [("text",)]),
        (Patient, {"name": "x"}, []),
        (Same, {"name": "x", "tags": ["b", "a", "c"]}, []),
        (Open, {"more": {"z": 1, "a": [1, {"c": 2, "b": 1}]}}, []),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_what_is_read_back_as_something_else_is_found_by_the_compiler_not_by_a_worker(
    cls: type, document: dict[str, Any], places: list[tuple[str | int, ...]]
) -> None:
    if not places:
        ClassModel(cls).compile(document, ORIGINS)
        return

    found = mistakes(document, ClassModel(cls))

    assert [path for path, _, _ in found] == places
    assert {code for _, code, _ in found} == {"internal"}
    assert found[0][2].startswith("written and read back, this is not what it was, so workers would see something else")


def test_a_model_that_raises_anything_is_named_and_quotes_nothing() -> None:
    (mistake,) = mistakes({"name": "a-secret"}, ClassModel(Raises))

    assert mistake == ((), "internal", f"the model {__name__}:Raises raised KeyError on this: a mistake in the model")


def test_bytes_that_were_put_together_are_judged_and_written_again() -> None:
    model = ClassModel(House)
    body = model.compile({"name": "x", "tags": ["b", "a"]}, ORIGINS).body

    assert model.restated(body, {}) == body
    assert model.restated(b'{"name":"x","tags":["b","a"]}', {}) == body
    with pytest.raises(ModelMistakesError, match="expected at most 3, found 4"):
        model.restated(b'{"name":"x","floors":4}', {})


def test_the_validator_of_bytes_that_were_put_together_is_quoted_without_known_secrets() -> None:
    digest = keyed_digest(b"pepper", "from-outside")
    body = canonical.encode({"key": {"digest": digest, "ref": None}, "text": "from-outside"})

    with pytest.raises(ModelMistakesError, match=r"never <secret>$"):
        ClassModel(Revealing).restated(body, {digest: "from-outside"})
    with pytest.raises(ModelMistakesError, match="raised NexusError"):
        ClassModel(Revealing).restated(body, {})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
FIELDS = st.sampled_from([*House.model_fields, "key", "inner", "size"])


@given(st.dictionaries(FIELDS, JSON, max_size=6))
def test_any_document_is_compiled_to_what_builds_itself_or_refused_in_words(document: dict[str, Any]) -> None:
    try:
        body = HOUSE.compile(document, ORIGINS).body
    except ModelMistakesError as refused:
        found = refused.mistakes
        assert found
        assert all(one.message for one in found)
    else:
        assert HOUSE.compile(canonical.decode(body), ORIGINS).body == body
        assert HOUSE.build(body, {}).name == document["name"]


class Source(BaseModel):
    name: str
    key: Annotated[HashedSecret, Unique]
    dsn: Secret | None = None
    to: Annotated[str | None, References("targets")] = None
    also: Annotated[list[str], References("targets")] = []
    more: dict[str, Annotated[str, References("others")]] = {}
    inner: list[Source] = []


def test_claims_and_references_are_found_at_any_depth() -> None:
    document = {
        "name": "x",
        "key": "env:KEY",
        "to": "a",
        "also": ["b", "c"],
        "more": {"m": "d"},
        "inner": [{"name": "y", "key": "k", "to": "e"}],
    }
    model = ClassModel(Source)
    compiled = model.compile(document, ORIGINS)

    assert [(one.path, one.section, one.name) for one in compiled.facts.references] == [
        (("to",), "targets", "a"),
        (("also", 0), "targets", "b"),
        (("also", 1), "targets", "c"),
        (("more", "m"), "others", "d"),
        (("inner", 0, "to"), "targets", "e"),
    ]
    assert [one.path for one in compiled.facts.claims] == [("key",), ("inner", 0, "key")]
    assert model.targets() == {"targets", "others"}
    assert model.examine(compiled.body, Known({})) == compiled.facts


def test_secrets_are_stored_by_reference_and_digest_and_only_some_travel() -> None:
    compiled = ClassModel(Source).compile({"name": "x", "key": "env:KEY", "dsn": "literal"}, ORIGINS)
    stored = json.loads(compiled.body)

    assert stored["key"] == {"digest": stored["key"]["digest"], "ref": "env:KEY"}
    assert compiled.secrets == {stored["dsn"]["digest"]: "literal"}
    assert compiled.environment == {"KEY"}
    assert "literal" not in repr(compiled)

    built = ClassModel(Source).build(compiled.body, compiled.secrets)
    assert built.dsn.reveal() == "literal"


def test_a_built_instance_is_frozen_all_the_way_down() -> None:
    body = HOUSE.compile({"name": "x", "rooms": [{"size": 1, "doors": [1]}], "extras": {"a": 1}}, ORIGINS).body
    house = HOUSE.build(body, {})

    assert isinstance(house, House)
    assert isinstance(house.rooms, list)
    changes: tuple[Callable[[], None], ...] = (
        lambda: setattr(house, "name", "y"),
        lambda: house.rooms.append(Room(1)),
        house.rooms[0].doors.clear,
        lambda: house.tags.add("x"),
        lambda: setattr(house.rooms[0], "size", 2),
        lambda: house.extras.update(b=2),
        lambda: house.extras.__setitem__("b", 2),
        lambda: delattr(house, "name"),
    )
    for change in changes:
        with pytest.raises(TypeError, match="a snapshot is frozen"):
            change()
    assert json.dumps(house.extras) == '{"a": 1}'
    assert house.model_dump()["rooms"] == [{"size": 1, "doors": [1]}]
    copy.deepcopy(house.rooms).append(Room(2))


def test_building_an_instance_freezes_no_default_of_the_class() -> None:
    HOUSE.build(HOUSE.compile({"name": "x"}, ORIGINS).body, {})

    House(name="y").extras["a"] = 1
    House(name="y").rooms.append(Room(1))


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("no_such_module_at_all:X", "No module named"),
        ("pathlib", 'expected a model as "module:Class"'),
        ("pathlib:Nothing", "module pathlib has no Nothing"),
        ("json:dumps", "expected a pydantic model or a dataclass"),
        ("pathlib:Path", "expected a pydantic model or a dataclass"),
    ],
)
def test_a_model_that_can_not_be_loaded_is_refused_with_a_sentence(path: str, words: str) -> None:
    with pytest.raises(LoadError, match=words):
        load_model(path)


def test_without_a_model_documents_are_taken_as_they_are_and_built_read_only() -> None:
    model = load_model("")
    body = model.compile({"b": [1], "a": {"c": None}}, ORIGINS).body

    assert body == b'{"a":{"c":null},"b":[1]}'
    with pytest.raises(TypeError, match="a snapshot is frozen"):
        model.build(body, {})["b"].append(2)


def test_importing_models_brings_no_pydantic() -> None:
    code = """
import sys
import nexus_supervisor.models.loading, nexus_supervisor.models.marks
print(sorted(name for name in sys.modules if name.startswith("pydantic")))
"""
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "[]\n"
