"""Wrong JSON types anywhere: refused with the name of the field, and never an exception.

Nothing is stored that breaks a reader.
"""

import asyncio
import copy
import dataclasses
import itertools
import json
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpln_flows.emulator.query import Cursor
from tests.emulator.support import COMMANDS, GVC, RANGE, WORKLOADS, local, run_body, workload

ORG = "/org/local"
ENV = [{"name": "A", "value": "1"}]
OPTIONS = {
    "suspend": True, "capacityAI": False, "debug": False, "spot": False, "timeoutSeconds": 5,
    "autoscaling": {
        "metric": "cpu", "target": 50, "minScale": 1, "maxScale": 2, "maxConcurrency": 0,
        "scaleToZeroDelay": 300, "metricPercentile": "p50",
        "multi": [{"metric": "cpu", "target": 5}], "keda": {},
    },
    "multiZone": {},
}  # fmt: skip
SECONDS = {
    "initialDelaySeconds": 1, "periodSeconds": 1, "timeoutSeconds": 1, "successThreshold": 1,
    "failureThreshold": 1,
}  # fmt: skip
REQUEST = {
    "path": "/", "port": 80, "scheme": "HTTP", "httpHeaders": [{"name": "a", "value": "b"}],
}  # fmt: skip
CONTAINER = {
    "name": "main", "image": "busybox", "cpu": "50m", "memory": "128Mi", "minCpu": "50m",
    "minMemory": "128Mi", "command": "true", "args": ["-c"], "env": ENV, "inheritEnv": True,
    "workingDir": "/srv", "port": 80,
    "ports": [{"number": 80, "protocol": "http"}], "lifecycle": {},
    "readinessProbe": {"httpGet": REQUEST, **SECONDS},
    "livenessProbe": {"exec": {"command": ["true"]}, **SECONDS},
    "volumes": [{"uri": "scratch://x", "path": "/data", "recoveryPolicy": "retain"}],
    "metrics": {}, "gpu": {},
}  # fmt: skip
QUERY = {"kind": "secret", "fetch": "items", "spec": {
    "match": "all", "sort": {"by": "name", "order": "asc"},
    "terms": [
        {"op": "=", "tag": "a", "value": "b"}, {"op": "=~", "property": "name", "value": "b"},
        {"rel": "gvc", "value": 1}, {"op": "exists", "tag": "x"},
    ],
}}  # fmt: skip
BASE = {"kind": None, "name": "x-1", "description": "d", "tags": {"a": "b"}}
EXTERNAL = {
    "inboundAllowCIDR": ["10.0.0.0/8"], "inboundBlockedCIDR": ["10.0.0.0/8"],
    "outboundAllowHostname": ["x"],
    "outboundAllowPort": [{"protocol": "tcp", "number": 80}], "outboundAllowCIDR": ["10.0.0.0/8"],
    "outboundBlockedCIDR": ["10.0.0.0/8"], "http": {},
}  # fmt: skip

