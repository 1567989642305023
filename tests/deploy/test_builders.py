import pytest
from pydantic import SecretStr

from cpln_flows.deploy import builders
from cpln_flows.deploy.builders import Builder, Login, Machine

TOKEN = SecretStr("s.key")
BOTH = Machine(has_cpln=True, has_docker=True, has_buildx=True, token=TOKEN)
PROFILE = Machine(has_cpln=True, has_docker=True, has_buildx=True, has_profile=True)
LOGGED_OUT = Machine(has_cpln=True, has_docker=True, has_buildx=True)
DOCKER = Machine(has_docker=True, has_buildx=True)
DOCKER_WITH_TOKEN = Machine(has_docker=True, has_buildx=True, token=TOKEN)
NO_BUILDX = Machine(has_docker=True, token=TOKEN)
OLD_DOCKER = Machine(has_cpln=True, has_docker=True, token=TOKEN)
CPLN = Machine(has_cpln=True, token=TOKEN)


@pytest.mark.parametrize(
    ("machine", "wanted", "has_build_args", "builder"),
    [
        pytest.param(BOTH, None, False, Builder.CPLN, id="token"),
        pytest.param(PROFILE, None, False, Builder.CPLN, id="profile"),
        pytest.param(OLD_DOCKER, None, False, Builder.CPLN, id="it-copes-without-buildx"),
        pytest.param(LOGGED_OUT, None, False, Builder.DOCKER, id="logged-out"),
        pytest.param(DOCKER, None, False, Builder.DOCKER, id="no-cpln"),
        pytest.param(BOTH, None, True, Builder.DOCKER, id="build-arguments"),
        pytest.param(BOTH, Builder.DOCKER, False, Builder.DOCKER, id="docker-wanted"),
        pytest.param(BOTH, Builder.CPLN, False, Builder.CPLN, id="cpln-wanted"),
    ],
)
def test_builder_is_what_this_machine_has(machine, wanted, has_build_args, builder) -> None:
    assert builders.builder_of(wanted, machine, has_build_args=has_build_args) is builder


@pytest.mark.parametrize(
    ("machine", "wanted", "has_build_args", "fault"),
    [
        pytest.param(Machine(), None, False, "no docker on PATH; install Docker", id="nothing"),
        pytest.param(CPLN, None, False, "no docker on PATH", id="cpln-without-docker"),
        pytest.param(CPLN, Builder.CPLN, False, "it builds with docker, and", id="cpln-alone"),
        pytest.param(NO_BUILDX, None, False, "no plugin buildx", id="no-buildx"),
        pytest.param(OLD_DOCKER, Builder.DOCKER, False, "no plugin buildx", id="docker-wanted"),
        pytest.param(DOCKER, Builder.CPLN, False, "no cpln on PATH; install it", id="no-cpln"),
        pytest.param(LOGGED_OUT, Builder.CPLN, False, "set CPLN_TOKEN, or run cpln", id="no-login"),
        pytest.param(BOTH, Builder.CPLN, True, "takes no build_args; leave", id="build-arguments"),
    ],
)
def test_why_nothing_can_build_is_reported(machine, wanted, has_build_args, fault) -> None:
    with pytest.raises(ValueError, match=f"^builder: .*{fault}"):
        builders.builder_of(wanted, machine, has_build_args=has_build_args)


@pytest.mark.parametrize(
    ("machine", "wanted", "login"),
    [
        pytest.param(BOTH, None, Login.HELPER, id="token"),
        pytest.param(PROFILE, Builder.CPLN, Login.HELPER, id="profile"),
        pytest.param(BOTH, Builder.DOCKER, Login.TOKEN, id="docker-wanted"),
        pytest.param(DOCKER_WITH_TOKEN, None, Login.TOKEN, id="no-cpln"),
        pytest.param(DOCKER, None, Login.NONE, id="no-token"),
        pytest.param(LOGGED_OUT, None, Login.NONE, id="logged-out"),
        pytest.param(NO_BUILDX, None, Login.TOKEN, id="a-push-needs-no-buildx"),
    ],
)
def test_docker_logs_in_with_what_stores_least(machine, wanted, login) -> None:
    assert builders.login_of(wanted, machine) is login


@pytest.mark.parametrize(
    ("machine", "wanted", "fault"),
    [
        (CPLN, None, "no docker on PATH"),
        (DOCKER, Builder.CPLN, "no cpln on PATH"),
        (LOGGED_OUT, Builder.CPLN, "neither a token nor a profile"),
    ],
)
def test_why_nothing_can_push_is_reported(machine, wanted, fault) -> None:
    with pytest.raises(ValueError, match=fault):
        builders.login_of(wanted, machine)


@pytest.mark.parametrize("value", ["podman", "CPLN", "", 3, ["cpln"]])
def test_unknown_builder_is_a_fault(value) -> None:
    assert builders.wanted_of(None) is None
    assert builders.wanted_of("docker") is Builder.DOCKER
    with pytest.raises(ValueError, match="builder: expected cpln or docker, found "):
        builders.wanted_of(value)


def test_machine_shows_no_token() -> None:
    assert "s.key" not in repr(BOTH)
