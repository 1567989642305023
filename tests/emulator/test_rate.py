"""The platform's own limits: requests of a token per second, and workloads of an organization."""

import pytest

from .support import TOKEN, W1, WORKLOADS, local, workload

pytestmark = [pytest.mark.anyio, pytest.mark.fact("F056")]

ORG = "/org/local"


async def test_rate_refuses_until_the_next_second() -> None:
    async with local(request_limit=2) as here:
        statuses = [(await here.client.get(ORG)).status_code for _ in range(3)]
        refused = await here.client.get(ORG)
        assert [*statuses, refused.status_code] == [200, 200, 429, 429]
        assert refused.json()["message"] == "too many requests: the limit is 2 per second"
        assert refused.json()["code"] == "TOO_MANY_REQUESTS"
        await here.advance(float(refused.headers["retry-after"]))
        assert (await here.client.get(ORG)).status_code == 200


async def test_refused_request_takes_no_effect() -> None:
    async with local(request_limit=1) as here:
        await here.client.get(ORG)
        assert (await here.client.post(WORKLOADS, json=workload())).status_code == 429
        await here.advance(1)
        assert (await here.client.get(W1)).status_code == 404


async def test_each_token_has_a_rate_of_its_own() -> None:
    accounts = f"{ORG}/serviceaccount"
    async with local() as here:
        await here.client.post(accounts, json={"name": "other"})
        key = (await here.client.post(f"{accounts}/other/-addKey", json={})).json()["key"]
        here.platform.switch(request_limit=1)
        forms = [f"Bearer {TOKEN}", TOKEN, key]
        answers = [
            (await here.client.get(ORG, headers={"authorization": form})).status_code
            for form in forms
        ]
        assert answers == [200, 429, 200]


async def test_control_routes_and_discovery_have_no_rate() -> None:
    async with local(request_limit=1) as here:
        for path in ("/discovery", "/_control/faults"):
            for _ in range(3):
                assert (await here.client.get(path)).status_code == 200
        assert (await here.client.get(ORG)).status_code == 200


async def test_workload_beyond_the_quota_is_refused() -> None:
    async with local(workload_quota=1) as here:
        await here.create()
        answers = [
            await here.client.post(WORKLOADS, json=workload("w-2")),
            await here.client.put(WORKLOADS, json=workload("w-2")),
        ]
        for refused in answers:
            assert refused.status_code == 429
            assert "quota exceeded" in refused.json()["message"]
            assert "retry-after" not in refused.headers
        assert (await here.client.put(WORKLOADS, json=workload())).status_code == 200
        await here.client.delete(W1)
        await here.advance(1)
        assert (await here.client.post(WORKLOADS, json=workload("w-2"))).status_code == 201
