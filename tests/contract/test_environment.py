"""What a container is told about where it runs, and what its own token is good for."""

import json

import pytest

from cpln_flows.settings import CplnSettings
from tests.contract.target import Target

pytestmark = pytest.mark.xdist_group("contract")

# The token itself stays out of the log.
TELL = """
import json, os, urllib.request
env = {name: value for name, value in os.environ.items() if name.startswith("CPLN_") or name == "PORT"}
request = urllib.request.Request(env["CPLN_ENDPOINT"] + "/org/" + env["CPLN_ORG"])
request.add_header("authorization", "Bearer " + env["CPLN_TOKEN"])
env["answer"] = json.load(urllib.request.urlopen(request))["name"]
env["CPLN_TOKEN"] = env["CPLN_TOKEN"][:2]
print(json.dumps(env))
"""


@pytest.fixture(scope="module")
def told(platform: Target) -> dict[str, str]:
    workload = platform.workload(TELL)
    command = platform.ended(platform.start(workload))
    assert command["lifecycleStage"] == "completed", command["status"]
    query = f'{{gvc="{platform.gvc}", replica="{command["status"]["replica"]}"}}'
    (line,) = platform.until(lambda: platform.lines(query))
    return {"workload": workload, "replica": command["status"]["replica"], **json.loads(line)}


@pytest.mark.fact("F011", "F012")
def test_organisation_and_gvc_are_bare_names(platform, told) -> None:
    assert (told["CPLN_ORG"], told["CPLN_GVC"]) == (platform.org, platform.gvc)


@pytest.mark.fact("F014", "F015")
def test_location_and_workload_are_links(platform, told) -> None:
    assert told["CPLN_LOCATION"] == f"{platform.org_link}/location/{platform.location}"
    assert told["CPLN_WORKLOAD"] == told["workload"]


@pytest.mark.fact("F013", "F016", "F109")
def test_alias_and_provider_are_those_of_gvc_and_location(platform, told) -> None:
    location = platform.get(f"{platform.org_link}/location/{platform.location}")
    assert told["CPLN_GVC_ALIAS"] == platform.get(platform.gvc_link)["alias"]
    assert told["CPLN_PROVIDER"] == location["provider"]
    assert location["name"] == f"{location['provider']}-{location['region']}"


@pytest.mark.fact("F017")
def test_the_container_is_told_about_itself(told) -> None:
    assert told["CPLN_IMAGE"] == "python:3.12-slim"
    assert told["CPLN_WORKLOAD_VERSION"] == "1"
    assert {"CPLN_NAME", "CPLN_NAMESPACE", "CPLN_MAIN", "PORT"} <= set(told)


@pytest.mark.fact("F010")
def test_the_global_endpoint_is_a_host_name(told) -> None:
    assert "." in told["CPLN_GLOBAL_ENDPOINT"]
    assert "/" not in told["CPLN_GLOBAL_ENDPOINT"]


@pytest.mark.fact("F003", "F008", "F009", "F028")
def test_its_own_token_reads_the_organisation_over_plain_http_without_an_identity(platform, told) -> None:
    assert told["CPLN_TOKEN"] == "w."
    assert told["CPLN_ENDPOINT"].startswith("http://")
    assert told["answer"] == platform.org


@pytest.mark.fact("F001", "F004")
def test_without_settings_the_library_speaks_to_the_real_platform(monkeypatch) -> None:
    monkeypatch.setenv("CPLN_TOKEN", "s.any")
    settings = CplnSettings.load()
    assert settings.endpoint == "https://api.cpln.io"
    assert settings.logs_endpoint in (None, "wss://logs.cpln.io")
