from dataclasses import replace
from pathlib import Path

import pytest

from cpln_flows.deploy import checks
from cpln_flows.deploy.builders import Builder, Login, Machine
from cpln_flows.deploy.checks import GivenBuild, Source
from cpln_flows.errors import ConfigurationError
from tests.deploy.test_builders import BOTH, DOCKER_WITH_TOKEN

SOURCE = Source(Path("/src"), Path("/src/Dockerfile"))
GIVEN = GivenBuild("flows", org="acme")
KNOWN = ["name", "tag", "dockerfile", "push"]


def _check(machine=BOTH, source=SOURCE, **fields) -> checks.Build:
    return checks.checked_build(replace(GIVEN, **fields), source, machine, KNOWN)


def test_build_without_faults_has_what_was_given() -> None:
    build = _check(tag="1.0", push=True)
    assert (build.org, build.name, build.tag, build.source) == ("acme", "flows", "1.0", SOURCE)
    assert (build.builder, build.login, build.push) == (Builder.CPLN, Login.NONE, True)
    assert _check().tag is None


def test_docker_logs_in_only_for_a_push() -> None:
    assert _check(DOCKER_WITH_TOKEN).login is Login.NONE
    assert _check(DOCKER_WITH_TOKEN, push=True).login is Login.TOKEN
    assert _check(build_args={"A": "b"}, push=True).login is Login.HELPER


def test_every_fault_is_reported_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        _check(
            Machine(),
            replace(SOURCE, has_dockerfile=False),
            name="Flows",
            tag=1.1,
            org=None,
            builder="podman",
            platform="linux/arm64",
            build_args=["A=b"],
            push="yes",
            unknown={"dockefile": "x", "cache": True},
        )
    head, *faults = str(caught.value).splitlines()
    assert head == "the image cannot be built:"
    assert [fault.removeprefix("  - ").split(":")[0] for fault in faults] == [
        "dockefile",
        "cache",
        "builder",
        "push",
        "builder",
        "org",
        "name",
        "tag",
        "dockerfile",
        "build_args",
        "platform",
    ]
    assert "did you mean dockerfile?" in faults[0]


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        pytest.param(
            {"source": replace(SOURCE, has_context=False, has_dockerfile=False)},
            "context: there is no folder /src; give",
            id="context",
        ),
        pytest.param(
            {"source": replace(SOURCE, has_dockerfile=False)},
            "dockerfile: there is no file /src/Dockerfile; give",
            id="dockerfile",
        ),
        pytest.param(
            {"build_args": {"a b": "c"}}, "build_args: expected the name of an ARG", id="argument"
        ),
        pytest.param(
            {"build_args": {"A": 3}}, "build_args.A: expected a string, found int", id="number"
        ),
        pytest.param(
            {"build_args": {"A": "x s.key"}}, "build_args.A: it contains the token", id="token"
        ),
    ],
)
def test_single_fault_is_one_line_and_shows_no_token(fields, fault) -> None:
    with pytest.raises(ConfigurationError, match=fault) as caught:
        _check(**fields)
    assert str(caught.value).startswith("the image cannot be built: ")
    assert len(str(caught.value).splitlines()) == 1
    assert "s.key" not in str(caught.value)


def test_push_needs_a_tag_and_docker() -> None:
    push = checks.checked_push("flows", "1.0", "acme", None, BOTH)
    assert (push.org, push.name, push.tag, push.login) == ("acme", "flows", "1.0", Login.HELPER)
    with pytest.raises(ConfigurationError) as caught:
        checks.checked_push("flows", "", None, None, Machine())
    assert [line.split(":")[0] for line in str(caught.value).splitlines()] == [
        "the image cannot be pushed",
        "  - org",
        "  - tag",
        "  - builder",
    ]
