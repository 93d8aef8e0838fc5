"""The application's own hook ``validate``: what it is asked about, and what becomes of whatever it does."""

from __future__ import annotations

import itertools
import signal
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

from nexus_supervisor.compiler import compile_once
from nexus_supervisor.core.compilation import Look, Refused, Seen
from tests.support.compiler_process import PATIENCE_SECONDS, compiler
from tests.support.compiling import Desk, assert_problem, entry, lines, names
from tests.support.tuned import DAEMON, clients, make_desk, models

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HEAD = "from nexus_supervisor.models.hooks import Objection\n"
NUMBERS = itertools.count()


class Hooked:
    """Hold a desk whose daemon.toml names hooks, and write those."""

    def __init__(self, directory: Path) -> None:
        self.module = f"validating_hooks_{next(NUMBERS)}"
        declared = DAEMON.replace('program = "asgi"', f'program = "asgi"\nhooks = "{self.module}"')
        daemon = f'[daemon]\ncolor = "red"\n\n{declared}'
        self.desk = make_desk(directory, daemon=daemon)
        self.desk.write("models.toml", models(fast='token = "first-token"', slow=""))

    def write(self, *body: str) -> Desk:
        """Write the body of ``validate(snapshot)``."""
        indented = textwrap.indent("\n".join(body), "    ")
        return self.write_module(f"{HEAD}def validate(snapshot):\n{indented}\n")

    def write_module(self, text: str) -> Desk:
        self.desk.write(f"{self.module}.py", text)
        return self.desk


@pytest.fixture
def hooked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hooked]:
    hooked = Hooked(tmp_path / "tuner")
    monkeypatch.syspath_prepend(str(hooked.desk.directory))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield hooked
    sys.modules.pop(hooked.module, None)


def test_a_hook_that_has_nothing_to_say_changes_nothing(hooked: Hooked) -> None:
    desk = hooked.write("return None")

    desk.go_live(whole=True)

    assert names(desk.content, "models") == ["fast", "slow"]


def test_the_hook_sees_the_snapshot_that_workers_will_see(hooked: Hooked) -> None:
    desk = hooked.write(
        "assert snapshot.models['fast'].token.reveal() == 'first-token'",
        "assert snapshot.models['fast'].limits.capacity == 10",
        "assert sorted(snapshot.clients) == ['a', 'b', 'c']",
        "assert dict(snapshot.daemon) == {'color': 'red'}",
        "assert (snapshot.version, snapshot.derived) == (0, None)",
        "assert len(snapshot.digest) == 64",
    )

    assert desk.seen().blocked == ()


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            "raise Objection('too slow', section='models', entry='slow', key='timeout')",
            r"models\.toml:5: models\.slow\.timeout: too slow$",
        ),
        (
            "yield Objection('no such thing', section='clients', entry='b', key='model')",
            r"clients/first\.toml:6: client\[1\]\.model: no such thing$",
        ),
        (
            "return [Objection('deep', section='models', entry='fast', key='limits.low')]",
            r"models\.toml:1: models\.fast\.limits\.low: deep$",
        ),
        (
            "return Objection('who?', section='clients', entry='nobody', key='x[0].y')",
            r"clients\.nobody\.x\[0\]\.y: who\?$",
        ),
        ("return Objection('none of it', section='clients')", r"clients: none of it$"),
        ("return Objection('my key', section='daemon', key='color')", r"daemon\.toml:2: daemon\.color: my key$"),
        ("raise Objection('just no')", r"daemon\.toml:6: supervisor\.hooks: validate refuses this: just no$"),
        ("raise ValueError('bad \\x1b idea')", r"daemon\.toml:6: supervisor\.hooks: .* bad \\u001b idea$"),
        ("raise ValueError", r"daemon\.toml:6: supervisor\.hooks: validate refuses this: ValueError$"),
        ("raise ValueError(snapshot.models['fast'].token.reveal())", r"daemon\.toml:6: .*: <secret>$"),
        (
            "raise KeyError(snapshot.models['fast'].token.reveal())",
            r"daemon\.toml:6: .* failed with KeyError at .*\.py:3: mend it$",
        ),
        ("snapshot.models['fast'].timeout = 3", r"daemon\.toml:6: .* failed with TypeError at .*: mend it$"),
        ("raise SystemExit(3)", r"daemon\.toml:6: .* validate failed with SystemExit at .*\.py:3: mend it$"),
        (
            "class Odd(BaseException): pass\nraise Odd(snapshot.models['fast'].token.reveal())",
            r"daemon\.toml:6: .* validate failed with Odd at .*\.py:4: mend it$",
        ),
        ("raise KeyboardInterrupt", r"daemon\.toml:6: .* failed with KeyboardInterrupt at .*\.py:3: mend it$"),
        (
            "class Mute(ValueError):\n    def __str__(self): raise OSError('first-token')\nraise Mute",
            r"daemon\.toml:6: .*: a Mute whose text can't be made \(OSError at .*\.py:4\)$",
        ),
        ("raise Objection('m', section=None, entry=None, key=None)", r"daemon\.toml:6: .* validate refuses this: m$"),
        (
            "raise Objection('m', section='models', entry='fast', key=snapshot.models['fast'].token.reveal())",
            r"models\.toml:1: models\.fast\.<secret>: m$",
        ),
        ("raise Objection('m', section='x\\x1b', entry='first-token')", r"x\\u001b\.<secret>: m$"),
        ("return 3", r"daemon\.toml:6: .* expected validate to return or yield Objections, found int: mend it$"),
        ("return 'no'", r"daemon\.toml:6: .* expected validate to return or yield Objections, found str: mend it$"),
        ("yield 'no'", r"daemon\.toml:6: .* expected validate to return or yield Objections, found str: mend it$"),
    ],
)
def test_what_the_hook_says_is_told_with_file_line_and_key(hooked: Hooked, body: str, expected: str) -> None:
    desk = hooked.write(body)
    desk.write("models.toml", models(fast='token = "first-token"', slow="timeout = 9.0"))

    refused = desk.refused()

    assert len(refused.problems) == 1
    assert_problem(refused, expected)
    assert "first-token" not in repr(refused)


