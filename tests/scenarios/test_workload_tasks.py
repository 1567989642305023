"""prefect-cpln's tasks for workloads, in a flow and without one, in sync code and in async code."""

import anyio
import pytest
from prefect import flow

from cpln_flows import (
    ConfigurationError,
    CplnConfig,
    CplnCredentials,
    NotFoundError,
    create_workload,
    delete_workload,
    list_workloads,
    patch_workload,
    read_workload,
    replace_workload,
)
from cpln_flows.emulator import Platform, PlatformConfig
from tests.manifests import native_job

pytestmark = pytest.mark.usefixtures("prefect_api")

PLACE = ("local", "quickstart")


@pytest.fixture
def credentials(local) -> CplnCredentials:
    """Those of the local platform."""
    return CplnCredentials(config=CplnConfig(token=local.platform.token))


def _body(name: str = "nightly", **tags: str) -> dict:
    return native_job(job={"schedule": "* * * * *"}, defaultOptions={"suspend": True}) | {
        "name": name,
        "tags": tags,
    }


def test_life_of_a_workload(credentials) -> None:
    made = create_workload(credentials, *PLACE, _body(team="data"))
    assert (made["name"], made["tags"]["team"], made["spec"]["type"]) == ("nightly", "data", "cron")
    assert patch_workload(credentials, *PLACE, "nightly", {"tags": {"owner": "ada"}})["tags"] == {
        "team": "data",
        "owner": "ada",
    }
    assert replace_workload(credentials, *PLACE, _body(team="web"))["tags"] == {"team": "web"}
    assert read_workload(credentials, *PLACE, "nightly")["version"] == 3
    assert [item["name"] for item in list_workloads(credentials, *PLACE)["items"]] == ["nightly"]
    assert delete_workload(credentials, *PLACE, "nightly") is None
    with pytest.raises(NotFoundError):
        read_workload(credentials, *PLACE, "nightly")


def test_tasks_are_awaited_in_async_code(credentials) -> None:
    @flow
    async def night() -> str:
        made = await create_workload(credentials, "/org/local", "//gvc/quickstart", _body())
        return made["name"]

    assert anyio.run(night) == "nightly"


@pytest.mark.parametrize("local", [lambda: Platform(PlatformConfig(page_size=2))], indirect=True)
def test_list_has_the_workloads_of_all_pages(credentials) -> None:
    for number in range(5):
        create_workload(credentials, *PLACE, _body(f"nightly-{number}"))
    names = [item["name"] for item in list_workloads(credentials, *PLACE)["items"]]
    assert sorted(names) == [f"nightly-{number}" for number in range(5)]


@pytest.mark.parametrize("name", ["", "a/b", "../secret/keys", "a?b", None, 7])
def test_name_that_cannot_be_one_is_refused(name, credentials) -> None:
    with pytest.raises(ConfigurationError, match="name: expected the name of a workload"):
        read_workload(credentials, *PLACE, name)
    with pytest.raises(ConfigurationError, match="name: expected the name of a workload"):
        create_workload(credentials, *PLACE, _body() | {"name": name})


def test_place_that_cannot_be_one_is_refused(credentials) -> None:
    with pytest.raises(ConfigurationError, match="org and gvc: "):
        list_workloads(credentials, "local", "/org/another/gvc/dev")


def test_failed_task_is_one_log_line(credentials, caplog) -> None:
    @flow
    def night() -> None:
        read_workload(credentials, *PLACE, "nightly")

    with pytest.raises(NotFoundError):
        night()
    said = [line for line in caplog.messages if "[CPLN] Workload" in line]
    assert len(said) == 1
    assert "404" in said[0]
    assert not [
        record
        for record in caplog.records
        if record.exc_info and record.name.startswith("prefect.task_runs")
    ]
