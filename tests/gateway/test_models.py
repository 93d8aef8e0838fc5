from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nexus_supervisor.models.loading import load_model
from nexus_supervisor.models.mistakes import ModelMistakesError
from nexus_supervisor.models.secrets import Origins

PEPPER = bytes(32)
LEAST = {
    "sources": {"name": "a", "api_key": "k"},
    "destinations": {"name": "main", "type": "sqlite", "db_path": "main.db"},
}
MODELS = {
    "sources": load_model("nexus_workers.gateway.models:Source"),
    "destinations": load_model("nexus_workers.gateway.models:Destination"),
}


def nested(key: str, value: Any) -> Any:
    """Return ``{"a": {"b": value}}`` for ``a.b``."""
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


def built(section: str, **fields: Any) -> Any:
    compiled = MODELS[section].compile(LEAST[section] | fields, Origins(Path("/nowhere"), {}, PEPPER))
    return MODELS[section].build(compiled.body, compiled.secrets)


def mistakes(section: str, document: dict[str, Any]) -> Any:
    with pytest.raises(ModelMistakesError) as caught:
        MODELS[section].compile(document, Origins(Path("/nowhere"), {}, PEPPER))
    return [(".".join(map(str, one.path)), one.message) for one in caught.value.mistakes]


def value_at(instance: Any, key: str) -> Any:
    for part in key.split("."):
        instance = getattr(instance, part)
    return instance


DEFAULTS = {
    "namespace": "a",
    "can_read": False,
    "can_write": False,
    "target_destination": None,
    "default_actor_type": "user",
    "default_actor_id": "",
    "default_profile": "balanced",
    "tier": 3,
    "default_write_tier": 1,
    "rate_limit.requests_per_minute": 2000,
    "rate_limit.bytes_per_second": 0,
    "payload_limits.max_bytes": 10 * 1024 * 1024,
    "mapping": {},
    "transform": {},
    "idempotency.enabled": False,
    "idempotency.dedup_window_seconds": 300,
    "policy.allowed_destinations": (),
    "policy.allowed_operations": (),
    "policy.allowed_retrieval_modes": (),
    "policy.allowed_profiles": (),
    "policy.max_results": 50,
    "policy.max_response_bytes": 1024 * 1024,
    "policy.field_visibility.include_fields": (),
    "policy.field_visibility.strip_metadata": False,
    "policy.cache.read_from_cache": False,
    "policy.cache.write_to_cache": False,
    "policy.cache.max_ttl_seconds": 0,
    "policy.cache.semantic_similarity_threshold": 0.0,
    "policy.decay.half_life_days": 0.0,
    "policy.decay.decay_mode": "",
    "policy.decay.step_threshold_days": 0.0,
    "policy.retrieval_firewall.blocked_labels": (),
    "policy.retrieval_firewall.required_labels": (),
    "policy.retrieval_firewall.max_classification_tier": "",
    "policy.retrieval_firewall.default_classification_tier": "",
    "policy.retrieval_firewall.visible_namespaces": (),
    "policy.retrieval_firewall.cross_namespace_read": False,
    "signing.mode": "",
}


@pytest.mark.parametrize(("key", "value"), DEFAULTS.items())
def test_a_source_has_every_field_with_its_default(key: str, value: Any) -> None:
    assert value_at(built("sources"), key) == value


