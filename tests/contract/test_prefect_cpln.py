"""The HTTP and WebSocket habits of prefect-cpln 1.0.23, request by request."""

import json
import time
from urllib.parse import urlencode

import pytest
import requests
from websockets.sync.client import connect

from tests.patience import PATIENCE_SECONDS

pytestmark = pytest.mark.xdist_group("contract")


class Incumbent:
    """Asks with `requests`: Bearer on the API, bodies with `json=`."""

    def __init__(self, platform):
        self.platform = platform
        self.session = requests.Session()
        self.session.headers.update(
            {"Authorization": f"Bearer {platform.token}", "Content-Type": "application/json"}
        )

    def ask(self, method, path, json=None):
        return self.session.request(
            method, self.platform.url + path, json=json, timeout=PATIENCE_SECONDS
        )

    def put_then_get(self, kind, body, *, gvc=True):
        """PUT to the collection, then GET what is there now."""
        parent = self.platform.gvc_link if gvc else self.platform.org_link
        self.platform.remember(f"{parent}/{kind}/{body['name']}")
        answer = self.ask("PUT", f"{parent}/{kind}", json=body)
        assert answer.ok, answer.text
        return self.ask("GET", f"{parent}/{kind}/{body['name']}").json()

    def wait_until_ready(self, workload):
        def ready():
            items = self.ask("GET", f"{workload}/deployment").json()["items"]
            return any(
                item["name"] == self.platform.location and item["status"]["ready"] for item in items
            )

        self.platform.until(ready)

    def start(self, workload, override):
        spec = {"location": self.platform.location, "containerOverrides": [override]}
        answer = self.ask(
            "POST", f"{workload}/-command", json={"type": "runCronWorkload", "spec": spec}
        )
        assert answer.status_code == 201
        return answer.headers["Location"].split("/")[-1]


@pytest.fixture
def incumbent(platform):
    it = Incumbent(platform)
    yield it
    it.session.close()


def manifest(platform, name, **spec):
    container = {
        "name": "prefect-job",
        "image": "python:3.12-slim",
        "cpu": "50m",
        "memory": "128Mi",
    }
    firewall = {
        "external": {"outboundAllowCIDR": ["0.0.0.0/0"]},
        "internal": {"inboundAllowType": "none"},
    }
    return {
        "kind": "workload",
        "name": name,
        "tags": {"cpln/createdByPrefect": "true", "cpln/specHash": "3f0c"},
        "spec": {
            "type": "cron",
            "containers": [container],
            "job": {
                "schedule": "* * * * *",
                "concurrencyPolicy": "Forbid",
                "historyLimit": 5,
                "restartPolicy": "Never",
            },
            "defaultOptions": {"capacityAI": False, "debug": False, "suspend": True},
            "firewallConfig": firewall,
            **spec,
        },
    }


@pytest.mark.fact("F040", "F126", "F127", "F155", "F158", "F168")
def test_a_job_from_manifest_to_last_line(platform, incumbent) -> None:
    name = platform.name("flow-run")
    identity = incumbent.put_then_get("identity", {"kind": "identity", "name": f"{name}-id"})
    stored = incumbent.put_then_get(
        "workload",
        manifest(platform, name, identityLink=f"//gvc/{platform.gvc}/identity/{name}-id"),
    )
    assert stored["spec"]["identityLink"] == identity["links"][0]["href"]
    workload = f"{platform.gvc_link}/workload/{name}"
    incumbent.wait_until_ready(workload)
    override = {
        "name": "prefect-job",
        "command": "python",
        "args": ["-c", "print('one'); print('two')"],
    }
    command_id = incumbent.start(
        workload, {**override, "env": [{"name": "PREFECT_API_URL", "value": "http://x/api"}]}
    )

    selector = (
        f'{{gvc="{platform.gvc}", location="{platform.location}", workload="{name}",'
        f' replica=~"command-{command_id}.+"}}'
    )
    five_minutes_back = int((time.time() - 300) * 1e9)
    query = {"query": selector, "start": five_minutes_back, "limit": 1000, "direction": "forward"}
    url = (
        platform.logs_url.replace("http", "ws", 1)
        + f"/logs/org/{platform.org}/loki/api/v1/tail?{urlencode(query)}"
    )
    with connect(url, additional_headers={"Authorization": platform.token}) as socket:
        lines = []
        while len(lines) < 2:
            frame = json.loads(socket.recv(timeout=PATIENCE_SECONDS))
            lines += [value[1] for stream in frame["streams"] for value in stream["values"]]
    assert lines == ["one", "two"]

    def stage():
        return incumbent.ask("GET", f"{workload}/-command/{command_id}").json()["lifecycleStage"]

    assert (
        platform.until(lambda: (found := stage()) in ("completed", "failed", "cancelled") and found)
        == "completed"
    )
    assert incumbent.ask("DELETE", workload).ok


@pytest.mark.fact("F112", "F113", "F121", "F040")
def test_a_policy_over_secrets_is_put_again_and_again(platform, incumbent) -> None:
    name = platform.name("flow-run")
    identity = incumbent.put_then_get("identity", {"kind": "identity", "name": f"{name}-id"})[
        "links"
    ][0]["href"]
    body = {
        "kind": "secret",
        "name": f"{name}-key",
        "type": "opaque",
        "data": {"payload": "a2V5", "encoding": "plain"},
    }
    secret = incumbent.put_then_get("secret", body, gvc=False)["links"][0]["href"]
    policy = {
        "kind": "policy",
        "name": f"{name}-policy",
        "targetKind": "secret",
        "targetLinks": [],
        "bindings": [{"permissions": ["reveal"], "principalLinks": [identity]}],
    }
    assert incumbent.put_then_get("policy", policy, gvc=False)["targetLinks"] == []
    assert incumbent.put_then_get("policy", {**policy, "targetLinks": [secret]}, gvc=False)[
        "targetLinks"
    ] == [secret]


@pytest.mark.fact("F045", "F044", "F058", "F063", "F064")
def test_its_workloads_are_found_by_their_tags_and_patched(platform, incumbent) -> None:
    name = platform.name("flow-run")
    incumbent.put_then_get("workload", manifest(platform, name))
    terms = [
        {"op": "=", "rel": "gvc", "value": platform.gvc},
        {"op": "=", "tag": "cpln/createdByPrefect", "value": "true"},
        {"op": "=", "property": "name", "value": name},
    ]
    body = {"kind": "workload", "spec": {"match": "all", "terms": terms}}
    found = incumbent.ask("POST", f"{platform.org_link}/workload/-query", json=body).json()["items"]
    assert [item["name"] for item in found] == [name]
    changed = incumbent.ask(
        "PATCH", f"{platform.gvc_link}/workload/{name}", json={"tags": {"cpln/specHash": "other"}}
    )
    assert changed.json()["tags"]["cpln/specHash"] == "other"
    assert incumbent.ask("GET", f"{platform.gvc_link}/workload").json()["itemKind"] == "workload"
