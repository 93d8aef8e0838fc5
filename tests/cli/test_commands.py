"""The commands that talk to a supervisor: what they send, what they print and their exit codes."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from nexus_supervisor.cli import main
from nexus_supervisor.core import canonical
from nexus_supervisor.core.control import (
    Ended,
    FollowNotices,
    PushRequest,
    Refusal,
    RestartRequest,
    RollbackRequest,
    StatusReport,
    StatusRequest,
    SteerRequest,
    StopRequest,
)
from tests.support.control import STATUS, ScriptedSupervisor, answer_with, ended, noticed

PROJECT = Path(__file__).parents[2]


def run(*arguments: object, home: Path | None = None) -> Result:
    environment = {"NEXUS_HOME": str(home) if home else None}
    return CliRunner().invoke(main, [str(one) for one in arguments], env=environment, catch_exceptions=False)


APPLIED = ended(0, "APPLIED", "version 12 is live in every worker.", version=12, workers=4)
REJECTED = ended(
    3,
    "REJECTED",
    "the directory is not valid; version 12 goes on.",
    ("sources/a.toml:7: source.tier: expected 0 to 3, found 9", "sources/b.toml:1: syntax"),
    version=12,
)
HELD = ended(8, "HELD", "version 13 is live; the rest waits.", held=["destinations.main.db_path", "daemon.port"])
ROLLED_BACK = ended(4, "ROLLED_BACK", "version 13 failed in its canary; version 12 is live.")
INCONCLUSIVE = ended(5, "INCONCLUSIVE", "the supervisor stopped before a verdict.")
CONFLICT = ended(6, "CONFLICT", "expected version 11, version 12 is live.")


@pytest.mark.parametrize("end", [APPLIED, REJECTED, HELD, ROLLED_BACK, INCONCLUSIVE, CONFLICT])
def test_push_leaves_with_the_code_of_its_end_and_prints_the_outcome_first(tmp_path: Path, end: Ended) -> None:
    with ScriptedSupervisor(tmp_path, answer_with(end)):
        result = run("push", tmp_path)

    assert result.exit_code == end.exit_code
    told, silent = (result.stdout, result.stderr) if end.exit_code == 0 else (result.stderr, result.stdout)
    assert told.startswith(end.outcome)
    assert end.text in told
    assert silent == ""


def test_push_says_how_many_workers_have_it(tmp_path: Path) -> None:
    with ScriptedSupervisor(tmp_path, answer_with(APPLIED)):
        assert run("push", tmp_path).stdout == "APPLIED 4/4: version 12 is live in every worker.\n"


def test_push_says_of_how_many_slots_where_the_supervisor_tells(tmp_path: Path) -> None:
    end = ended(0, "APPLIED", "version 12 is live in 3 workers.", version=12, workers=3, slots=4)
    with ScriptedSupervisor(tmp_path, answer_with(end)):
        assert run("push", tmp_path).stdout == "APPLIED 3/4: version 12 is live in 3 workers.\n"


def test_a_rejected_push_shows_each_problem_in_a_line(tmp_path: Path) -> None:
    with ScriptedSupervisor(tmp_path, answer_with(REJECTED)):
        assert run("push", tmp_path).stderr.splitlines() == [
            "REJECTED: the directory is not valid; version 12 goes on.",
            "  sources/a.toml:7: source.tier: expected 0 to 3, found 9",
            "  sources/b.toml:1: syntax",
        ]


def test_a_held_push_lists_the_keys_and_the_command_that_applies_them(tmp_path: Path) -> None:
    directory = tmp_path / "my demo"
    with ScriptedSupervisor(directory, answer_with(HELD)):
        assert run("push", directory).stderr.splitlines() == [
            "HELD: version 13 is live; the rest waits.",
            "  destinations.main.db_path",
            "  daemon.port",
            f"Apply it with: nexus-supervisor restart '{directory}'",
        ]


def test_what_a_restart_does_not_apply_is_applied_by_stop_and_run(tmp_path: Path) -> None:
    held = ended(8, "HELD", "version 13 is live.", held=["destinations.main.db_path", "supervisor.name"])
    with ScriptedSupervisor(tmp_path, answer_with(held)):
        last = run("push", tmp_path).stderr.splitlines()[-1]

    assert last == f"Apply it with: nexus-supervisor stop {tmp_path} && nexus-supervisor run {tmp_path}"


@pytest.mark.parametrize("end", [APPLIED, REJECTED, HELD])
def test_with_json_one_document_is_on_stdout_whatever_the_end(tmp_path: Path, end: Ended) -> None:
    with ScriptedSupervisor(tmp_path, answer_with(end)):
        result = run("push", tmp_path, "--json")

    document = json.loads(result.stdout)
    assert (document["outcome"], document["exit_code"]) == (end.outcome, end.exit_code)
    assert document["problems"] == list(end.problems)
    facts: dict[str, Any] = canonical.decode(end.document)
    assert facts.items() <= document.items()
    assert result.exit_code == end.exit_code
    assert result.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "request_sent"),
    [
        (["push"], PushRequest(reason="", expect=None, wait="active", push_id="p-1")),
        (
            ["push", "--expect", "11", "--reason", "a new key", "--wait", "retired", "--strategy", "rolling"],
            PushRequest(reason="a new key", expect=11, wait="retired", strategy="rolling", push_id="p-1"),
        ),
        (
            ["push", "--now", "--force", "--allow", "shrink", "--allow", "widened", "--reason", "meant"],
            PushRequest("meant", None, "active", now=True, allow=("shrink", "widened"), force=True, push_id="p-1"),
        ),
        (["restart"], RestartRequest(reason="", now=False, push_id="p-1")),
        (["restart", "--now", "--reason", "new code"], RestartRequest("new code", now=True, push_id="p-1")),
        (["restart", "--force", "--reason", "mended"], RestartRequest("mended", now=False, push_id="p-1", force=True)),
        (["rollback"], RollbackRequest(version=None, reason="", push_id="p-1")),
        (["rollback", "11", "--reason", "it was better"], RollbackRequest(11, "it was better", "p-1")),
    ],
)
def test_a_command_that_waits_sends_one_request_and_asks_how_it_goes(
    tmp_path: Path, arguments: list[str], request_sent: object
) -> None:
    with ScriptedSupervisor(tmp_path, answer_with(CONFLICT)) as supervisor:
        run(*arguments, "--push-id", "p-1", "-d", tmp_path)

        asked = [supervisor.next_request()[0] for _ in range(3)]
        assert [type(one) for one in asked[:2]] == [FollowNotices, StatusRequest]
        assert asked[2] == request_sent
        assert supervisor.asked.empty()


@pytest.mark.parametrize(
    ("arguments", "request_sent"),
    [
        (["promote"], SteerRequest("promote", "")),
        (["pause", "--reason", "lunch"], SteerRequest("pause", "lunch")),
        (["resume"], SteerRequest("resume", "")),
        (["abort", "--reason", "errors"], SteerRequest("abort", "errors")),
        (["stop"], StopRequest(now=False)),
        (["stop", "--now"], StopRequest(now=True)),
        (["status"], StatusRequest()),
        (["workers"], StatusRequest(sizes=True)),
        (["top"], StatusRequest(sizes=True)),
    ],
)
def test_a_command_sends_one_request(tmp_path: Path, arguments: list[str], request_sent: object) -> None:
    # a stop that the supervisor doesn't take up leaves it there for the other half of the test
    with ScriptedSupervisor(tmp_path, answer_with(CONFLICT)) as supervisor:
        run(*arguments, "-d", tmp_path)

        assert supervisor.next_request()[0] == request_sent
        assert supervisor.asked.empty()


def phases(end: Ended, *lines: tuple[int, str], rollout: dict[str, Any] | None = None) -> Any:
    """Return a script that tells phases, each a version and a line, before an end."""

    def script(request: object, _: object, reply: Any) -> None:
        if isinstance(request, StatusRequest):
            reply(StatusReport(canonical.encode({**STATUS, "rollout": rollout})))
        elif not isinstance(request, FollowNotices):
            for number, (version, line) in enumerate(lines):
                reply(noticed(number, "rollout_phase", line, version=version, phase=line, moved=1, total=4))
            reply(end)

    return script


@pytest.mark.parametrize("as_json", [False, True])
def test_where_no_terminal_is_each_phase_is_a_line_beside_the_result(tmp_path: Path, *, as_json: bool) -> None:
    told = phases(APPLIED, (12, "Bakes."), (12, "Bakes."), (12, "Wave 1 of 2."), (11, "Too late."), (13, "Starts."))
    with ScriptedSupervisor(tmp_path, told):
        result = run("push", tmp_path, *(["--json"] if as_json else []))

    assert result.stderr.splitlines() == ["Bakes.", "Wave 1 of 2.", "Starts."]
    assert json.loads(result.stdout) if as_json else result.stdout.startswith("APPLIED 4/4: ")


def test_who_comes_while_a_rollout_runs_hears_first_where_it_is(tmp_path: Path) -> None:
    rollout = {"version": 13, "phase": "bake", "moved": 1, "total": 4, "numbers": {"canary_errors": 3}}
    with ScriptedSupervisor(tmp_path, phases(APPLIED, rollout=rollout)):
        result = run("push", tmp_path)

    assert result.stderr == "version 13 bake 1/4, canary 3 err\n"


def test_a_terminal_shows_the_phase_in_a_living_line(tmp_path: Path) -> None:
    # given a push that ends only when its status was asked for again, so that its first status was on the screen
    rollout = {"version": 13, "phase": "[red]bake[/red]", "moved": 1, "total": 4}
    waiting: list[Any] = []
    statuses = []

    def script(request: object, _: object, reply: Any) -> None:
        if isinstance(request, PushRequest):
            waiting.append(reply)
        elif isinstance(request, StatusRequest):
            statuses.append(request)
            reply(StatusReport(canonical.encode({**STATUS, "rollout": rollout})))
            if len(statuses) == 2:
                waiting[0](APPLIED)

    with ScriptedSupervisor(tmp_path, script):
        output = in_terminal({"NO_COLOR": "1"}, "push", tmp_path, both=True)

    assert "version 13 [red]bake[/red] 1/4, " in output
    assert "APPLIED 4/4" in output


def test_a_verdict_shows_its_numbers(tmp_path: Path) -> None:
    end = ended(4, "ROLLED_BACK", "version 13 failed.", numbers={"canary_errors": 31, "error_ratio": 6.20001})
    with ScriptedSupervisor(tmp_path, answer_with(end)):
        result = run("push", tmp_path)

    assert result.stderr.splitlines() == ["ROLLED_BACK: version 13 failed.", "  canary 31 errors; error ratio 6.2"]


def test_a_verdict_without_a_bake_has_no_line_of_figures(tmp_path: Path) -> None:
    nothing = {"bake_seconds": 0.0, "canary_requests": 0, "canary_errors": 0}
    end = ended(0, "APPLIED", "Version 13 is live.", numbers=nothing)
    with ScriptedSupervisor(tmp_path, answer_with(end)):
        result = run("push", tmp_path)

    assert result.stdout.splitlines() == ["APPLIED: Version 13 is live."]


def test_a_request_gets_a_name_of_its_own_and_json_tells_it(tmp_path: Path) -> None:
    with ScriptedSupervisor(tmp_path, answer_with(APPLIED)):
        names = [json.loads(run("push", tmp_path, "--json").stdout)["push_id"] for _ in range(2)]

    assert all(re.fullmatch("[0-9a-f]{32}", name) for name in names)
    assert names[0] != names[1]


def test_what_steers_a_rollout_tells_how_it_was_taken(tmp_path: Path) -> None:
    with ScriptedSupervisor(tmp_path, answer_with(ended(0, "ACCEPTED", "Version 13 goes on to all."))):
        assert run("promote", tmp_path).stdout == "ACCEPTED: Version 13 goes on to all.\n"
    with ScriptedSupervisor(tmp_path, answer_with(ended(6, "CONFLICT", "No rollout runs."))):
        result = run("pause", tmp_path)

    assert (result.exit_code, result.stderr) == (6, "CONFLICT: No rollout runs.\n")


def test_the_status_is_plain_where_no_terminal_is(tmp_path: Path) -> None:
    with ScriptedSupervisor(tmp_path, answer_with()):
        result = run("status", tmp_path)

    assert result.exit_code == 0
    assert "version          12 (digest 3f2a9c81d000)" in result.stdout
    assert "gateway-1" in result.stdout


def test_the_status_in_json_is_the_document_of_the_supervisor(tmp_path: Path) -> None:
    with ScriptedSupervisor(tmp_path, answer_with()):
        assert json.loads(run("status", tmp_path, "--json").stdout) == STATUS
        assert json.loads(run("workers", "-d", tmp_path, "--json").stdout) == STATUS["workers"]


WITH_JSON = [
    "status",
    "workers",
    "push",
    "restart",
    "rollback",
    "stop",
    "promote",
    "pause",
    "resume",
    "abort",
    "events",
]


@pytest.mark.parametrize("command", WITH_JSON)
def test_without_a_supervisor_every_command_leaves_with_7_and_prints_nothing_on_stdout(
    tmp_path: Path, command: str
) -> None:
    result = run(command, "-d", tmp_path, "--json")

    assert result.exit_code == 7
    assert result.stdout == ""
    assert result.stderr.startswith(f"nexus-supervisor: no supervisor runs on {tmp_path}: ")
    assert len(result.stderr.splitlines()) == 1


def test_a_refusal_is_its_sentence_and_its_code(tmp_path: Path) -> None:
    with ScriptedSupervisor(tmp_path, answer_with(Refusal(1, "the journal can't be written: the disk is full"))):
        result = run("push", tmp_path)

    assert result.exit_code == 1
    assert result.stderr == "nexus-supervisor: the journal can't be written: the disk is full\n"


def test_hostile_text_is_shown_and_not_obeyed(tmp_path: Path) -> None:
    hostile = "\x1b[2Jone\ntwo\u202e"
    end = ended(3, "REJECTED", hostile, (hostile,), held=[hostile])
    with ScriptedSupervisor(tmp_path, answer_with(end, noticed(1, text=hostile))):
        outputs = [
            run("push", tmp_path).stderr,
            run("push", tmp_path, "--json").stdout,
            run("events", "-d", tmp_path).stdout,
            run("events", "-d", tmp_path, "--json").stdout,
        ]
    with ScriptedSupervisor(tmp_path, answer_with(Refusal(1, hostile))):
        outputs.append(run("push", tmp_path).stderr)

    for output in outputs:
        assert output.isprintable() or all(one == "\n" or one.isprintable() for one in output)
        assert output


def test_events_are_one_line_each_and_json_lines_with_json(tmp_path: Path) -> None:
    kept = [noticed(number, version=number) for number in range(1, 4)]
    with ScriptedSupervisor(tmp_path, answer_with(*kept)):
        lines = run("events", "-d", tmp_path, "--since", "2").stdout.splitlines()
        documents = [json.loads(line) for line in run("events", "-d", tmp_path, "--json").stdout.splitlines()]

    assert lines[0] == "2026-11-24T06:00:02Z info    committed: Version 2 is live."
    assert len(lines) == 2
    assert [document["number"] for document in documents] == [1, 2, 3]
    assert documents[2]["fields"] == {"version": 3}


def test_followed_events_end_with_the_supervisor(tmp_path: Path) -> None:
    # given a follower in a process of its own
    with (
        ScriptedSupervisor(tmp_path, answer_with(noticed(1))) as supervisor,
        command("events", "-d", tmp_path, "--follow", "--json") as following,
    ):
        assert following.stdout is not None
        assert json.loads(following.stdout.readline())["number"] == 1

        # when another notice comes, and then the supervisor ends
        _, _, reply = supervisor.next_request()
        supervisor.in_loop(lambda: reply(noticed(2)))
        assert json.loads(following.stdout.readline())["number"] == 2
        supervisor.close()

        # then the follower ends, too
        assert following.wait() == 0


def test_an_interrupted_wait_says_so_and_leaves_with_5(tmp_path: Path) -> None:
    with (
        ScriptedSupervisor(tmp_path, lambda *_: None) as supervisor,
        command("push", tmp_path, "--push-id", "p-1") as pushing,
    ):
        for _ in range(3):
            supervisor.next_request()

        pushing.send_signal(signal.SIGINT)
        out, err = pushing.communicate()

    assert (pushing.returncode, out) == (5, "")
    result = f"its result will be in `nexus-supervisor history {tmp_path}` under push p-1"
    assert err == f"nexus-supervisor: interrupted: it goes on; {result}\n"


def test_who_follows_leaves_by_an_interrupt_and_has_what_there_was(tmp_path: Path) -> None:
    with (
        ScriptedSupervisor(tmp_path, answer_with(noticed(1))),
        command("events", tmp_path, "--follow", "--json") as following,
    ):
        assert following.stdout is not None
        assert json.loads(following.stdout.readline())["number"] == 1

        following.send_signal(signal.SIGINT)
        out, err = following.communicate()

    assert (following.returncode, out, err) == (0, "", "")


def test_stop_says_that_the_supervisor_has_ended_when_it_is_gone(tmp_path: Path) -> None:
    program = f"""