def test_no_field_of_a_source_is_missing_from_the_table_of_defaults() -> None:
    compiled = MODELS["sources"].compile(LEAST["sources"], Origins(Path("/nowhere"), {}, PEPPER))

    def leaves(document: dict[str, Any], prefix: str = "") -> Any:
        for name, value in document.items():
            if isinstance(value, dict) and value:
                yield from leaves(value, f"{prefix}{name}.")
            else:
                yield f"{prefix}{name}"

    document = json.loads(compiled.body)
    assert {*leaves(document)} == {*DEFAULTS, "name", "api_key.digest", "api_key.ref"}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "a-b_9"),
        ("namespace", "shared"),
        ("can_read", True),
        ("can_write", True),
        ("target_destination", "main"),
        ("default_actor_id", "bot"),
        ("tier", 0),
        ("default_write_tier", 3),
        ("rate_limit.requests_per_minute", 0),
        ("rate_limit.bytes_per_second", 1_000_000),
        ("payload_limits.max_bytes", 1),
        ("mapping", {"content": "messages.-1.content"}),
        ("idempotency.enabled", True),
        ("idempotency.dedup_window_seconds", 31_536_000),
        ("policy.max_results", 1_000),
        ("policy.max_response_bytes", 64 * 1024 * 1024),
        ("policy.field_visibility.strip_metadata", True),
        ("policy.retrieval_firewall.max_classification_tier", "restricted"),
        ("policy.retrieval_firewall.cross_namespace_read", True),
    ],
)
def test_a_value_within_its_bounds_is_taken(key: str, value: Any) -> None:
    assert value_at(built("sources", **nested(key, value)), key) == value


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("allowed_destinations", ["main"]),
        ("allowed_operations", ["read", "write"]),
        ("allowed_retrieval_modes", ["recent", "search"]),
        ("allowed_profiles", ["deep"]),
        ("field_visibility.include_fields", ["content", "title"]),
        ("retrieval_firewall.blocked_labels", ["secret"]),
        ("retrieval_firewall.required_labels", ["team"]),
        ("retrieval_firewall.visible_namespaces", ["shared"]),
    ],
)
def test_lists_of_a_policy_are_taken(key: str, value: list[str]) -> None:
    assert value_at(built("sources", policy=nested(key, value)).policy, key) == tuple(value)


@pytest.mark.parametrize(
    ("firewall", "key", "message"),
    [
        (
            {"default_classification_tier": "public"},
            "default_classification_tier",
            "this means nothing without max_classification_tier: write that, too, or remove this",
        ),
        (
            {"visible_namespaces": ["x"], "cross_namespace_read": True},
            "cross_namespace_read",
            "with this, every namespace is visible: remove this or visible_namespaces",
        ),
    ],
)
def test_a_rule_that_would_mean_nothing_is_refused(firewall: dict[str, Any], key: str, message: str) -> None:
    found = mistakes("sources", LEAST["sources"] | {"policy": {"retrieval_firewall": firewall}})
    assert found == [(f"policy.retrieval_firewall.{key}", message)]


def test_the_steps_of_a_transform_are_taken_and_written_back_as_they_are() -> None:
    steps = ["strip", {"truncate": 10}, {"replace": ["a", "b"]}, {"default": ["x"]}, "json"]
    source = built("sources", transform={"content": steps, "secret": ["drop"]})
    assert source.model_dump(mode="json")["transform"] == {"content": steps, "secret": ["drop"]}


KNOWN_STEPS = "there are strip, collapse_spaces, lower, upper, json, drop, truncate, replace, default"


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("stirp", "expected a known step, found 'stirp': did you mean strip?"),
        (
            "shout",
            f"expected a known step, found 'shout': {KNOWN_STEPS}",
        ),
        ("truncate", "expected { truncate = N } with a whole number of characters, at least 1"),
        ({"truncate": 0}, "expected { truncate = N } with a whole number of characters, at least 1"),
        ({"truncate": True}, "expected { truncate = N } with a whole number of characters, at least 1"),
        ({"trunkate": 5}, "expected a known step, found 'trunkate': did you mean truncate?"),
        ({"strip": True}, 'expected "strip", which takes no value, found a table'),
        (
            {"replace": ["", "b"]},
            'expected { replace = ["from", "to"] } with two texts, the first one not empty',
        ),
        (
            {"replace": ["a"]},
            'expected { replace = ["from", "to"] } with two texts, the first one not empty',
        ),
        (
            {"default": {"a": 1}},
            "expected { default = VALUE } with a text, a number, true, false or a list of texts",
        ),
        (
            {"truncate": 5, "default": "x"},
            "expected a table with one key, the name of the step, found 2 keys",
        ),
        (
            7,
            f"expected the name of a step or a table such as {{ truncate = 100 }}: {KNOWN_STEPS}",
        ),
    ],
)
def test_a_step_that_is_written_wrongly_is_named_with_what_is_right(step: Any, message: str) -> None:
    found = mistakes("sources", LEAST["sources"] | {"transform": {"content": ["strip", step]}})
    assert found == [("transform.content.1", message)]


