"""Frozen values: nothing in them can be changed, and they are what they were to everybody who only looks."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
from collections import Counter, OrderedDict, defaultdict, deque
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, TypeVar

import pydantic.dataclasses
import pytest
from pydantic import BaseModel, ConfigDict, PrivateAttr, RootModel, ValidationError

from nexus_supervisor.core.freezing import frozen

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Pair(NamedTuple):
    left: list[int]
    right: int = 0


class Tags(list[Any]):
    """A list with a method, and an attribute."""

    def __init__(self, items: list[Any]) -> None:
        super().__init__(items)
        self.seen = [1]

    def has(self, one: object) -> bool:
        return one in self


@dataclass(order=True)
class Level:
    number: int


class Inner(BaseModel):
    tags: list[str] = ["a"]


class Model(BaseModel):
    model_config = ConfigDict(extra="allow")

    number: int = 1
    inner: Inner = Inner()
    inners: list[Inner] = [Inner()]
    table: dict[str, list[int]] = {"x": [1]}
    names: set[str] = {"a"}
    line: deque[int] = deque([1, 2], maxlen=3)
    order: OrderedDict[str, list[int]] = OrderedDict(b=[1], a=[2])
    groups: defaultdict[str, list[int]] = defaultdict(list, {"z": [1]})
    counts: Counter[str] = Counter("aab")
    pair: Pair = Pair([1])
    _private: dict[str, list[int]] = PrivateAttr(default_factory=lambda: {"p": [1]})

    @cached_property
    def twice(self) -> int:
        return self.number * 2


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)

    tags: list[str] = ["a"]
    _private: list[int] = PrivateAttr(default_factory=list)


class Root(RootModel[list[int]]):
    """A model that is a list."""


class Of(BaseModel, Generic[T]):
    value: T


class Counted:
    """Wants to know its subclasses, and an argument of each."""

    known: ClassVar[list[str]] = []

    def __init_subclass__(cls, *, word: str) -> None:
        Counted.known.append(word)


@dataclass
class Member(Counted, word="member"):
    tags: list[int]


@dataclass
class Plain:
    number: int = 1
    tags: list[int] = field(default_factory=lambda: [1])
    inner: Plain | None = None

    def __post_init__(self) -> None:
        self.made = {"made": [1]}


@dataclass(slots=True)
class Slotted:
    tags: list[int] = field(default_factory=lambda: [1])
    never: int = field(init=False, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Hard:
    tags: list[list[int]] = field(default_factory=lambda: [[1]])


@pydantic.dataclasses.dataclass(config=ConfigDict(validate_assignment=True))
class Checked:
    tags: list[int]


def model() -> Any:
    return frozen(Model.model_validate({"more": [1]}))


CHANGES: dict[str, Callable[[Any], object]] = {
    "an attribute": lambda one: setattr(one, "number", 2),
    "a new attribute": lambda one: setattr(one, "new", 2),
    "an attribute goes": lambda one: delattr(one, "number"),
    "a list in a model in it": lambda one: one.inner.tags.append("b"),
    "a model in it": lambda one: setattr(one.inners[0], "tags", []),
    "a list in a model in a list": lambda one: one.inners[0].tags.extend("b"),
    "a list in a table": lambda one: one.table["x"].__setitem__(0, 2),
    "a table": lambda one: one.table.update(y=[1]),
    "a table by an operator": lambda one: one.table.__ior__({"y": [1]}),
    "a set": lambda one: one.names.add("b"),
    "a set by an operator": lambda one: one.names.__isub__({"a"}),
    "a deque": lambda one: one.line.append(3),
    "the order of a deque": lambda one: one.line.rotate(1),
    "an ordered table": lambda one: one.order.move_to_end("b"),
    "a list in an ordered table": lambda one: one.order["a"].clear(),
    "a table with defaults": lambda one: one.groups.setdefault("new", [1]),
    "a list in a table with defaults": lambda one: one.groups["z"].append(1),
    "the default of a table": lambda one: setattr(one.groups, "default_factory", None),
    "a default": lambda one: one.groups["new"].append(1),
    "a counter": lambda one: one.counts.update("a"),
    "a counter by an item": lambda one: one.counts.__setitem__("a", 9),
    "a counter down": lambda one: one.counts.subtract("a"),
    "a list in a named tuple": lambda one: one.pair.left.append(1),
    "a list in an unknown field": lambda one: one.more.append(1),
    "the unknown fields": lambda one: one.model_extra.update(even_more=1),
    "a private attribute": lambda one: setattr(one, "_private", {}),
    "a table in a private attribute": lambda one: one._private.update(q=[1]),
    "a list in a private attribute": lambda one: one._private["p"].append(1),
    "the fields that were set": lambda one: one.model_fields_set.add("number"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_nothing_in_a_model_can_be_changed(what: str) -> None:
    one = model()
    before = one.model_dump_json()

    with pytest.raises(TypeError, match=r"a snapshot is frozen: this .* can't be changed; change the file"):
        CHANGES[what](one)

    assert one.model_dump_json() == before
    assert one._private == {"p": [1]}


OTHERS: dict[str, tuple[Any, Callable[[Any], object]]] = {
    "a dataclass": (Plain(), lambda one: setattr(one, "number", 2)),
    "a list in a dataclass": (Plain(), lambda one: one.tags.append(2)),
    "a dataclass in a dataclass": (Plain(inner=Plain()), lambda one: one.inner.tags.append(2)),
    "what a dataclass made of itself": (Plain(), lambda one: one.made["made"].append(2)),
    "a dataclass with slots": (Slotted(), lambda one: setattr(one, "tags", [])),
    "a list in a dataclass with slots": (Slotted(), lambda one: one.tags.append(2)),
    "a list in a frozen dataclass": (Hard(), lambda one: one.tags[0].append(2)),
    "a dataclass of pydantic": (Checked([1]), lambda one: setattr(one, "tags", [2])),
    "a list in a dataclass of pydantic": (Checked([1]), lambda one: one.tags.append(2)),
    "a list in a frozen model": (Frozen(), lambda one: one.tags.append("b")),
    "a private attribute of a frozen model": (Frozen(), lambda one: setattr(one, "_private", [1])),
    "a model that is a list": (Root([1]), lambda one: one.root.append(2)),
    "a generic model": (Of[list[int]](value=[1]), lambda one: one.value.append(2)),
    "a class that counts its subclasses": (Member([1]), lambda one: one.tags.append(2)),
    "a list of one's own": (Tags([1]), lambda one: one.append(2)),
    "a list in a list of one's own": (Tags([[1]]), lambda one: one[0].append(2)),
    "an attribute of a list of one's own": (Tags([1]), lambda one: one.seen.append(2)),
    "a list that is begun anew": ([1], lambda one: one.__init__([2])),
    "a table that is begun anew": ({"a": 1}, lambda one: one.__init__(b=2)),
    "a set that is begun anew": ({1}, lambda one: one.__init__({2})),
    "a list in a tuple": ((1, [1]), lambda one: one[1].append(2)),
}


@pytest.mark.parametrize("what", OTHERS)
def test_nothing_in_any_other_value_can_be_changed(what: str) -> None:
    value, change = OTHERS[what]
    before = copy.deepcopy(value)

    one = frozen(value)
    with pytest.raises(TypeError, match="a snapshot is frozen"):
        change(one)

    assert one == before
    assert isinstance(one, type(before))


def test_a_model_that_is_frozen_by_itself_says_so_in_its_own_words_and_keeps_its_class() -> None:
    one = frozen(Frozen())

    assert type(one) is Frozen
    with pytest.raises(ValidationError, match="Instance is frozen"):
        one.tags = []


def test_containers_are_what_they_were_to_isinstance_and_json() -> None:
    one = model()

    kinds = {"table": dict, "names": set, "line": deque, "order": OrderedDict, "groups": defaultdict, "counts": Counter}
    assert {name: isinstance(getattr(one, name), kind) for name, kind in kinds.items()} == dict.fromkeys(kinds, True)
    assert json.dumps([one.table, one.inner.tags, one.order, one.groups]) == (
        '[{"x": [1]}, ["a"], {"b": [1], "a": [2]}, {"z": [1]}]'
    )
    assert one.line.maxlen == 3
    assert isinstance(one.pair, Pair)
    assert frozen(Tags([1])).has(1)
    assert frozen(bytearray(b"x")) == b"x"


def test_a_missing_group_has_its_default_and_is_still_missing() -> None:
    one = model()

    assert one.groups["new"] == []
    assert "new" not in one.groups
    assert one.counts["new"] == 0
    with pytest.raises(KeyError, match="new"):
        frozen(defaultdict(None))["new"]


def test_a_cached_property_works_in_a_closed_model() -> None:
    one = model()

    assert (one.twice, one.twice) == (2, 2)


def test_a_closed_model_shows_and_dumps_as_before_and_is_an_instance_of_its_class() -> None:
    one, plain = model(), Model.model_validate({"more": [1]})

    assert isinstance(one, Model)
    assert one.model_dump() == plain.model_dump()
    assert type(one).__name__ == "Model"
    assert repr(frozen(Inner())) == repr(Inner())


def test_frozen_and_ordinary_values_are_equal() -> None:
    assert model() == Model.model_validate({"more": [1]})
    assert Model.model_validate({"more": [1]}) == model() == model()
    assert frozen(Plain(inner=Plain())) == Plain(inner=Plain())
    assert Plain() != frozen(Plain(2))
    assert frozen(Slotted()).tags == Slotted().tags == [1]


def test_frozen_and_ordinary_values_are_ordered() -> None:
    low, high = frozen(Level(1)), frozen(Level(2))

    assert low < high
    assert low < Level(2)
    assert Level(1) <= low <= Level(1)
    assert Level(2) > low >= Level(1)
    with pytest.raises(TypeError, match="not supported"):
        assert low < 2


def test_a_frozen_value_is_frozen_once() -> None:
    one = model()

    assert frozen(one) is one
    assert frozen(one.table) is one.table
    assert frozen((1, "a")) == (1, "a")


def test_a_copy_of_a_model_with_other_values_is_an_ordinary_model() -> None:
    one = model().model_copy(update={"number": 5})

    one.number += 1
    one._private = {}
    assert (one.number, type(one)) == (6, Model)
    shallow = copy.copy(model())
    shallow.number = 2
    assert shallow.number == 2
    deep = model().model_copy(deep=True)
    change_everything(deep)
    assert deep.inners[0].tags == ["a", "b"]


def change_everything(one: Any) -> None:
    one.number = 7
    one.inners[0].tags.append("b")
    one.table["x"].append(2)
    one.names.add("b")
    one.line.append(3)
    one.order.move_to_end("b")
    one.groups["new"].append(1)
    one.counts.update("c")
    one.pair.left.append(1)
    one.more.append(2)
    one._private["p"].append(2)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_a_deep_copy_can_be_changed_all_the_way_down(copied: Callable[[Any], Any]) -> None:
    one = model()
    before = one.model_dump_json()

    other = copied(one)
    change_everything(other)

    assert type(other) is Model
    assert other.inners[0].tags == ["a", "b"]
    assert one.model_dump_json() == before
    for value in (Plain(inner=Plain()), Slotted(), Hard(), Checked([1]), Member([1])):
        ordinary = copied(frozen(value))
        ordinary.tags.append(9)
        assert type(ordinary).__name__ == type(value).__name__


def test_what_makes_new_values_of_old_ones_makes_ordinary_ones() -> None:
    one = model()

    replaced = dataclasses.replace(frozen(Plain()), number=2)
    replaced.number = 3
    plain = dataclasses.asdict(frozen(Plain(inner=Plain())))
    plain["tags"].append(2)
    plain["inner"]["tags"].append(2)
    for copied in (one.names | {"b"}, one.names.copy()):
        copied.add("c")
    for table in (one.table | {"y": [1]}, one.order | {"y": [1]}, one.table.copy(), one.groups.copy()):
        table["new"] = [1]
    for line in (
        one.inner.tags + one.inner.tags,
        one.inner.tags * 2,
        one.inner.tags[:],
        one.line.copy(),
        one.line + one.line,
    ):
        line.append("b")

    assert type(replaced) is Plain
    assert "new" not in one.groups


def test_a_class_that_counts_its_subclasses_is_not_told_of_ours() -> None:
    frozen(Member([1]))

    assert Counted.known == ["member"]