OBJECTS = {
    WORKLOADS: {
        "spec": {
            "type": "cron", "containers": [CONTAINER], "identityLink": f"{GVC}/identity/id-1",
            "job": {
                "schedule": "* * * * *", "concurrencyPolicy": "Forbid", "historyLimit": 5,
                "restartPolicy": "Never",
                "activeDeadlineSeconds": 60,
            },
            "defaultOptions": OPTIONS,
            "localOptions": [{**OPTIONS, "location": "//location/local-1"}],
            "firewallConfig": {
                "external": EXTERNAL, "internal": {
                    "inboundAllowType": "none", "inboundAllowWorkload": ["//gvc/g/workload/w"],
                },
            },
            "rolloutOptions": {"terminationGracePeriodSeconds": 5, "minReadySeconds": 1},
            "securityOptions": {"runAsUser": 5, "filesystemGroupId": 5},
            "loadBalancer": {}, "sidecar": {},
            "supportDynamicTags": True, "requestRetryPolicy": {},
        }
    },
    f"{ORG}/gvc": {
        "spec": {
            "staticPlacement": {"locationLinks": ["//location/local-1"]}, "env": ENV,
            "pullSecretLinks": ["//secret/s"],
            "loadBalancer": {"dedicated": False, "trustedProxies": 0},
        }
    },
    f"{GVC}/identity": {"aws": {}, "networkResources": [{}]},
    f"{ORG}/policy": {
        "targetKind": "secret", "targetQuery": QUERY,
        "bindings": [{"permissions": ["view"], "principalLinks": ["//group/viewers"]}],
    },
    f"{ORG}/policy#links": {"targetKind": "secret", "targetLinks": ["//secret/s"]},
    f"{ORG}/policy#all": {"targetKind": "secret", "target": "all"},
    f"{ORG}/secret": {"type": "opaque", "data": {"payload": "p", "encoding": "plain"}},
    f"{ORG}/secret#dictionary": {"type": "dictionary", "data": {"A": "1"}},
    f"{ORG}/secret#ecr": {"type": "ecr", "data": {"accessKey": "a", "repos": ["r"]}},
    f"{ORG}/secret#gcp": {"type": "gcp", "data": "{}"},
    f"{GVC}/volumeset": {
        "spec": {"fileSystemType": "shared", "performanceClass": "shared", "initialCapacity": 10},
    },
    f"{ORG}/group": {"memberLinks": ["//user/u"], "memberQuery": {}, "identityMatcher": {}},
    f"{ORG}/serviceaccount": {},
    f"{ORG}/agent": {"spec": {}},
    f"{ORG}/cloudaccount": {"provider": "aws", "data": {}},
}  # fmt: skip
RUN = {
    "type": "runCronWorkload",
    "tags": {"a": "b"},
    "conflictQuery": {**QUERY, "kind": "command"},
    "spec": {
        "location": "local-1", "scheduleName": "s", "activeDeadlineSeconds": 5,
        "containerOverrides": [
            {
                "name": "main", "env": ENV, "command": "true", "args": ["-c"], "memory": "64Mi",
                "cpu": "60m", "image": "x",
            }
        ],
    },
}  # fmt: skip
STOP = {"type": "stopReplica", "tags": {"a": "b"}, "spec": {"location": "local-1", "replica": "r"}}
BODIES = {COMMANDS: RUN, f"{COMMANDS}#stop": STOP, f"{ORG}/secret/-query": QUERY}

WRONG = ["text", 5, True, ["text"], {"field": "text"}]
SCALARS = {"tags", "value"}  # what takes a text, a number or a flag


def document(collection):
    kind = collection.partition("#")[0].rsplit("/", 1)[1]
    return {**BASE, "kind": kind, **OBJECTS[collection]}


def places(content, path=()) -> Iterator[tuple]:
    """Every place of a document below its top."""
    items = (
        content.items()
        if isinstance(content, dict)
        else enumerate(content)
        if isinstance(content, list)
        else ()
    )
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


def read(content, path):
    for key in path:
        content = content[key]
    return content


def replaced(content, path, value):
    content = copy.deepcopy(content)
    read(content, path[:-1])[path[-1]] = value
    return content


def wrong_values(content, path):
    """What has another type than the field."""
    current = read(content, path)
    scalar = not isinstance(current, dict | list) and (
        (path[-1] == "value" and "terms" in path) or path[:1] == ("tags",)
    )
    for value in WRONG:
        if type(value) is not type(current) and not (scalar and not isinstance(value, dict | list)):
            yield value


def written(path):
    """A path as messages write it."""
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path)
    return text[1:]


async def prepared(here):
    """What the documents refer to."""
    for collection, body in (
        (f"{GVC}/identity", {"name": "id-1"}),
        (WORKLOADS, workload()),
        (f"{ORG}/secret", {"name": "other", "type": "opaque", "data": {"payload": "p"}}),
    ):
        assert (await here.client.post(collection, json=body)).status_code == 201