def test_all_objections_are_told_also_those_before_a_failure(hooked: Hooked) -> None:
    desk = hooked.write(
        "for name in snapshot.clients:",
        "    yield Objection('no', section='clients', entry=name)",
        "raise ValueError('and more')",
    )

    assert lines(desk.refused()) == [
        "clients/first.toml:1: client[0]: no",
        "clients/first.toml:6: client[1]: no",
        "clients/second.toml:1: client[0]: no",
        "daemon.toml:6: supervisor.hooks: validate refuses this: and more",
    ]


def test_objections_without_end_are_cut(hooked: Hooked) -> None:
    desk = hooked.write("n = 0", "while True:", "    n += 1", "    yield Objection(f'number {n}' + 'x' * 100_000)")

    refused = desk.refused()

    assert len(refused.problems) == 101
    assert all(len(line) < 1_500 for line in lines(refused))


def test_the_next_good_edit_goes_live_and_an_accepted_content_is_not_asked_about_again(hooked: Hooked) -> None:
    desk = hooked.write_module(
        HEAD + "asked = []\n"
        "def validate(snapshot):\n"
        "    asked.append(snapshot.digest)\n"
        "    if snapshot.models['slow'].timeout > 5:\n"
        "        raise Objection('too slow', section='models', entry='slow', key='timeout')\n"
    )
    desk.go_live(whole=True)
    desk.seen()
    desk.write("models.toml", models(fast="", slow="timeout = 9.0"))
    desk.refused()
    desk.refused()
    desk.write("models.toml", models(fast="", slow="timeout = 2.0"))
    seen = desk.go_live()

    asked = sys.modules[hooked.module].asked
    assert len(asked) == 4
    assert (asked[1], asked[3]) == (asked[2], seen.digest)


def test_only_what_changed_is_built_for_the_hook(hooked: Hooked) -> None:
    desk = hooked.write_module(HEAD + "seen = []\ndef validate(snapshot):\n    seen.append(snapshot)\n")
    desk.go_live(whole=True)
    desk.write("clients/first.toml", clients("a", "b", b="tier = 0"))
    desk.go_live()

    before, after = sys.modules[hooked.module].seen
    assert after.clients["a"] is before.clients["a"]
    assert after.clients["b"] is not before.clients["b"]


def test_what_goes_live_beside_a_held_field_is_asked_about_too(hooked: Hooked) -> None:
    desk = hooked.write(
        "fast = snapshot.models['fast']",
        "if fast.device == 'cpu' and fast.timeout > 5:",
        "    raise Objection('only a gpu may take so long', section='models', entry='fast', key='timeout')",
    )
    before = desk.go_live(whole=True)
    desk.write("models.toml", models(fast='token = "first-token"\ntimeout = 9.0\ndevice = "gpu"', slow=""))
    (desk.directory / "clients/second.toml").unlink()

    seen = desk.go_live()

    assert [str(one) for one in seen.blocked] == ["models.toml:3: models.fast.timeout: only a gpu may take so long"]
    assert (seen.gone, seen.digest) == (("clients.c",), before.digest)
    assert names(desk.remaining(seen), "clients") == ["a", "b"]
    assert entry(desk.content, "models", "fast")["timeout"] == 1.0
    assert desk.go_live(whole=True).blocked == ()


def test_what_remains_after_a_revocation_is_asked_about(hooked: Hooked) -> None:
    desk = hooked.write("if 'slow' not in snapshot.models:", "    raise Objection('slow must stay', section='models')")
    desk.go_live(whole=True)
    desk.write("clients/first.toml", "[[client")
    desk.write("models.toml", models(fast='token = "first-token"'))

    refused = desk.refused()

    assert (refused.gone, refused.revoked) == (("models.slow",), None)
    assert [str(one) for one in refused.remains] == ["models: slow must stay"]


