"""What both kinds of manifest say of a container, and of all containers together."""

from typing import Any

import pytest

from cpln_flows.manifest import containers, limits
from cpln_flows.manifest.document import Reader
from cpln_flows.manifest.manifest import ContainerSpec


def _reader(**fields: Any) -> Reader:
    return Reader(fields, "c", [])


def _faults(reader: Reader) -> list[str]:
    return [fault.path for fault in reader.faults]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("1", "1"),
        ("", ""),
        (None, ""),
        (1, "1"),
        (1.5, "1.5"),
        (True, "true"),
        (False, "false"),
        ("cpln://secret/s.K",) * 2,
    ],
)
def test_the_value_of_a_variable_is_a_text(value, text) -> None:
    reader = _reader(env=[{"name": "A", "value": value}])
    assert containers.environment(reader) == {"A": text}
    assert reader.faults == []


@pytest.mark.parametrize(
    ("env", "path"),
    [
        ([{"name": "A", "value": []}], "c.env[0].value"),
        ([{"name": "A", "value": "v" * 4097}], "c.env[0].value"),
        ([{"name": "A", "valueFrom": {"fieldRef": {}}}], "c.env[0].valueFrom"),
        ([{"name": "A", "other": 1}], "c.env[0].other"),
        ([{"value": "1"}], "c.env[0].name"),
        ([{"name": "CPLN_ORG"}], "c.env[0].name"),
        ([{"name": "A"}, {"name": "A"}], "c.env[1].name"),
        ("A=1", "c.env"),
    ],
)
def test_a_variable_that_cannot_be_set_is_a_fault(env, path) -> None:
    reader = _reader(env=env)
    containers.environment(reader)
    assert _faults(reader) == [path]


@pytest.mark.parametrize(
    ("value", "form", "faults"),
    [
        (None, None, []),
        ("500m", "500m", []),
        (1, "1000m", []),
        ("1m", None, ["c.cpu"]),
        ([], None, ["c.cpu"]),
    ],
)
def test_an_amount_is_read_in_the_platforms_form(value, form, faults) -> None:
    reader = _reader(cpu=value)
    assert containers.amount(reader, "cpu", limits.cpu) == form
    assert _faults(reader) == faults


@pytest.mark.parametrize(
    ("folder", "faults"), [("/", []), ("/a", []), ("a", ["c.workingDir"]), ("", ["c.workingDir"])]
)
def test_a_working_folder_is_absolute(folder, faults) -> None:
    reader = _reader(workingDir=folder)
    containers.working_folder(reader)
    assert _faults(reader) == faults


@pytest.mark.parametrize(
    ("given", "hooks", "faults"),
    [
        (None, {}, []),
        ({"preStop": {"exec": {"command": ["a"]}}}, {"preStop": {"exec": {"command": ["a"]}}}, []),
        ({"preStop": {}, "postStart": {"exec": {"command": []}}}, {}, []),
        ({"preStop": {"sleep": {"seconds": 1}}}, {}, ["c.lifecycle.preStop.sleep"]),
        ({"preStop": {"exec": {"command": "a"}}}, {}, ["c.lifecycle.preStop.exec.command"]),
        ({"other": {"exec": {}}}, {}, ["c.lifecycle.other"]),
    ],
)
def test_hooks_are_commands(given, hooks, faults) -> None:
    reader = _reader(lifecycle=given)
    assert containers.lifecycle(reader) == hooks
    assert _faults(reader) == faults


@pytest.mark.parametrize(
    ("given", "tags", "faults"),
    [
        (None, {}, []),
        (
            {"a": "b", "c": 1, "d": True, "e": 1.5},
            {"a": "b", "c": "1", "d": "true", "e": "1.5"},
            [],
        ),
        ({"a": None}, {}, ["c.tags.a"]),
        ({"a": []}, {}, ["c.tags.a"]),
        ([], {}, ["c.tags"]),
        ("a", {}, ["c.tags"]),
    ],
)
def test_tags_are_texts(given, tags, faults) -> None:
    reader = _reader(tags=given)
    assert containers.tags_of(reader, "tags") == tags
    assert _faults(reader) == faults


def _checked(*specs: ContainerSpec, relaxed: bool = False, **raw: Any) -> list[str]:
    faults: list[Any] = []
    found = [(Reader(raw, f"containers[{n}]", faults), spec) for n, spec in enumerate(specs)]
    parent = Reader({"containers": [{} for _ in specs]}, "", faults)
    containers.check_containers(found, parent, relaxed=relaxed)
    return [fault.path for fault in faults]


@pytest.mark.parametrize(
    ("specs", "paths"),
    [
        pytest.param([], ["containers"], id="none"),
        pytest.param([ContainerSpec(f"c{n}", "i") for n in range(8)], [], id="most"),
        pytest.param(
            [ContainerSpec(f"c{n}", "i") for n in range(9)], ["containers"], id="too-many"
        ),
        pytest.param(
            [ContainerSpec("aa", "i"), ContainerSpec("aa", "i")],
            ["containers[1].name"],
            id="one-name-twice",
        ),
        pytest.param([ContainerSpec("istio-proxy", "i")], ["containers[0].name"], id="reserved"),
        pytest.param([ContainerSpec("aa", "i", command="x" * 256)], [], id="longest-command"),
        pytest.param(
            [ContainerSpec("aa", "i", command="x" * 257)],
            ["containers[0].command"],
            id="command-too-long",
        ),
        pytest.param(
            [ContainerSpec("aa", "i", memory="401Mi")],
            ["containers[0].memory"],
            id="memory-for-default-cpu",
        ),
    ],
)
def test_containers_are_looked_at_together(specs, paths) -> None:
    assert _checked(*specs) == paths


def test_too_much_memory_is_named_where_the_manifest_says_it() -> None:
    large = ContainerSpec("aa", "i", cpu="25m", memory="800Mi")
    assert _checked(large, resources={"limits": {}}) == ["containers[0].resources"]
    assert _checked(large, relaxed=True) == []