@pytest.mark.parametrize("collection", OBJECTS)
def test_a_wrong_type_in_an_object_is_refused_and_named(collection) -> None:
    body, path = document(collection), collection.partition("#")[0]
    # Every place gets several wrong values, and by that meets every method.
    methods = itertools.cycle(
        [("POST", path, "x-2"), ("PUT", path, "x-1"), ("PATCH", f"{path}/x-1", "x-1")]
    )

    async def scenario():
        async with local() as here:
            await prepared(here)
            assert (await here.client.post(path, json=body)).status_code == 201
            for place in places(body):
                for value, (method, link, name) in zip(
                    wrong_values(body, place), methods, strict=False
                ):
                    answer = await here.client.request(
                        method, link, json=replaced({**body, "name": name}, place, value)
                    )
                    assert answer.status_code == 400, (method, place, value, answer.text)
                    assert written(place) in answer.json()["message"], (
                        method,
                        place,
                        value,
                        answer.text,
                    )

    asyncio.run(scenario())


@pytest.mark.parametrize("path", BODIES)
def test_a_wrong_type_in_a_command_or_a_query_is_refused_and_named(path) -> None:
    async def scenario():
        body, link = BODIES[path], path.partition("#")[0]
        async with local() as here:
            await prepared(here)
            assert (await here.client.post(link, json=body)).status_code in (200, 201)
            for place in places(body):
                for value in wrong_values(body, place):
                    answer = await here.client.post(link, json=replaced(body, place, value))
                    assert answer.status_code == 400, (place, value, answer.text)
                    assert written(place) in answer.json()["message"], (place, value, answer.text)

    asyncio.run(scenario())


WORDS = st.sampled_from(["", "text", "true", "12", "²", "9" * 30, "//x", "main", "name", "x-1"])
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | WORDS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(WORDS, inner, max_size=2),
    max_leaves=5,
)
OPERATORS = st.sampled_from(["", "$append/", "$drop/", "$replace/", "$patch/", "$drop"])


@st.composite
def mutations(draw):
    """Draw a request whose body is right except for one place.

    That place has any JSON; in a PATCH it may stand behind any operator.
    """
    collection = draw(st.sampled_from(list(OBJECTS) + list(BODIES)))
    body = document(collection) if collection in OBJECTS else BODIES[collection]
    path = collection.partition("#")[0]
    place = draw(st.sampled_from(list(places(body))))
    changed = replaced(body, place, draw(VALUES))
    if collection not in OBJECTS or draw(st.booleans()):
        return "PUT" if collection in OBJECTS else "POST", path, changed
    holder = read(changed, place[:-1])
    if isinstance(holder, dict):
        holder[draw(OPERATORS) + place[-1]] = holder.pop(place[-1])
    return "PATCH", f"{path}/x-1", changed


