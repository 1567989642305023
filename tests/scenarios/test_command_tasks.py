"""Tasks for commands, secrets and images, on the local platform."""

import pytest
from pydantic import SecretStr

from cpln_flows import (
    ConfigurationError,
    CplnConfig,
    CplnCredentials,
    NotFoundError,
    create_workload,
    list_commands,
    list_images,
    read_command,
    reveal_secret,
    start_command,
    stop_command,
    stream_logs,
    upsert_secret,
)
from tests.manifests import FOREVER, native_job

pytestmark = pytest.mark.usefixtures("prefect_api")

PLACE = ("local", "quickstart")


@pytest.fixture
def credentials(local) -> CplnCredentials:
    """Those of the local platform."""
    return CplnCredentials(config=CplnConfig(token=local.platform.token))


def _workload(credentials, script: str) -> None:
    container = {
        "name": "main",
        "image": "python:3.12-slim",
        "command": "python",
        "args": ["-c", script],
    }
    spec = {
        "containers": [container],
        "job": {"schedule": "* * * * *"},
        "defaultOptions": {"suspend": True},
    }
    create_workload(credentials, *PLACE, native_job(**spec) | {"name": "nightly"})


def test_command_is_started_read_and_listed(credentials, capsys) -> None:
    _workload(credentials, "print('hello')")
    pid = start_command(credentials, *PLACE, "nightly", tags={"team": "data"})
    stream_logs(pid, print, credentials=credentials)
    assert "hello" in capsys.readouterr().out
    command = read_command(credentials, pid)
    assert (command["type"], command["tags"]["team"]) == ("runCronWorkload", "data")
    assert [item["id"] for item in list_commands(credentials, *PLACE, "nightly")["items"]] == [
        pid.rpartition(":")[2]
    ]


def test_command_is_stopped_and_seen_to_end(credentials, local) -> None:
    _workload(credentials, FOREVER)
    pid = start_command(credentials, *PLACE, "nightly")
    assert stop_command(credentials, pid)
    assert local.platform.active_jobs == []


@pytest.mark.parametrize("call", [read_command, stop_command])
def test_text_that_is_no_pid_is_refused(call, credentials) -> None:
    with pytest.raises(ConfigurationError, match="nonsense"):
        call(credentials, "nonsense")


def test_secret_is_put_and_revealed_without_being_shown(credentials, caplog) -> None:
    made = upsert_secret(
        credentials, "local", "keys", {"PW": SecretStr("hush-hush"), "USER": "ada"}
    )
    assert (made["name"], made["type"], made.get("data")) == ("keys", "dictionary", None)
    upsert_secret(credentials, "local", "keys", {"PW": SecretStr("other-value")})
    found = reveal_secret(credentials, "local", "keys")
    assert {key: value.get_secret_value() for key, value in found.items()} == {"PW": "other-value"}
    assert "other-value" not in repr(found) + caplog.text
    with pytest.raises(NotFoundError):
        reveal_secret(credentials, "local", "absent")


def test_images_of_an_organization_are_listed(credentials) -> None:
    assert list_images(credentials, "local")["items"] == []
    with pytest.raises(ConfigurationError, match="org: "):
        list_images(credentials, "a/b/c")