def test_an_objection_to_a_candidate_blocks_no_revocation(hooked: Hooked) -> None:
    desk = hooked.write("if snapshot.models['slow'].timeout > 5:", "    raise Objection('too slow')")
    desk.go_live(whole=True)
    desk.write("models.toml", models(fast='token = "first-token"', slow="timeout = 9.0"))
    desk.write("clients/second.toml", "")

    refused = desk.refused()

    assert refused.gone == ("clients.c",)
    assert names(desk.applied(refused), "clients") == ["a", "b"]


def test_a_recalled_content_is_asked_about_as_it_would_go_live(hooked: Hooked) -> None:
    desk = hooked.write(
        "fast = snapshot.models['fast']",
        "if fast.device == 'gpu' and fast.timeout < 2:",
        "    raise Objection('a gpu needs time', section='models', entry='fast', key='timeout')",
    )
    desk.go_live(whole=True)
    older = desk.content
    desk.write("models.toml", models(fast='token = "first-token"\ntimeout = 5.0\ndevice = "gpu"', slow=""))
    desk.go_live(whole=True)

    assert desk.not_recalled(older) == ["models.fast.timeout: a gpu needs time"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "can't be loaded: No module named"),
        ("import no_such_module_at_all", "can't be loaded: No module named 'no_such_module_at_all'"),
        ("raise RuntimeError('with a secret')", "can't be loaded: RuntimeError at"),
        ("async def validate(snapshot): ...", "expected validate to be a plain function, found an async one"),
        ("async def prepare(snapshot):\n    yield", "expected prepare to be a plain function, found an async one"),
        ("class Hook:\n    async def __call__(self, snapshot): ...\nprobe = Hook()", "probe to .*, found an async one"),
        ("def prepare(snapshot):\n    yield", "prepare to be a plain function, found a generator function, whose body"),
        ("def retired(old):\n    yield", "retired to be a plain function, found a generator function"),
        ("validate = 3", "expected validate to be a plain function, found another thing of that name"),
        ("def prepair(snapshot): ...\ndef probe(snapshot): ...", "there is no hook prepair: did you mean prepare"),
        ("def activate(old, new): ...", "there is no hook activate: did you mean activated"),
        ("def validate(snapshot, more): ...", "expected validate to take 1 snapshot"),
        ("def prepare(): ...", "expected prepare to take 2 snapshots"),
        ("def validate(snapshot):\n    (", r"can't be loaded: SyntaxError \('\(' was never closed\) at .*\.py:2"),
        ("validat = None", "the module has none of validate, prepare, probe, activated, retired"),
    ],
)
def test_hooks_that_can_not_be_loaded_are_a_problem_of_daemon_toml_until_they_are_mended(
    hooked: Hooked, text: str | None, words: str
) -> None:
    desk = hooked.desk
    if text is not None:
        hooked.write_module(text)

    refused = desk.refused()

    assert_problem(refused, rf"daemon\.toml:6: supervisor\.hooks: the hooks '{hooked.module}' .*{words}")
    assert "with a secret" not in repr(refused)

    hooked.write_module("def validate(snapshot):\n    pass\n# so that its size is another one\n")
    assert desk.seen().blocked == ()


def test_hooks_that_can_not_be_loaded_any_more_block_no_revocation(hooked: Hooked) -> None:
    desk = hooked.write("return None")
    desk.go_live(whole=True)
    sys.modules.pop(hooked.module)
    hooked.write_module("def validate(snapshot:")
    desk.write("clients/second.toml", "")
    desk.restart()

    refused = desk.refused()

    assert_problem(refused, r"daemon\.toml:6: supervisor\.hooks: ")
    assert refused.gone == ("clients.c",)
    assert names(desk.applied(refused), "clients") == ["a", "b"]


def test_a_hook_that_never_ends_is_ended_by_the_processor_time_of_the_compiler(hooked: Hooked) -> None:
    desk = hooked.write("while snapshot.models['slow'].timeout > 5:", "    pass")
    settings = (desk.directory / "daemon.toml").read_text()
    desk.write("daemon.toml", f"{settings}\n[supervisor.limits]\ncompile_cpu_seconds = 1\n")
    with compiler(desk.directory) as process:
        assert isinstance(process.look(), Seen)
        desk.write("models.toml", models(fast="", slow="timeout = 9.0"))
        process.wire.send(Look(1, None, whole=False))

        assert process.wire.receive() is None
        process.child.wait(PATIENCE_SECONDS)
        assert process.child.returncode == -signal.SIGXCPU


def test_checking_once_asks_the_hook_too(hooked: Hooked) -> None:
    desk = hooked.write("raise Objection('not like this')")

    verdict = compile_once(desk.directory, {})

    assert isinstance(verdict, Refused)
    assert_problem(verdict, r"daemon\.toml:6: supervisor\.hooks: validate refuses this: not like this")
