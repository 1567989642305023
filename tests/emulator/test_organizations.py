"""Several organizations at one address: whose token opens what, and what they share."""

import contextlib

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from cpln_flows.emulator import (
    ManualClock,
    Platform,
    PlatformConfig,
    ProcessExecutor,
    RealClock,
    Script,
    ScriptedExecutor,
    Server,
    serve_in_thread,
)
from cpln_flows.emulator.organizations import Organizations, check_names, org_in

from .support import run_body, until, workload

pytestmark = pytest.mark.anyio

FIRST = {"authorization": "s.first"}
SECOND = {"authorization": "Bearer s.second"}
WRONG = {"authorization": "s.wrong"}
ORGS = ("acme", "other")
QUERY = "loki/api/v1/query_range?query=%7Bworkload%3D%22w-1%22%7D"


def platforms(executor=None, clock=None, **config):
    executor, clock = executor or ScriptedExecutor(Script()), clock or ManualClock()
    return [
        Platform(PlatformConfig(org=org, token=token, **config), clock=clock, executor=executor)
        for org, token in zip(ORGS, ("s.first", "s.second"), strict=True)
    ]


@contextlib.asynccontextmanager
async def at_one_address(made=None):
    made = made or platforms()
    transport = httpx.ASGITransport(app=Organizations(made))
    async with httpx.AsyncClient(transport=transport, base_url="http://local") as client:
        try:
            yield made, client
        finally:
            for platform in made:
                await platform.aclose()


@pytest.mark.parametrize(
    ("path", "org"),
    [
        ("/org/acme", "acme"),
        ("/org/acme/gvc/g/workload/w", "acme"),
        ("/org/acme/", "acme"),
        ("/logs/org/acme/loki/api/v1/tail", "acme"),
        ("/location/l-1/replicas/org/acme/gvc/g/workload/w", "acme"),
        ("/org", None),
        ("/", None),
        ("", None),
        ("/discovery", None),
        ("/_control/clock", None),
        ("/location/l-1/other/org/acme", None),
        ("/x/org/acme", None),
    ],
)
def test_path_names_its_organization(path, org):
    assert org_in(path) == org


async def test_each_organization_has_objects_of_its_own():
    async with at_one_address() as (made, client):
        link = "/org/{}/group"
        body = {"name": "mine"}
        assert (await client.put(link.format("acme"), json=body, headers=FIRST)).status_code == 201
        assert (
            await client.put(link.format("other"), json=body, headers=SECOND)
        ).status_code == 201
        assert [len(platform.objects("group")) for platform in made] == [3, 3]
        for org, headers in zip(ORGS, (FIRST, SECOND), strict=True):
            listed = (await client.get("/org", headers=headers)).json()["items"]
            assert [each["name"] for each in listed] == [org]


@pytest.mark.parametrize(
    "path",
    [
        "/org/other",
        "/org/other/gvc/quickstart/workload",
        f"/logs/org/other/{QUERY}",
        "/location/local-1/replicas/org/other/gvc/quickstart/workload/w-1",
    ],
)
async def test_own_token_opens_no_other_organization(path):
    """Each answer is the one for an organization that does not exist."""
    async with at_one_address() as (_, client):
        found = await client.get(path, headers=FIRST)
        nobody = await client.get(path.replace("other", "nobody"), headers=FIRST)
        assert (found.status_code, found.json()["message"]) == (
            404,
            nobody.json()["message"].replace("nobody", "other"),
        )
        back = await client.get(path.replace("other", "acme"), headers=SECOND)
        assert back.status_code == 404


async def test_key_of_a_service_account_opens_no_other_organization():
    async with at_one_address(platforms(tokens={})) as (_, client):
        await client.put("/org/acme/serviceaccount", json={"name": "bot"}, headers=FIRST)
        link = "/org/acme/serviceaccount/bot/-addKey"
        key = (await client.post(link, json={}, headers=FIRST)).json()["key"]
        found = await client.get("/org/other/group", headers={"authorization": key})
        assert found.status_code == 403
        assert found.json()["message"] == 'the operation requires permission "view" in org other'
        own = await client.get("/org/acme/group", headers={"authorization": key})
        assert own.status_code == 200


@pytest.mark.parametrize("org", [*ORGS, "nobody"])
async def test_unknown_token_is_refused_everywhere(org):
    async with at_one_address() as (_, client):
        assert (await client.get(f"/org/{org}", headers=WRONG)).status_code == 401
        assert (await client.get(f"/org/{org}")).status_code == 401
        assert (await client.get("/_control/clock", headers=WRONG)).status_code == 401


