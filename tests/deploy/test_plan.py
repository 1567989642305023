"""The command lines, as the vendor's documentation and its command line 3.10.1 have them."""

from pathlib import Path

import pytest

from cpln_flows.deploy import plan
from cpln_flows.deploy.builders import Builder, Login
from cpln_flows.deploy.checks import Build, Source
from cpln_flows.deploy.names import Image

SOURCE = Source(Path("/src"), Path("/src/image/Dockerfile"))
IMAGE = Image("acme", "flows", "1.0")
DOCKER_BUILD = (
    "docker buildx build --platform linux/amd64 --file /src/image/Dockerfile"
    " --tag acme.registry.cpln.io/flows:1.0"
)
CPLN_BUILD = (
    "cpln image build --org acme --name flows:1.0 --dockerfile /src/image/Dockerfile --dir /src"
    " --platform linux/amd64"
)
CPLN_LOGIN = "cpln image docker-login --org acme"
DOCKER_LOGIN = "docker login acme.registry.cpln.io --username <token> --password-stdin"
DOCKER_PUSH = "docker push acme.registry.cpln.io/flows:1.0"


def _lines(found: plan.Plan) -> list[str]:
    commands = [*found.commands, *([found.last] if found.last else [])]
    return [" ".join(command.arguments) for command in commands]


def _build(builder=Builder.DOCKER, login=Login.NONE, **fields) -> plan.Plan:
    return plan.build_plan(Build("acme", "flows", "1.0", SOURCE, builder, login, **fields), IMAGE)


@pytest.mark.parametrize(
    ("fields", "lines"),
    [
        pytest.param({"builder": Builder.CPLN}, [CPLN_BUILD], id="cpln"),
        pytest.param(
            {"builder": Builder.CPLN, "push": True}, [f"{CPLN_BUILD} --push"], id="cpln-pushes"
        ),
        pytest.param({}, [f"{DOCKER_BUILD} --load /src"], id="docker"),
        pytest.param(
            {"build_args": (("A", "b c"), ("D", "e"))},
            [f"{DOCKER_BUILD} --build-arg A=b c --build-arg D=e --load /src"],
            id="build-arguments",
        ),
        pytest.param(
            {"push": True, "login": Login.HELPER},
            [CPLN_LOGIN, f"{DOCKER_BUILD} --push /src"],
            id="docker-pushes-with-the-helper",
        ),
        pytest.param(
            {"push": True, "login": Login.TOKEN},
            [DOCKER_LOGIN, f"{DOCKER_BUILD} --push /src", "docker logout acme.registry.cpln.io"],
            id="docker-pushes-with-the-token",
        ),
    ],
)
def test_build_runs_these_commands(fields, lines) -> None:
    assert _lines(_build(**fields)) == lines


@pytest.mark.parametrize(
    ("login", "lines"),
    [
        (Login.HELPER, [CPLN_LOGIN, DOCKER_PUSH]),
        (Login.TOKEN, [DOCKER_LOGIN, DOCKER_PUSH, "docker logout acme.registry.cpln.io"]),
        (Login.NONE, [DOCKER_PUSH]),
    ],
)
def test_push_runs_these_commands(login, lines) -> None:
    assert _lines(plan.push_plan(login, IMAGE)) == lines


def test_only_the_login_of_docker_reads_the_token() -> None:
    found = plan.push_plan(Login.TOKEN, IMAGE)
    assert [command.takes_token for command in found.commands] == [True, False]
    assert found.last is not None
    assert not found.last.takes_token


def test_advice_names_the_permission_where_something_is_pushed() -> None:
    assert "permission create on images" in _build(push=True).commands[0].advice
    assert "permission" not in _build().commands[0].advice