@given(st.lists(mutations(), min_size=5, max_size=5))
def test_no_json_breaks_the_platform_or_what_is_read_afterwards(requests) -> None:
    async def scenario():
        async with local() as here:
            await prepared(here)
            for collection in OBJECTS:
                await here.client.post(collection.partition("#")[0], json=document(collection))
            for method, path, body in requests:
                answer = await here.client.request(method, path, json=body)
                assert answer.status_code in (200, 201, 400, 404, 405, 409), (
                    method,
                    path,
                    body,
                    answer.text,
                )
            for collection in {path.partition("#")[0] for path in OBJECTS}:
                for item in (await here.get(collection))["items"]:
                    await here.get(item["links"][0]["href"])
                found = await here.client.post(
                    f"{ORG}/{collection.rsplit('/', 1)[1]}/-query",
                    json={
                        "spec": {
                            "terms": [
                                {"rel": "identity", "value": "x"},
                                {"tag": "a", "value": "b"},
                            ],
                            "match": "any",
                            "sort": {"by": "description"},
                        }
                    },
                )
                assert found.status_code == 200
            for workload in (await here.get(WORKLOADS))["items"]:
                link = workload["links"][0]["href"]
                await here.get(f"{link}/deployment")
                assert (
                    await here.client.post(f"{link}/-command", json=run_body())
                ).status_code in (201, 400)
                await here.settle()
                await here.get(f"{link}/-command")

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "params",
    [
        {"limit": "²"},
        {"limit": "9" * 5000},
        {"delay_for": "²"},
        {"start": "9" * 400},
        {"start": "9" * 400 + ".0"},
        {"start": "0001-01-01T00:00:00+14:00"},
        {"since": "1.2.3s"},
        {"since": "9" * 400 + "s"},
        {"query": '{a="\\U99999999"}'},
        {"query": '{a="\\ud800"}'},
        {"query": '{a="\\777"}'},
        {"query": '{a=~"b{1001}"}'},
        {"query": '{a=~"' + "(" * 5000 + ")" * 5000 + '"}'},
    ],
    ids=lambda params: str(params)[:40],
)
def test_what_no_log_query_can_say_is_refused(params) -> None:
    async def scenario():
        async with local() as here:
            answer = await here.client.get(RANGE, params={"query": '{a="b"}', **params})
            assert answer.status_code == 400, answer.text

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "value", ["x", {"$append/observability": [1]}, {"observability": {"logsRetentionDays": "x"}}]
)
def test_a_wrong_type_in_the_organisation_is_refused(value) -> None:
    async def scenario():
        async with local() as here:
            assert (await here.client.patch(ORG, json={"spec": value})).status_code == 400
            assert (await here.client.get(RANGE, params={"query": '{a="b"}'})).status_code == 200

    asyncio.run(scenario())


@pytest.mark.parametrize("keys", ["x", [1], [{"name": ["x"]}], None, {"a": 1}])
def test_no_patch_of_an_accounts_keys_breaks_it(keys) -> None:
    async def scenario():
        account = f"{ORG}/serviceaccount/sa-1"
        async with local() as here:
            await here.client.post(f"{ORG}/serviceaccount", json={"name": "sa-1"})
            assert (
                await here.client.post(f"{account}/-addKey", json={"description": 5})
            ).status_code == 400
            await here.client.post(f"{account}/-addKey", json={"description": "d"})
            assert (await here.client.patch(account, json={"keys": keys})).status_code < 500
            assert (await here.get(account))["keys"] == []

    asyncio.run(scenario())


def test_a_cursor_of_another_order_is_refused() -> None:
    async def scenario():
        async with local(page_size=1) as here:
            for name in ("s-1", "s-2"):
                await here.client.post(
                    f"{ORG}/secret", json={"name": name, "type": "opaque", "data": {}}
                )
            query = {"spec": {"sort": {"by": "version"}}}
            answer = (await here.client.post(f"{ORG}/secret/-query", json=query)).json()
            token = answer["links"][1]["href"].partition("next=")[2]
            cursor = Cursor.decode(token)
            wrong = dataclasses.replace(cursor, key="text").encode()
            assert (await here.client.get(f"{ORG}/secret?next={token}")).status_code == 200
            assert (await here.client.get(f"{ORG}/secret?next={wrong}")).status_code == 400

    asyncio.run(scenario())


@pytest.mark.parametrize(("depth", "status"), [(80, 201), (300, 400), (900, 400)])
def test_what_is_nested_too_deeply_is_refused(depth, status) -> None:
    async def scenario():
        body = json.dumps(workload()).replace(
            '"job"', '"sidecar": ' + '{"a": ' * depth + "1" + "}" * depth + ', "job"'
        )
        async with local() as here:
            assert (await here.client.post(WORKLOADS, content=body)).status_code == status
            await here.get(WORKLOADS)

    asyncio.run(scenario())