async def test_token_of_both_opens_what_the_path_names():
    made = [Platform(PlatformConfig(org=org, token="s.both")) for org in ORGS]
    both = {"authorization": "s.both"}
    async with at_one_address(made) as (_, client):
        for org in ORGS:
            assert (await client.get(f"/org/{org}", headers=both)).json()["name"] == org
        assert (await client.get("/org", headers=both)).json()["items"][0]["name"] == "acme"


async def test_control_routes_belong_to_the_token():
    async with at_one_address() as (_, client):
        for org, headers in zip(ORGS, (FIRST, SECOND), strict=True):
            shown = (await client.get("/_control/config", headers=headers)).json()
            assert shown["org"] == org
        fault = {"status": 503, "path": "/group"}
        await client.post("/_control/faults", json=fault, headers=SECOND)
        assert (await client.get("/org/acme/group", headers=FIRST)).status_code == 200
        assert (await client.get("/org/other/group", headers=SECOND)).status_code == 503


async def test_paths_of_no_organization_are_the_first_ones():
    async with at_one_address() as (made, client):
        assert (await client.get("/discovery")).status_code == 200
        assert [len(platform.requests) for platform in made] == [1, 0]


async def test_organizations_share_clock_and_executor():
    async with at_one_address() as (made, client):
        cron = workload(defaultOptions={"suspend": False})
        for org, headers in zip(ORGS, (FIRST, SECOND), strict=True):
            await client.put(f"/org/{org}/gvc/quickstart/workload", json=cron, headers=headers)
        made[0].clock.advance(60)
        assert [platform.jobs_started for platform in made] == [1, 1]


async def test_jobs_of_each_organization_use_its_own_token_and_address():
    made = platforms(ProcessExecutor(), RealClock())
    script = (
        "import os, urllib.request as u; e = os.environ;"
        " r = u.Request(e['CPLN_ENDPOINT'] + '/org', headers={'authorization': e['CPLN_TOKEN']});"
        " print(u.urlopen(r).read().decode())"
    )
    body = run_body(overrides=[{"name": "main", "command": "python", "args": ["-c", script]}])
    async with (
        Server(made[0], others=made[1:]) as server,
        httpx.AsyncClient(base_url=server.url, headers=SECOND) as client,
    ):
        workloads = "/org/other/gvc/quickstart/workload"
        await client.put(workloads, json=workload())
        await client.post(f"{workloads}/w-1/-command", json=body)

        async def wrote():
            result = (await client.get(f"/logs/org/other/{QUERY}")).json()["data"]["result"]
            return '"name":"other"' in str(result)

        await until(wrote)
        assert made[0].jobs_started == 0
    for platform in made:
        await platform.aclose()


async def test_tail_needs_the_token_of_its_organization():
    made = platforms()
    tail = "loki/api/v1/tail?query=%7Bworkload%3D%22w-1%22%7D"
    async with Server(made[0], others=made[1:]) as server:
        url = server.url.replace("http", "ws", 1)
        async with connect(f"{url}/logs/org/other/{tail}", additional_headers=SECOND):
            pass
        with pytest.raises(InvalidStatus, match="404"):
            async with connect(f"{url}/logs/org/other/{tail}", additional_headers=FIRST):
                pass
    for platform in made:
        await platform.aclose()


def test_all_platforms_end_with_their_thread():
    made = platforms(ProcessExecutor(), RealClock())
    with serve_in_thread(made[0], others=made[1:]) as running:
        assert running.others == (made[1],)
        assert running.others[0].base_url == running.url
        workloads = f"{running.url}/org/other/gvc/quickstart/workload"
        httpx.put(workloads, json=workload(), headers=SECOND)
        body = run_body(overrides=[{"name": "main", "command": "sleep", "args": ["600"]}])
        httpx.post(f"{workloads}/w-1/-command", json=body, headers=SECOND)
        assert len(made[1].active_jobs) == 1
    assert made[1].active_jobs == []


def test_organization_is_served_once():
    made = [Platform(PlatformConfig(org="acme")) for _ in range(2)]
    with (
        pytest.raises(ValueError, match="'acme' is given twice"),
        serve_in_thread(made[0], others=made[1:]),
    ):
        pass


@pytest.mark.parametrize(
    "name", ["", "a", "ab", "../x", "Acme", "a/b", "1ab", "ab-", "a.b", "acme\n", "a" * 64]
)
def test_name_that_is_no_organizations_is_refused(name):
    with pytest.raises(ValueError, match="cannot name an organization"):
        check_names(["acme", name])


def test_names_of_organizations_are_accepted_once():
    check_names(["acme", "my-org-1", "a" * 63])
    with pytest.raises(ValueError, match="'acme' is given twice"):
        check_names(["acme", "other", "acme"])