from pathlib import Path
from tests.support.control import ScriptedSupervisor, answer_with, ended
with ScriptedSupervisor(Path({os.fspath(tmp_path)!r}), answer_with(ended(0, "ACCEPTED", "It drains."))) as supervisor:
    print("listening", flush=True)
    supervisor.next_request()
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=PROJECT
    ) as supervising:
        assert supervising.stdout is not None
        supervising.stdout.readline()

        result = run("stop", "-d", tmp_path)

        assert supervising.poll() == 0
    assert (result.exit_code, result.stdout) == (0, "ACCEPTED: the supervisor has drained and ended.\n")


def test_the_directory_comes_from_the_argument_the_option_the_environment_or_the_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ScriptedSupervisor(tmp_path, answer_with()):
        assert run("status", tmp_path).exit_code == 0
        assert run("status", "-d", tmp_path).exit_code == 0
        assert run("status", home=tmp_path).exit_code == 0
        assert run("status", home=tmp_path / "elsewhere").exit_code == 7
        monkeypatch.chdir(tmp_path)
        assert run("status").exit_code == 0
        assert run("status", ".", "-d", tmp_path).exit_code == 0


@pytest.mark.parametrize("name", ["push", "restart", "stop", "status", "workers", "events", "promote", "abort"])
def test_every_command_takes_its_directory_as_an_argument_too(tmp_path: Path, name: str) -> None:
    with ScriptedSupervisor(tmp_path, answer_with(CONFLICT, noticed(1))) as supervisor:
        named = ["--push-id", "p-1"] if name in ("push", "restart") else []
        by_option = run(name, *named, "-d", tmp_path)
        asked = [supervisor.next_request()[0] for _ in range(supervisor.asked.qsize())]
        by_argument = run(name, *named, tmp_path)

        assert asked == [supervisor.next_request()[0] for _ in range(supervisor.asked.qsize())]
    assert by_argument.exit_code == by_option.exit_code


