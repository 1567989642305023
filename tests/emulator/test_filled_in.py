"""What a response shows although nobody has set it."""

import copy

import pytest

from cpln_flows.emulator.filled_in import filled_in

from .support import COMMANDS, W1, WORKLOADS, Script, local, stop_body, workload

pytestmark = pytest.mark.anyio

GRACE = {"terminationGracePeriodSeconds": 90}


@pytest.mark.parametrize(
    ("given", "external", "internal", "rollout"),
    [
        pytest.param({}, [], "none", GRACE, id="nothing-set"),
        pytest.param(
            {"firewallConfig": None, "rolloutOptions": None}, [], "none", GRACE, id="null"
        ),
        pytest.param(
            {"firewallConfig": {"external": {"inboundAllowCIDR": None}}}, [], "none", GRACE,
            id="null-within",
        ),
        pytest.param(
            {
                "firewallConfig": {
                    "external": {"inboundAllowCIDR": ["::/0"]},
                    "internal": {"inboundAllowType": "same-org"},
                },
                "rolloutOptions": {"minReadySeconds": 3},
            },
            ["::/0"], "same-org", {**GRACE, "minReadySeconds": 3},
            id="some-set",
        ),
        pytest.param(
            {"rolloutOptions": {"terminationGracePeriodSeconds": 0}}, [], "none",
            {"terminationGracePeriodSeconds": 0},
            id="grace-of-zero",
        ),
    ],
)  # fmt: skip
def test_only_what_was_not_set_is_filled_in(given, external, internal, rollout) -> None:
    before = copy.deepcopy(given)
    shown = filled_in(given)
    assert shown["firewallConfig"]["external"]["inboundAllowCIDR"] == external
    assert shown["firewallConfig"]["external"]["outboundAllowPort"] == []
    assert shown["firewallConfig"]["internal"]["inboundAllowType"] == internal
    assert shown["rolloutOptions"] == rollout
    assert given == before


async def test_every_response_shows_the_same() -> None:
    async with local() as here:
        dry = await here.client.put(WORKLOADS, params={"dryRun": "true"}, json=workload())
        await here.create()
        again = await here.client.put(WORKLOADS, params={"dryRun": "true"}, json=workload())
        answers = [
            dry.json(),
            again.json(),
            await here.get(W1),
            (await here.get(WORKLOADS))["items"][0],
            (await here.client.patch(W1, json={"tags": {"a": 1}})).json(),
            (await here.client.put(WORKLOADS, json=workload())).json(),
        ]
        assert [each["spec"]["rolloutOptions"] for each in answers] == [GRACE] * len(answers)


@pytest.mark.parametrize(("rollout", "seconds"), [(None, 10), (GRACE, 90)])
async def test_grace_that_is_shown_is_not_waited_for(rollout, seconds) -> None:
    """A workload without a grace of its own is killed within that of the configuration."""
    options = {} if rollout is None else {"rolloutOptions": rollout}
    async with local(Script(steps=(), ignores_stop=True), stop_grace_seconds=10) as here:
        await here.create(workload(**options))
        await here.client.patch(W1, json={"tags": {"changed": 1}})
        command = await here.start()
        replica = (await here.get(command))["status"]["replica"]
        await here.client.post(COMMANDS, json=stop_body(replica))
        await here.settle()
        await here.advance(seconds - 1)
        assert await here.stage(command) == "cancellation-requested"
        await here.advance(1)
        assert await here.stage(command) == "failed"
