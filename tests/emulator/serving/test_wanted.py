"""What a serving workload is to run in one location."""

import pytest

from cpln_flows.emulator.serving.wanted import Wanted, options_in, serves, template_of, wanted_in

HERE = "aws-us-west-2"
LINK = f"/org/local/location/{HERE}"
CONTAINERS = [{"name": "main", "image": "nginx:1", "cpu": "50m"}]


def spec(kind="standard", **fields):
    return {"type": kind, "containers": CONTAINERS, **fields}


def count(given):
    return wanted_in(given, {}, HERE).count


def scaled(least, **options):
    return {**options, "autoscaling": {"minScale": least, "maxScale": 9}}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("serverless", True),
        ("standard", True),
        ("stateful", True),
        ("cron", False),
        ("vm", False),
        (None, False),
    ],
)
def test_only_some_types_serve(kind, expected) -> None:
    assert serves({"type": kind}) is expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param(spec(), 1, id="nothing-given"),
        pytest.param(spec(defaultOptions=None), 1, id="options-are-null"),
        pytest.param(spec(defaultOptions={"autoscaling": None}), 1, id="scaling-is-null"),
        pytest.param(spec(defaultOptions={"autoscaling": {"maxScale": 5}}), 1, id="only-a-most"),
        pytest.param(spec(defaultOptions=scaled(3)), 3, id="the-least-is-run"),
        pytest.param(spec(defaultOptions=scaled(0)), 0, id="standard-may-run-none"),
        pytest.param(spec("stateful", defaultOptions=scaled(0)), 0, id="stateful-may-run-none"),
        pytest.param(spec("serverless", defaultOptions=scaled(0)), 1, id="serverless-runs-one"),
        pytest.param(spec("serverless", defaultOptions=scaled(4)), 4, id="serverless-runs-more"),
        pytest.param(spec(defaultOptions=scaled(3, suspend=True)), 0, id="suspended"),
        pytest.param(
            spec("serverless", defaultOptions=scaled(3, suspend=True)), 0, id="suspended-serverless"
        ),
        pytest.param(spec(defaultOptions=scaled(3, suspend=False)), 3, id="not-suspended"),
    ],
)
def test_count_is_the_least_scale(given, expected) -> None:
    assert count(given) == expected


@pytest.mark.parametrize("metric", ["concurrency", "cpu", "memory", "rps", "latency", "disabled"])
def test_metrics_do_not_change_the_count(metric) -> None:
    scaling = {"metric": metric, "target": 1, "minScale": 2, "maxScale": 8}
    assert count(spec(defaultOptions={"autoscaling": scaling})) == 2


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        pytest.param({"location": LINK, **scaled(5)}, 5, id="by-link"),
        pytest.param({"location": f"//location/{HERE}", **scaled(5)}, 5, id="by-short-link"),
        pytest.param({"location": HERE, **scaled(5)}, 5, id="by-name"),
        pytest.param({"location": LINK, "suspend": True}, 0, id="suspended-here"),
        pytest.param({"location": LINK, "timeoutSeconds": 9}, 2, id="rest-is-the-default"),
        pytest.param({"location": f"{LINK}b", **scaled(5)}, 2, id="of-another-location"),
        pytest.param({"location": f"/org/x/location/x{HERE}", **scaled(5)}, 2, id="only-the-end"),
        pytest.param(scaled(5), 2, id="of-no-location"),
    ],
)
def test_local_options_beat_default_ones(own, expected) -> None:
    assert count(spec(defaultOptions=scaled(2), localOptions=[own])) == expected


def test_local_options_can_resume_one_location() -> None:
    own = {"location": LINK, "suspend": False}
    given = spec(defaultOptions=scaled(2, suspend=True), localOptions=[own])
    assert count(given) == 2
    assert wanted_in(given, {}, "elsewhere").count == 0


def test_options_are_merged_field_by_field() -> None:
    own = {"location": LINK, "timeoutSeconds": 9}
    given = spec(defaultOptions={"timeoutSeconds": 5, "debug": True}, localOptions=[own])
    assert options_in(given, HERE) == {"timeoutSeconds": 9, "debug": True, "location": LINK}
    assert options_in(given, "elsewhere") == {"timeoutSeconds": 5, "debug": True}
    assert options_in({"localOptions": [own]}, HERE) == own
    assert options_in({}, HERE) == {}


@pytest.mark.parametrize(
    ("kind", "policy", "is_ordered", "at_once"),
    [
        ("standard", None, False, False),
        ("serverless", None, False, False),
        ("stateful", None, True, False),
        ("stateful", "OrderedReady", True, False),
        ("stateful", "Parallel", True, True),
    ],
)
def test_order_follows_type_and_policy(kind, policy, is_ordered, at_once) -> None:
    given = spec(kind, rolloutOptions=policy and {"scalingPolicy": policy})
    template = template_of(given, {})
    assert wanted_in(given, {}, HERE) == Wanted(1, template, is_ordered, at_once)


@pytest.mark.parametrize(
    ("changed", "tags"),
    [
        pytest.param({"containers": [{**CONTAINERS[0], "image": "nginx:2"}]}, {}, id="image"),
        pytest.param({"containers": [{**CONTAINERS[0], "cpu": "60m"}]}, {}, id="resources"),
        pytest.param({"containers": CONTAINERS * 2}, {}, id="further-container"),
        pytest.param({"identityLink": "//identity/i"}, {}, id="identity"),
        pytest.param({"securityOptions": {"filesystemGroupId": 1}}, {}, id="security-options"),
        pytest.param({}, {"cpln/deployTimestamp": "2026-01-01"}, id="redeployment"),
    ],
)
def test_template_changes_with_the_replica(changed, tags) -> None:
    assert template_of({**spec(), **changed}, tags) != template_of(spec(), {})


@pytest.mark.parametrize(
    ("changed", "tags"),
    [
        pytest.param({"defaultOptions": scaled(5)}, {}, id="scale"),
        pytest.param({"localOptions": [{"location": LINK}]}, {}, id="local-options"),
        pytest.param({"firewallConfig": {"internal": {}}}, {}, id="firewall"),
        pytest.param({"rolloutOptions": {"maxSurgeReplicas": "1"}}, {}, id="rollout-options"),
        pytest.param({}, {"team": "a"}, id="other-tag"),
        pytest.param(
            {"containers": [dict(reversed(CONTAINERS[0].items()))]}, {}, id="order-of-fields"
        ),
    ],
)
def test_template_outlives_other_changes(changed, tags) -> None:
    assert template_of({**spec(), **changed}, tags) == template_of(spec(), {})


def test_redeployment_tag_reaches_what_is_wanted() -> None:
    first, second = (
        wanted_in(spec(), {"cpln/deployTimestamp": moment}, HERE).template for moment in ("1", "2")
    )
    assert first != second