ARGUMENTS_OF_THEIR_OWN = {"diff", "explain", "logs", "rollback", "scale", "schema", "show"}


@pytest.mark.parametrize("name", sorted({*main.list_commands(click.Context(main))} - ARGUMENTS_OF_THEIR_OWN))
def test_two_different_directories_are_wrong_usage(tmp_path: Path, name: str) -> None:
    result = run(name, tmp_path, "-d", tmp_path / "other")

    assert result.exit_code == 2
    assert "two directories are named" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["nothing"],
        ["push", "--wait", "forever"],
        ["push", "--expect", "-1"],
        ["push", "--now"],
        ["push", "--force", "--reason", " "],
        ["restart", "--force"],
        ["push", "--allow", "shrink"],
        ["push", "--allow", "everything", "--reason", "x"],
        ["push", "--strategy", "fast"],
        ["push", "--push-id", "two words"],
        ["rollback", "0"],
        ["rollback", "first"],
        ["show"],
        ["explain"],
        ["history", "-n", "0"],
        ["events", "--since", "x"],
        ["stop", "a", "b"],
    ],
)
def test_wrong_usage_leaves_with_2(arguments: list[str]) -> None:
    assert run(*arguments).exit_code == 2


@pytest.mark.parametrize("no_color", [False, True])
def test_a_terminal_gets_colors_only_where_wanted(tmp_path: Path, *, no_color: bool) -> None:
    hostile = {**STATUS, "isolation": "\x1b[2J[red]x[/red]"}
    with ScriptedSupervisor(tmp_path, answer_with(status=hostile)):
        output = in_terminal({"NO_COLOR": "1"} if no_color else {}, "status", tmp_path)

    assert "gateway-1" in output
    assert "\\x1b[2J[red]x[/red]" in output
    assert "\x1b[2J" not in output
    assert ("\x1b[32m" in output) is not no_color


