from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import pytest
import tomli
from hypothesis import given
from hypothesis import strategies as st

from nexus_supervisor.core.rules import Addresses, Number, ShareOf, Whole
from nexus_supervisor.core.settings import (
    LIVE_KEYS,
    START_KEYS,
    UNREAD,
    Mistake,
    Parsed,
    Settings,
    Share,
    needs,
    overrides_from_environment,
    parse,
    unread,
)
from nexus_supervisor.core.tables import options

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexus_supervisor.core.tables import Option


def read(text: str, **overrides: Any) -> Parsed:
    return parse(tomli.loads(text), overrides, cpu_count=4)


def errors(text: str, **overrides: Any) -> list[tuple[str, str]]:
    return [(mistake.key, mistake.code) for mistake in read(text, **overrides).errors]


def the_error(text: str, **overrides: Any) -> Mistake:
    (mistake,) = read(text, **overrides).errors
    return mistake


def leaves(table: type = Settings, where: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Option]]:
    for option in options(table).values():
        if option.table is None:
            yield (*where, option.name), option
        else:
            yield from leaves(option.table, (*where, option.name))


def nested(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    for name in reversed(path):
        value = {name: value}
    return dict(value)


def at(settings: Settings, path: tuple[str, ...]) -> Any:
    value: Any = settings
    for name in path:
        value = getattr(value, name)
    return value


ALL = tuple(leaves())
IDS = [".".join(path) for path, _ in ALL]


def test_an_empty_file_gives_the_defaults_of_the_contract() -> None:
    parsed = read("")
    daemon, supervisor = parsed.settings.daemon, parsed.settings.supervisor
    assert (parsed.errors, parsed.warnings) == ((), ())
    assert (daemon.bind, daemon.port, daemon.admin_token) == (("127.0.0.1",), 8080, None)
    assert (daemon.signing.enabled, daemon.shutdown.drain_timeout_seconds) == (True, 30)
    assert (supervisor.name, supervisor.program, supervisor.workers) == ("nexus", "gateway", 4)
    assert (supervisor.on_restart_required, supervisor.rollout.strategy) == ("split", "canary")
    assert (supervisor.watch.debounce_ms, supervisor.watch.remove_settle_ms) == (1, 50)
    assert (supervisor.watch.reconcile_seconds, supervisor.liveness.timeout_seconds) == (5, 10)
    assert (supervisor.rollout.canary, supervisor.rollout.max_parallel) == (Share(1), Share(50, percent=True))
    assert (supervisor.rollout.bake_seconds, supervisor.rollout.quiet_bake_seconds) == (2, 5)
    assert (supervisor.rollout.on_inconclusive, supervisor.rollout.wave_pause_seconds) == ("continue", 0)


@pytest.mark.parametrize(("path", "option"), ALL, ids=IDS)
def test_every_setting_takes_its_own_default(path: tuple[str, ...], option: Option) -> None:
    default = at(Settings(), path)
    if default is None:
        return
    written = str(default) if isinstance(default, Share) and default.percent else default
    written = default.amount if isinstance(default, Share) and not default.percent else written
    parsed = parse(nested(path, written), cpu_count=4)
    assert parsed.errors == ()
    assert at(parsed.settings, path) == default


@pytest.mark.parametrize(("path", "option"), ALL, ids=IDS)
@pytest.mark.parametrize("wrong", [[], {}, object(), None], ids=["list", "table", "object", "nothing"])
def test_a_value_of_another_type_is_refused_and_the_default_kept(
    path: tuple[str, ...], option: Option, wrong: Any
) -> None:
    if wrong == [] and isinstance(option.rule, Addresses):
        return  # a list of none is no address
    wrong = "" if wrong == [] and path == ("supervisor", "program") else wrong  # a list of tables declares several
    code = "range" if wrong == "" else "type"
    parsed = parse(nested(path, wrong), cpu_count=1)
    assert [(mistake.key, mistake.code) for mistake in parsed.errors] == [(".".join(path), code)]
    assert at(parsed.settings, path) == at(Settings(), path)


@pytest.mark.parametrize(("path", "option"), ALL, ids=IDS)
def test_numbers_are_taken_at_their_bounds_and_refused_beyond(path: tuple[str, ...], option: Option) -> None:
    if not isinstance(option.rule, Number | Whole | ShareOf):
        return
    low = 1 if isinstance(option.rule, ShareOf) else option.rule.low
    for value, fits in [(low, True), (option.rule.high, True), (low - 1, False), (option.rule.high + 1, False)]:
        found = [mistake.code for mistake in parse(nested(path, value), cpu_count=1).errors]
        assert found == ([] if fits else ["range"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[daemon]\nport = "3"', 'expected a whole number from 0 to 65535, found the text "3"'),
        ("[daemon]\nport = true", "expected a whole number from 0 to 65535, found true"),
        ("[daemon]\nport = 8080.0", "expected a whole number from 0 to 65535, found the number 8080"),
        ("[daemon]\nport = 70000", "expected a whole number from 0 to 65535, found the whole number 70000"),
        ('[daemon.signing]\nenabled = "yes"', 'expected true or false, found the text "yes"'),
        ("[daemon.signing]\nenabled = 1", "expected true or false, found the whole number 1"),
        (
            "[daemon]\nbind = 1979-05-27",
            f"expected {Addresses().expected}, found a date",
        ),
        ("[supervisor.watch]\ndebounce_ms = nan", "expected a number from 0 to 10000, found the number nan"),
        ("[supervisor.watch]\ndebounce_ms = inf", "expected a number from 0 to 10000, found the number inf"),
        ("[supervisor.watch]\ndebounce_ms = true", "expected a number from 0 to 10000, found true"),
        ("[supervisor]\nwatch = 3", "expected a table, found the whole number 3"),
        ("supervisor = []", "expected a table, found a list"),
        (
            '[daemon]\nlog_level = "warn"',
            'expected one of "debug", "info", "warning", "error", found the text "warn"',
        ),
        (
            '[supervisor]\non_restart_required = "spilt"',
            'expected one of "split", "hold", found the text "spilt"; did you mean "split"?',
        ),
    ],
)
def test_a_refusal_says_what_was_expected_and_what_was_found(text: str, message: str) -> None:
    assert the_error(text).message == message


def test_a_number_too_long_to_be_shown_is_refused_like_any_other() -> None:
    mistake = parse({"daemon": {"port": 10**8_000}}, cpu_count=1).errors[0]
    assert mistake.message == "expected a whole number from 0 to 65535, found a whole number"


def test_text_in_a_refusal_is_cut_and_escaped() -> None:
    message = the_error('[daemon]\nlog_format = "' + "\\u001b\\u202e" + "x" * 500 + '"').message
    assert len(message) < 150
    assert message.isascii()
    assert message.isprintable()


def test_a_whole_number_is_taken_where_a_number_is_wanted() -> None:
    seconds = read("[supervisor.rollout]\nbake_seconds = 0").settings.supervisor.rollout.bake_seconds
    assert (seconds, type(seconds)) == (0.0, float)


@pytest.mark.parametrize(
    ("written", "total", "meant"),
    [("1", 8, 1), ('"50%"', 8, 4), ('"50%"', 3, 2), ('"1%"', 8, 1), ('"100%"', 8, 8), ("20", 8, 8), ('"50%"', 0, 0)],
)
def test_a_share_is_a_count_or_a_percentage_rounded_up(written: str, total: int, meant: int) -> None:
    share = read(f"[supervisor.rollout]\nmax_parallel = {written}").settings.supervisor.rollout.max_parallel
    assert share.of(total) == meant
    assert str(share) == written.strip('"')


@pytest.mark.parametrize(
    "written", ["0", '"0%"', '"101%"', '"50"', '"%"', '"-5%"', '"5.5%"', "true", "0.5", '"\\u0665%"']
)
def test_a_share_of_nothing_or_of_more_than_all_is_refused(written: str) -> None:
    assert the_error(f"[supervisor.rollout]\ncanary = {written}").key == "supervisor.rollout.canary"


def test_every_mistake_is_reported() -> None:
    text = """
        [daemon]
        port = -1
        prt = 1
        [daemon.signing]
        enable = false
        [supervisor]
        workers = 0
        nme = "x"
        [supervisor.rollout]
        bake_seconds = "2"
        [supervisor.rollout.gates]
        max_error_rtio = 2
        [supervisors]
    """
    assert sorted(errors(text)) == [
        ("daemon.port", "range"),
        ("daemon.prt", "unknown_key"),
        ("daemon.signing.enable", "unknown_key"),
        ("supervisor.nme", "unknown_key"),
        ("supervisor.rollout.bake_seconds", "type"),
        ("supervisor.rollout.gates.max_error_rtio", "unknown_key"),
        ("supervisor.workers", "range"),
        ("supervisors", "unknown_key"),
    ]


def test_an_unknown_key_comes_with_the_word_that_may_be_meant() -> None:
    message = the_error("[supervisor.rollout]\nbake_secnds = 2").message
    assert message == 'there is no such key; did you mean "bake_seconds"?'


def test_an_unknown_key_that_resembles_nothing_comes_with_what_is_known() -> None:
    message = the_error("[daemon.signing]\nx = 2").message
    assert message == "there is no such key; known here: enabled, key_file"


def test_other_keys_of_daemon_go_to_the_application_with_one_warning() -> None:
    parsed = read('[daemon]\nport = 1\ngreeting = "hello"\n[daemon.colors]\nred = [1, {deep = 2}]')
    application = parsed.settings.daemon.application
    assert parsed.errors == ()
    (warning,) = parsed.warnings
    assert (warning.key, warning.code) == ("daemon", "unknown_key")
    assert warning.message.endswith("as they are: colors, greeting")
    assert (application["greeting"], application["colors"]["red"][1]["deep"]) == ("hello", 2)


def test_what_the_application_gets_cannot_be_changed() -> None:
    application: Any = read("[daemon.colors]\nred = [1]").settings.daemon.application
    with pytest.raises(TypeError):
        application["more"] = 1
    with pytest.raises(TypeError):
        application["colors"]["red"] = 1
    with pytest.raises(TypeError):
        application["colors"]["red"].append(2)
    assert application["colors"]["red"] == [1]


@pytest.mark.parametrize("slip", ["prt", "ports", "bnid", "sining", "log-level", "shutdwn"])
def test_a_key_of_daemon_one_edit_away_from_ours_is_refused(slip: str) -> None:
    parsed = read(f"[daemon]\n{slip} = 1")
    assert [(mistake.key, mistake.code) for mistake in parsed.errors] == [(f"daemon.{slip}", "unknown_key")]
    assert "did you mean" in parsed.errors[0].message
    assert (parsed.warnings, dict(parsed.settings.daemon.application)) == ((), {})


def test_the_admin_token_is_shown_nowhere() -> None:
    good = read('[daemon]\nadmin_token = "hunter2-canary"')
    assert good.settings.daemon.admin_token == "hunter2-canary"
    for bad in ('"hunter2-canary\\u0007"', "7222222", '["hunter2-canary"]'):
        parsed = read(f"[daemon]\nadmin_token = {bad}")
        assert len(parsed.errors) == 1
        assert "hunter2" not in repr(parsed)
        assert "7222222" not in repr(parsed)
    assert "hunter2" not in repr(good)


def test_workers_default_to_the_number_of_processors_within_bounds() -> None:
    for processors, workers in [(0, 1), (1, 1), (16, 16), (4_096, 512)]:
        assert parse({}, cpu_count=processors).settings.supervisor.workers == workers
    assert read("[supervisor]\nworkers = 3").settings.supervisor.workers == 3


def test_an_override_wins_and_leaves_its_neighbors_alone() -> None:
    overrides = {"daemon": {"port": 0}, "supervisor": {"rollout": {"bake_seconds": 0.0}, "workers": 2}}
    parsed = read("[daemon]\nport = 1\nbind = '::1'\n[supervisor.rollout]\ncanary = 2", **overrides)
    assert parsed.errors == ()
    assert (parsed.settings.daemon.port, parsed.settings.daemon.bind) == (0, ("::1",))
    rollout = parsed.settings.supervisor.rollout
    assert (rollout.bake_seconds, rollout.canary, parsed.settings.supervisor.workers) == (0, Share(2), 2)


def test_a_mistake_in_an_override_says_where_it_does_not_come_from() -> None:
    mistake = the_error("[daemon]\nport = 1", daemon={"port": 70_000})
    assert "found the whole number 70000 (this value is given by the command line or the environment" in mistake.message


def test_a_mistake_that_an_override_hides_is_reported_all_the_same() -> None:
    assert the_error('[daemon]\nport = "x"', daemon={"port": 1}).message.endswith('found the text "x"')


def test_an_overridden_program_decides_the_default_sections() -> None:
    assert read("", supervisor={"program": "asgi"}).settings.supervisor.sections == ()


def test_settings_are_frozen_all_the_way_down() -> None:
    settings: Any = Settings()
    for path, _ in ALL:
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(at(settings, path[:-1]), path[-1], 1)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
TABLES = st.fixed_dictionaries(
    {},
    optional={
        "daemon": JSON | st.dictionaries(st.sampled_from([*options(Settings), "port", "bind", "signing"]), JSON),
        "supervisor": JSON
        | st.dictionaries(st.sampled_from(["rollout", "section", "name", "workers", "limits"]), JSON),
        "other": JSON,
    },
)


@given(TABLES, TABLES)
def test_no_plain_document_leads_to_anything_but_settings_and_mistakes(document: Any, overrides: Any) -> None:
    parsed = parse(document, overrides, cpu_count=2)
    for path, option in ALL:
        value = at(parsed.settings, path)
        if option.rule is not None and value is not None and not isinstance(value, Share):
            assert option.rule.take(value) == value
    assert all(mistake.key or mistake.code == "unknown_key" for mistake in parsed.errors)


def test_variables_become_plain_values_of_the_type_that_the_setting_wants() -> None:
    plain, mistakes = overrides_from_environment(
        {
            "NEXUS_SUPERVISOR__ROLLOUT__BAKE_SECONDS": "2",
            "NEXUS_SUPERVISOR__ROLLOUT__CANARY": "3",
            "NEXUS_SUPERVISOR__ROLLOUT__MAX_PARALLEL": "25%",
            "NEXUS_DAEMON__SIGNING__ENABLED": "false",
            "NEXUS_DAEMON__PORT": "0",
            "NEXUS_SUPERVISOR__APP": "app:app",
        }
    )
    assert mistakes == ()
    assert plain == {
        "daemon": {"port": 0, "signing": {"enabled": False}},
        "supervisor": {"app": "app:app", "rollout": {"bake_seconds": 2.0, "canary": 3, "max_parallel": "25%"}},
    }
    assert parse({}, plain, cpu_count=1).errors == ()


def test_names_without_two_underscores_are_no_settings() -> None:
    environment = {"NEXUS_HOME": "x", "NEXUS_PORT": "1", "PATH": "x", "OTHER__PORT": "1", "nexus_daemon__port": "x"}
    assert overrides_from_environment(environment) == ({}, ())


@pytest.mark.parametrize(
    ("variable", "text", "key", "message"),
    [
        ("NEXUS_DAEMON__PORT", "x", "daemon.port", 'expected a whole number from 0 to 65535, found the text "x"'),
        ("NEXUS_DAEMON__PORT", "1_0", "daemon.port", 'expected a whole number from 0 to 65535, found the text "1_0"'),
        (
            "NEXUS_DAEMON__SIGNING__ENABLED",
            "yes",
            "daemon.signing.enabled",
            'expected true or false, found the text "yes"',
        ),
        ("NEXUS_DAEMON__PRT", "1", "daemon.prt", 'there is no such key; did you mean "port"?'),
        ("NEXUS_DEMON__PORT", "1", "demon", 'there is no such key; did you mean "daemon"?'),
        ("NEXUS_SUPERVISOR__ROLLOUT", "1", "supervisor.rollout", "this is a table: name one of its keys, joined by __"),
        ("NEXUS_DAEMON__PORT__X", "1", "daemon.port.x", "daemon.port is not a table"),
    ],
)
def test_a_variable_that_gives_no_setting_is_refused_by_name(variable: str, text: str, key: str, message: str) -> None:
    plain, (mistake,) = overrides_from_environment({variable: text})
    assert plain == {}
    assert mistake.key == key
    assert mistake.message == f"{message} (given by the environment variable {variable})"


def test_the_admin_token_of_the_environment_is_not_shown_either() -> None:
    plain, mistakes = overrides_from_environment({"NEXUS_DAEMON__ADMIN_TOKEN": "hunter2\n"})
    assert mistakes == ()
    assert "hunter2" not in repr(parse({}, plain, cpu_count=1).errors)


def test_overrides_survive_the_way_to_the_compiler_as_json() -> None:
    plain, _ = overrides_from_environment({"NEXUS_SUPERVISOR__ROLLOUT__CANARY": "50%"})
    assert json.loads(json.dumps(plain)) == plain


@pytest.mark.parametrize(
    ("key", "wanted"),
    [
        ("daemon.bind", "restart"),
        ("daemon.port", "restart"),
        ("daemon.greeting", "restart"),
        ("daemon.log_level", "live"),
        ("daemon.log_levels", "restart"),
        ("daemon.shutdown.drain_timeout_seconds", "live"),
        ("daemon.signing.enabled", "start"),
        ("supervisor.name", "start"),
        ("supervisor.program", "restart"),
        ("supervisor.workers", "restart"),
        ("supervisor.section", "restart"),
        ("supervisor.rollout.gates.min_requests", "live"),
        ("supervisor.restart", "live"),
    ],
)
def test_a_change_needs_what_the_contract_says(key: str, wanted: str) -> None:
    assert needs(key) == wanted


def test_of_what_no_code_reads_yet_only_what_somebody_has_set_is_listed() -> None:
    assert unread(Settings()) == ()
    text = '[daemon]\nadmin_token = "env:TOKEN"\n[supervisor.restart]\nmax_restarts = 7\nperiod_seconds = 20.0\n'
    assert unread(read(text).settings) == ("daemon.admin_token",)


def test_every_listed_prefix_names_a_setting_or_a_table_of_them() -> None:
    names = {".".join(path[:depth]) for path, _ in ALL for depth in range(1, len(path) + 1)}
    assert {*LIVE_KEYS, *START_KEYS, *UNREAD} <= names
