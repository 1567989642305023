"""What a container is told about where it runs, and what its own token is good for."""

import base64
import json
from typing import Any

import pytest

from cpln_flows.settings import CplnSettings
from tests.contract.target import IMAGE, Target

pytestmark = pytest.mark.xdist_group("contract")

# The token itself stays out of the log.
TELL = """
import json, os, urllib.request
env = {
    name: value
    for name, value in os.environ.items()
    if name.startswith("CPLN_") or name == "PORT"
}
request = urllib.request.Request(env["CPLN_ENDPOINT"] + "/org/" + env["CPLN_ORG"])
request.add_header("authorization", "Bearer " + env["CPLN_TOKEN"])
env["answer"] = json.load(urllib.request.urlopen(request))["name"]
env["CPLN_TOKEN"] = env["CPLN_TOKEN"][:2]
print(json.dumps(env))
"""


@pytest.fixture(scope="module")
def told(platform: Target) -> dict[str, Any]:
    names = ("main", "side")
    containers = [
        {"name": name, "image": IMAGE, "command": "python", "args": ["-c", TELL]} for name in names
    ]
    workload = platform.workload(containers=containers)
    command = platform.ended(platform.start(workload))
    assert command["lifecycleStage"] == "completed", command["status"]
    replica = command["status"]["replica"]
    queries = [
        f'{{gvc="{platform.gvc}", replica="{replica}", container="{name}"}}' for name in names
    ]
    main, side = [
        json.loads(platform.until(lambda query=query: platform.lines(query))[0])
        for query in queries
    ]
    return {"workload": workload, "replica": replica, "side": side, **main}


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
    assert all(told[name] for name in ("CPLN_NAME", "CPLN_NAMESPACE", "CPLN_MAIN"))
    assert told["PORT"].isdigit()
    assert "CPLN_MAIN" not in told["side"]


@pytest.mark.fact("F010")
def test_the_global_endpoint_is_a_host_name(told) -> None:
    assert "." in told["CPLN_GLOBAL_ENDPOINT"]
    assert "/" not in told["CPLN_GLOBAL_ENDPOINT"]


@pytest.mark.fact("F003", "F008", "F009", "F028")
def test_its_own_token_reads_the_organisation_over_plain_http_without_an_identity(
    platform, told
) -> None:
    assert told["CPLN_TOKEN"] == "w."
    assert told["CPLN_ENDPOINT"].startswith("http://")
    assert told["answer"] == platform.org


ASK = """
import os, urllib.error, urllib.request
for name in ("CPLN_TOKEN", "KEY"):
    headers = {"authorization": os.environ[name]}
    request = urllib.request.Request(os.environ["LOGS"], headers=headers)
    try:
        print(urllib.request.urlopen(request).status, flush=True)
    except urllib.error.HTTPError as error:
        print(error.code, flush=True)
"""


def bound(platform: Target, kind: str, permission: str) -> str:
    """A new identity that may do something with every object of a kind."""
    identity = platform.create(f"{platform.gvc_link}/identity", {"name": platform.name("identity")})
    bindings = [{"permissions": [permission], "principalLinks": [identity]}]
    policy = {
        "name": platform.name("policy"),
        "targetKind": kind,
        "target": "all",
        "bindings": bindings,
    }
    platform.create(f"{platform.org_link}/policy", policy)
    return identity


def said(
    platform: Target, script: str, values: dict[str, str], identity: str, count: int = 1
) -> list[str]:
    """The lines of a run of a script with an identity and variables of its own."""
    env = [{"name": name, "value": value} for name, value in values.items()]
    container = {
        "name": "main",
        "image": IMAGE,
        "command": "python",
        "args": ["-c", script],
        "env": env,
    }
    outside = {"external": {"outboundAllowCIDR": ["0.0.0.0/0"]}}
    workload = platform.workload(
        containers=[container], identityLink=identity, firewallConfig=outside
    )
    command = platform.ended(platform.start(workload))
    assert command["lifecycleStage"] == "completed", command["status"]
    query = f'{{gvc="{platform.gvc}", replica="{command["status"]["replica"]}"}}'
    return platform.until(lambda: len(lines := platform.lines(query)) >= count and lines)


@pytest.mark.fact("F027")
def test_logs_are_read_with_a_key_and_not_with_the_containers_own_token(platform) -> None:
    key = platform.key({"targetKind": "org", "target": "all", "permissions": ["readLogs"]})
    url = (
        f"{platform.logs_url}/logs/org/{platform.org}"
        "/loki/api/v1/query_range?query=%7Bgvc%3D%22none%22%7D"
    )
    own, with_key = said(
        platform, ASK, {"LOGS": url, "KEY": key}, bound(platform, "org", "readLogs"), count=2
    )
    assert (own in ("401", "403"), with_key) == (True, "200")


@pytest.mark.fact("F086", "F123")
def test_a_base64_payload_is_decoded_for_the_container_and_a_plain_one_is_not(platform) -> None:
    values = {}
    for encoding in ("base64", "plain"):
        data = {"payload": base64.b64encode(b"hush").decode(), "encoding": encoding}
        name = platform.name("secret")
        platform.create(
            f"{platform.org_link}/secret", {"name": name, "type": "opaque", "data": data}
        )
        values[encoding.upper()] = f"cpln://secret/{name}.payload"
    script = "import os; print(os.environ['BASE64'], os.environ['PLAIN'])"
    assert said(platform, script, values, bound(platform, "secret", "reveal")) == ["hush aHVzaA=="]


def test_without_settings_the_library_speaks_to_the_real_platform(monkeypatch) -> None:
    monkeypatch.setenv("CPLN_TOKEN", "s.any")
    settings = CplnSettings.load()
    assert settings.endpoint == "https://api.cpln.io"
    assert settings.logs_endpoint in (None, "wss://logs.cpln.io")