@pytest.mark.parametrize("name", ["status", "workers"])
def test_a_terminal_of_80_columns_shows_every_worker_in_one_line_and_cuts_no_name(tmp_path: Path, name: str) -> None:
    workers = [
        {
            **STATUS["workers"][0],
            "slot": f"gateway-{number}",
            "incarnation": 100 + number,
            "pid": 4_194_304,
            "version": 123_456,
            "oldest_snapshot": 123_456,
            "requests": 12_345_678,
            "rss_bytes": 1000 << 20,
        }
        for number in range(12)
    ]
    with ScriptedSupervisor(tmp_path, answer_with(status={**STATUS, "workers": workers})):
        output = in_terminal({"COLUMNS": "80", "NO_COLOR": "1"}, name, tmp_path)

    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip() for line in output.splitlines()]
    assert max(map(len, lines)) <= 80
    table = lines[next(number for number, line in enumerate(lines) if line.startswith("SLOT")) :]
    assert [line.split()[0] for line in table[1:]] == [f"gateway-{number}" for number in range(12)]
    assert {len(line) for line in table} == {len(table[0])}


_COMMAND = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell in the background has its children ignore it
runpy.run_module("nexus_supervisor", run_name="__main__", alter_sys=True)
"""


def command(*arguments: object) -> subprocess.Popen[str]:
    """Start the real command, which an interrupt reaches however these tests were started."""
    return subprocess.Popen(
        [sys.executable, "-c", _COMMAND, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=PROJECT,
    )


def in_terminal(environment: dict[str, str], *arguments: object, both: bool = False) -> str:
    """Run the real command with its output on a terminal, with ``both`` all of it; return what it wrote."""
    ours, theirs = pty.openpty()
    plain: dict[str, Any] = {
        name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")
    }
    with subprocess.Popen(
        [sys.executable, "-m", "nexus_supervisor", *map(str, arguments)],
        stdout=theirs,
        stderr=theirs if both else None,
        cwd=PROJECT,
        env={**plain, "TERM": "xterm-256color", "COLUMNS": "120", **environment},
    ) as process:
        os.close(theirs)
        written = b""
        try:
            while received := os.read(ours, 1 << 16):
                written += received
        except OSError:  # EIO is the end of a terminal whose other side is closed
            pass
        os.close(ours)
        assert process.wait() == 0
    return written.decode()