def test_nothing_goes_with_a_field_that_is_dropped() -> None:
    found = mistakes("sources", LEAST["sources"] | {"transform": {"content": ["strip", "drop"]}})
    assert found == [("transform.content", '"drop" removes the field: expected no other step beside it')]


@pytest.mark.parametrize("steps", [[], ["strip"] * 17])
def test_the_number_of_steps_is_bounded(steps: list[str]) -> None:
    found = mistakes("sources", LEAST["sources"] | {"transform": {"content": steps}})
    assert [where for where, _ in found] == ["transform.content"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "A"),
        ("name", "a.b"),
        ("name", "a\n"),
        ("name", "x" * 65),
        ("name", ""),
        ("can_read", "yes"),
        ("can_write", 1),
        ("tier", "3"),
        ("tier", 4),
        ("tier", -1),
        ("tier", 1.0),
        ("tier", True),
        ("default_write_tier", 4),
        ("default_profile", ""),
        ("target_destination", 7),
        ("rate_limit.requests_per_minute", -1),
        ("rate_limit.requests_per_minute", 1 << 40),
        ("rate_limit.bytes_per_second", -1),
        ("payload_limits.max_bytes", 0),
        ("payload_limits.max_bytes", 1 << 40),
        ("idempotency.dedup_window_seconds", 0),
        ("idempotency.dedup_window_seconds", 31_536_001),
        ("namespace", "a\0b"),
        ("default_profile", "a\0b"),
        ("policy.max_results", 0),
        ("policy.max_results", 1_001),
        ("policy.max_response_bytes", 1_023),
        ("policy.retrieval_firewall.max_classification_tier", "secret"),
        ("policy.retrieval_firewall.max_classification_tier", "Public"),
    ],
)
def test_a_value_of_another_type_or_out_of_bounds_is_named(key: str, value: Any) -> None:
    found = mistakes("sources", LEAST["sources"] | nested(key, value))
    assert [where for where, _ in found] == [key]


def test_a_wrong_path_of_a_mapping_is_named() -> None:
    found = mistakes("sources", LEAST["sources"] | {"mapping": {"content": "a..b", "other": "a"}})
    assert found == [
        ("mapping.content", "expected a dot path such as messages.-1.content, found an empty part"),
    ]


def test_an_operation_that_does_not_exist_is_named() -> None:
    [(where, message)] = mistakes("sources", LEAST["sources"] | {"policy": {"allowed_operations": ["delete"]}})
    assert where == "policy.allowed_operations.0"
    assert "'delete'" in message


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("sources", "signing.mode", "hmac"),
        ("sources", "policy.cache.read_from_cache", True),
        ("sources", "policy.cache.write_to_cache", True),
        ("sources", "policy.cache.max_ttl_seconds", 1),
        ("sources", "policy.cache.semantic_similarity_threshold", 0.5),
        ("sources", "policy.decay.half_life_days", 1),
        ("sources", "policy.decay.decay_mode", "step"),
        ("sources", "policy.decay.step_threshold_days", 1.5),
        ("destinations", "url", "http://x"),
        ("destinations", "decay.half_life_days", 1),
        ("destinations", "decay.decay_mode", "step"),
        ("destinations", "decay.step_threshold_days", 1),
        ("destinations", "decay.collections.notes.half_life_days", 1),
    ],
)
def test_what_no_code_reads_yet_is_refused_by_name(section: str, key: str, value: Any) -> None:
    [(where, message)] = mistakes(section, LEAST[section] | nested(key, value))
    assert where == key
    assert message == f"{key.rpartition('.')[2]} is not supported yet: remove it"


