"""The image and the manifest, as far as they can be checked without a container runtime or a cluster.

The image is not built and the manifest is not applied here: their files are read, and what they start is started.
"""

from __future__ import annotations

import configparser
import json
import re
import shutil
import subprocess
import tomllib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest
import yaml

from nexus_supervisor.cli import main
from nexus_supervisor.core.roster import KILL_GRACE_SECONDS
from nexus_supervisor.core.settings import parse
from nexus_supervisor.supervisor import keys
from tests.support.nexus import Nexus

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "Dockerfile"
MANIFEST = ROOT / "deploy" / "kubernetes.yaml"
HOME = "/srv/nexus"


# --- the image -------------------------------------------------------------------------------------------------------


@cache
def instructions() -> tuple[tuple[str, str], ...]:
    """The instructions of the Dockerfile, in order, with continued lines joined."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    found = [line.partition(" ") for line in joined.splitlines() if line.strip()]
    return tuple((name, rest.strip()) for name, _, rest in found)


def last(name: str) -> str:
    """What the final stage says by an instruction."""
    *_, stage = (index for index, (one, _) in enumerate(instructions()) if one == "FROM")
    return [rest for one, rest in instructions()[stage:] if one == name][-1]


def understood(words: list[str]) -> bool:
    command = main.get_command(click.Context(main), words[0])
    if command is None:
        return False
    try:
        _, left, _ = command.make_parser(click.Context(command)).parse_args(list(words[1:]))
    except click.UsageError:
        return False
    return left == []


def test_the_image_holds_what_was_built_and_not_what_it_was_built_with() -> None:
    stages = [rest for name, rest in instructions() if name == "FROM"]
    assert len(stages) == 2
    assert stages[0].endswith(" AS build")
    assert last("COPY").startswith("--from=build ")


def test_everything_that_the_image_is_built_from_is_there_and_is_not_ignored() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    named = {word for name, rest in instructions() if name == "COPY" and "--from" not in rest for word in rest.split()}
    copied = {word for word in named if word != "./"}
    assert copied == allowed
    assert [name for name in copied if not (ROOT / name).exists()] == []


def test_the_image_installs_an_extra_that_exists() -> None:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    extras = re.findall(r'pip install [^&]*"\.\[(\w+)\]"', DOCKERFILE.read_text())
    assert extras
    assert set(extras) <= set(parser["options.extras_require"])


def test_the_image_runs_as_a_user_without_a_name_that_is_root() -> None:
    user, _, group = last("USER").partition(":")
    assert int(user) >= 1_000
    assert int(group) >= 1_000
    assert f"--uid {user} " in DOCKERFILE.read_text()


def test_signals_reach_the_supervisor_and_no_shell() -> None:
    words = [*json.loads(last("ENTRYPOINT")), *json.loads(last("CMD"))]
    assert words[0] == "nexus-supervisor"
    assert understood(words[1:])
    assert last("STOPSIGNAL") == "SIGTERM"


def test_the_health_of_the_image_is_that_of_a_worker() -> None:
    _, _, check = last("HEALTHCHECK").partition("CMD ")
    program, option, code = json.loads(check)
    assert (program, option) == ("python", "-c")
    compile(code, "HEALTHCHECK", "exec")
    port = last("EXPOSE")
    assert f"http://127.0.0.1:{port}/ready" in code
    assert json.loads(last("CMD"))[-1].endswith(f":{port}")


# --- the manifest ----------------------------------------------------------------------------------------------------


@cache
def documents() -> tuple[dict[str, Any], ...]:
    return tuple(yaml.safe_load_all(MANIFEST.read_text()))


def named(kind: str, name: str) -> dict[str, Any]:
    (found,) = [one for one in documents() if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    return found


def pod() -> dict[str, Any]:
    spec: dict[str, Any] = named("StatefulSet", "nexus")["spec"]["template"]["spec"]
    return spec


def container() -> dict[str, Any]:
    (found,) = pod()["containers"]
    assert isinstance(found, dict)
    return found


def files() -> dict[str, str]:
    """The files that the ConfigMaps are mounted as, by their paths in the directory."""
    maps = {one["name"]: one["configMap"]["name"] for one in pod()["volumes"] if "configMap" in one}
    found = {}
    for mount in container()["volumeMounts"]:
        if mount["name"] in maps:
            place = Path(mount["mountPath"]).relative_to(HOME)
            held = named("ConfigMap", maps[mount["name"]])["data"]
            found |= {str(place if "subPath" in mount else place / name): text for name, text in held.items()}
    return found


def test_the_files_of_the_manifest_are_those_of_a_gateway() -> None:
    assert {Path(name).parts[0] for name in files()} == {"daemon.toml", "sources", "destinations"}
    parsed = parse(tomllib.loads(files()["daemon.toml"]), cpu_count=1)
    assert (parsed.errors, parsed.warnings) == ((), ())


def test_the_pod_gets_the_time_that_its_workers_may_take_to_drain() -> None:
    settings = parse(tomllib.loads(files()["daemon.toml"]), cpu_count=1).settings
    pause = int(container()["lifecycle"]["preStop"]["exec"]["command"][1])
    longest = settings.daemon.shutdown.drain_timeout_seconds + KILL_GRACE_SECONDS + pause
    assert pod()["terminationGracePeriodSeconds"] > longest


def test_the_image_of_the_pod_is_that_of_this_version() -> None:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    images = {one["image"] for one in (*pod()["initContainers"], *pod()["containers"])}
    assert images == {f"nexus-supervisor:{parser['metadata']['version']}"}


def test_the_probes_ask_the_port_that_the_daemon_listens_on() -> None:
    settings = parse(tomllib.loads(files()["daemon.toml"]), cpu_count=1).settings
    (port,) = container()["ports"]
    assert settings.programs[0].addresses == (f"0.0.0.0:{port['containerPort']}",)
    probes = {kind: container()[f"{kind}Probe"]["httpGet"] for kind in ("startup", "readiness", "liveness")}
    assert {kind: probe["path"] for kind, probe in probes.items()} == {
        "startup": "/ready",
        "readiness": "/ready",
        "liveness": "/health",
    }
    assert {probe["port"] for probe in probes.values()} == {port["name"]}


def test_the_pod_may_do_nothing_that_it_does_not_need() -> None:
    user, _, group = last("USER").partition(":")
    assert pod()["automountServiceAccountToken"] is False
    context = pod()["securityContext"]
    assert context["runAsNonRoot"] is True
    assert (str(context["runAsUser"]), str(context["runAsGroup"])) == (user, group)
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    for one in (*pod()["initContainers"], *pod()["containers"]):
        assert one["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_no_secret_is_in_the_manifest() -> None:
    assert not [one for one in documents() if one["kind"] == "Secret"]
    references = re.findall(r'api_key = "(\w+):(\w+)"', MANIFEST.read_text())
    assert references
    variables = {one["name"] for one in container()["env"] if "secretKeyRef" in one["valueFrom"]}
    assert {name for kind, name in references if kind == "env"} == variables


def test_the_daemon_of_the_manifest_serves_and_passes_its_probes(tmp_path: Path) -> None:
    directory = tmp_path / "nexus"
    mount(directory, files())
    (directory / "data").mkdir()
    keys.generate(directory)

    with Nexus(directory, env={"BACKEND_KEY": "a-key-for-this-test-only"}) as nexus:
        for kind in ("startup", "readiness", "liveness"):
            assert nexus.request("GET", container()[f"{kind}Probe"]["httpGet"]["path"]).status == 200
        assert nexus.request("GET", "/whoami", "a-key-for-this-test-only").status == 200


def mount(directory: Path, held: dict[str, str]) -> None:
    """Write files as the kubelet shows those of ConfigMaps: links into ``..data``, but for what has a subPath."""
    for name, text in held.items():
        place = directory / name
        if len(Path(name).parts) == 1:
            directory.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
            continue
        moment = place.parent / "..moment"
        moment.mkdir(parents=True, exist_ok=True)
        (moment / place.name).write_text(text)
        if not (place.parent / "..data").is_symlink():
            (place.parent / "..data").symlink_to("..moment")
        place.symlink_to(f"..data/{place.name}")


def leaves(value: Any, path: str = "") -> Iterator[str]:
    """The paths of everything in a document that is not empty."""
    if isinstance(value, dict) and value:
        for key, one in value.items():
            yield from leaves(one, f"{path}.{key}")
    elif isinstance(value, list) and value:
        for number, one in enumerate(value):
            yield from leaves(one, f"{path}[{number}]")
    elif value not in ({}, [], None):
        yield path


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_kubectl_knows_every_field_of_the_pod() -> None:
    whole = named("StatefulSet", "nexus")
    line = ["kubectl", "set", "env", "--local", "-f", "-", "-o", "json", "A=b"]
    shown = subprocess.run(line, input=yaml.safe_dump(whole), capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr
    assert sorted(set(leaves(whole)) - set(leaves(json.loads(shown.stdout)))) == []