def test_every_mistake_of_a_source_is_reported_at_once() -> None:
    found = dict(mistakes("sources", {"name": "A", "api_key": " ", "can_write": "yes", "tier": 9, "nickname": "x"}))
    assert found.keys() == {"name", "api_key", "can_write", "tier", "nickname"}


def test_a_source_needs_a_name_and_a_key() -> None:
    assert [where for where, _ in mistakes("sources", {})] == ["name", "api_key"]


def test_a_misspelled_key_of_a_nested_table_is_answered_with_the_right_one() -> None:
    [(where, message)] = mistakes("sources", LEAST["sources"] | {"rate_limit": {"request_per_minute": 1}})
    assert where == "rate_limit.request_per_minute"
    assert "requests_per_minute" in message


def test_the_key_of_a_source_never_travels_and_is_never_shown() -> None:
    compiled = MODELS["sources"].compile(LEAST["sources"] | {"api_key": "canary"}, Origins(Path("/"), {}, PEPPER))
    assert not compiled.secrets
    assert b"canary" not in compiled.body
    assert "canary" not in repr(MODELS["sources"].build(compiled.body, {}))


def test_a_destination_has_its_defaults() -> None:
    found = built("destinations")
    assert (found.name, found.type, found.db_path, found.url) == ("main", "sqlite", "main.db", "")
    assert (found.dsn, found.api_key, found.connection_string) == (None, None, None)
    assert (found.decay.half_life_days, found.decay.collections) == (0.0, {})


def test_the_secrets_of_a_destination_are_secrets() -> None:
    document = LEAST["destinations"] | {"dsn": "one", "api_key": "two", "connection_string": "three"}
    compiled = MODELS["destinations"].compile(document, Origins(Path("/"), {}, PEPPER))
    assert sorted(compiled.secrets.values()) == ["one", "three", "two"]
    assert MODELS["destinations"].build(compiled.body, compiled.secrets).dsn.reveal() == "one"


@pytest.mark.parametrize("db_path", [{}, {"db_path": ""}])
def test_a_sqlite_destination_needs_the_path_of_its_file(db_path: dict[str, str]) -> None:
    [(where, message)] = mistakes("destinations", {"name": "main", "type": "sqlite"} | db_path)
    assert where in {"db_path", ""}
    assert message


@pytest.mark.parametrize(
    ("fields", "where", "found"),
    [({}, "", "none"), ({"dsn": "host=a", "connection_string": "host=a"}, "connection_string", "both")],
)
def test_a_postgres_destination_needs_one_address(fields: dict[str, str], where: str, found: str) -> None:
    document = {"name": "main", "type": "postgres", **fields}
    message = f"expected either dsn or connection_string, found {found}"
    assert mistakes("destinations", document) == [(where, message)]


@pytest.mark.parametrize("key", ["dsn", "connection_string"])
def test_a_postgres_destination_is_taken_with_its_address_under_either_name(key: str) -> None:
    document = {"name": "main", "type": "postgres", key: "host=a"}
    compiled = MODELS["destinations"].compile(document, Origins(Path("/"), {}, PEPPER))
    destination = MODELS["destinations"].build(compiled.body, compiled.secrets)
    assert getattr(destination, key).reveal() == "host=a"
    assert destination.pool_size == 4


def test_other_types_of_destinations_are_refused_with_what_is_known() -> None:
    [(where, message)] = mistakes("destinations", LEAST["destinations"] | {"type": "mysql"})
    assert where == "type"
    assert "'sqlite'" in message


def test_instances_are_frozen() -> None:
    found = built("sources", mapping={"content": "a"})
    with pytest.raises((AttributeError, ValueError)):
        found.tier = 0
    with pytest.raises(TypeError):
        found.mapping["content"] = "b"
