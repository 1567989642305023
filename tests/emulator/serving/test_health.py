"""The probes of a container, and what a row of answers means."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpln_flows.emulator.executors.base import Check
from cpln_flows.emulator.serving.health import (
    Health,
    Probe,
    first_port,
    liveness_of,
    ports_of,
    readiness_of,
)

UNREADY, ALIVE = Health(is_passing=False), Health(is_passing=True)
OK, BAD = None, "refused"


def probe(failures=3, successes=1):
    return Probe(Check("tcp", port=80), 0.0, 10.0, failures, successes)


def after(health, answers, **thresholds):
    for answer in answers:
        health = health.after(answer, probe(**thresholds))
    return health


@pytest.mark.parametrize(
    ("start", "answers", "thresholds", "expected"),
    [
        pytest.param(UNREADY, [], {}, Health(False), id="nothing-asked"),
        pytest.param(UNREADY, [OK], {}, Health(True, 1), id="ready"),
        pytest.param(UNREADY, [BAD], {}, Health(False, -1, BAD), id="still-unready"),
        pytest.param(UNREADY, [BAD, OK], {}, Health(True, 1), id="ready-later"),
        pytest.param(UNREADY, [OK], {"successes": 2}, Health(False, 1), id="once-of-two"),
        pytest.param(UNREADY, [OK, OK], {"successes": 2}, Health(True, 2), id="twice-of-two"),
        pytest.param(
            UNREADY, [OK, BAD, OK], {"successes": 2}, Health(False, 1), id="a-failure-between"
        ),
        pytest.param(ALIVE, [BAD, BAD], {}, Health(True, -2, BAD), id="two-of-three"),
        pytest.param(ALIVE, [BAD] * 3, {}, Health(False, -3, BAD), id="three-of-three"),
        pytest.param(ALIVE, [BAD, BAD, OK, BAD, BAD], {}, Health(True, -2, BAD), id="recovered"),
        pytest.param(ALIVE, [BAD], {"failures": 1}, Health(False, -1, BAD), id="at-once"),
        pytest.param(ALIVE, [BAD, "late"], {}, Health(True, -2, "late"), id="last-reason"),
        pytest.param(ALIVE, [BAD, OK], {}, Health(True, 1), id="reason-is-forgotten"),
        pytest.param(ALIVE, [BAD] * 3 + [OK], {}, Health(True, 1), id="passes-again"),
        pytest.param(
            ALIVE, [BAD] * 3 + [OK], {"successes": 2}, Health(False, 1), id="not-yet-again"
        ),
    ],
)
def test_thresholds_decide_what_passes(start, answers, thresholds, expected) -> None:
    assert after(start, answers, **thresholds) == expected


@given(
    st.lists(st.booleans(), max_size=30), st.integers(1, 4), st.integers(1, 4), st.sampled_from(
        [UNREADY, ALIVE]
    )
)  # fmt: skip
def test_only_a_full_row_changes_health(answers, failures, successes, start) -> None:
    health = start
    for number, is_good in enumerate(answers, start=1):
        before = health.is_passing
        health = health.after(OK if is_good else BAD, probe(failures, successes))
        needed = successes if is_good else failures
        row = answers[max(number - needed, 0) : number]
        is_full = len(row) == needed and set(row) == {is_good}
        assert health.is_passing is (is_good if is_full else before)


@pytest.mark.parametrize(
    ("container", "expected"),
    [
        pytest.param({}, [], id="none"),
        pytest.param({"port": 8080}, [8080], id="old-field"),
        pytest.param({"ports": [{"number": 80}, {"number": 90}]}, [80, 90], id="in-their-order"),
        pytest.param({"ports": [{"number": 80}], "port": 90}, [80], id="new-field-first"),
        pytest.param({"ports": [], "port": 90}, [90], id="empty-list"),
        pytest.param({"ports": None, "port": None}, [], id="null"),
        pytest.param({"ports": [{"protocol": "http"}]}, [], id="without-number"),
    ],
)
def test_declared_ports_keep_their_order(container, expected) -> None:
    assert ports_of(container) == expected
    assert first_port(container) == (expected[0] if expected else None)


def test_container_without_port_needs_no_probe() -> None:
    assert readiness_of({}) is None
    assert liveness_of({}) is None
    assert liveness_of({"ports": [{"number": 80}]}) is None


def test_declared_port_is_probed_eagerly() -> None:
    found = readiness_of({"ports": [{"number": 80}]})
    assert found is not None
    assert found.check == Check("tcp", port=80)
    assert (found.initial_delay, found.failures, found.successes) == (0.0, 3, 1)
    assert found.eager_period is not None
    assert found.eager_period < found.period


@pytest.mark.parametrize(
    ("given_probe", "check"),
    [
        pytest.param({}, Check("tcp", port=80), id="nothing-asked"),
        pytest.param({"tcpSocket": {}}, Check("tcp", port=80), id="tcp"),
        pytest.param({"tcpSocket": {"port": 90}}, Check("tcp", port=90), id="tcp-port"),
        pytest.param({"grpc": {"port": 90}}, Check("grpc", port=90), id="grpc"),
        pytest.param({"grpc": {}}, Check("grpc", port=80), id="grpc-without-port"),
        pytest.param({"httpGet": {}}, Check("http", port=80, path="/"), id="http"),
        pytest.param(
            {
                "httpGet": {
                    "port": 90,
                    "path": "/up",
                    "scheme": "HTTPS",
                    "httpHeaders": [{"name": "A", "value": "1"}, {"name": "B"}],
                },
                "timeoutSeconds": 7,
            },
            Check(
                "http",
                port=90,
                path="/up",
                scheme="https",
                headers=(("A", "1"), ("B", "")),
                timeout_seconds=7.0,
            ),
            id="http-in-full",
        ),
        pytest.param(
            {"exec": {"command": ["cat", "/ok"]}}, Check("exec", command=("cat", "/ok")), id="exec"
        ),
        pytest.param({"exec": {}, "timeoutSeconds": 2}, Check("exec", timeout_seconds=2.0), id="e"),
    ],
)
@pytest.mark.parametrize("field", ["readinessProbe", "livenessProbe"])
def test_probe_asks_what_is_given(field, given_probe, check) -> None:
    read = readiness_of if field == "readinessProbe" else liveness_of
    found = read({"ports": [{"number": 80}, {"number": 90}], field: given_probe})
    assert found == Probe(check, 10, 10, 3, 1)


NUMBERS = {
    "initialDelaySeconds": 1,
    "periodSeconds": 2,
    "failureThreshold": 4,
    "successThreshold": 5,
    "tcpSocket": {"port": 80},
}


def test_numbers_of_a_probe_are_taken() -> None:
    expected = Probe(Check("tcp", port=80), 1, 2, 4, 5)
    assert readiness_of({"readinessProbe": NUMBERS}) == expected


def test_liveness_needs_one_success() -> None:
    expected = Probe(Check("tcp", port=80), 1, 2, 4, 1)
    assert liveness_of({"livenessProbe": NUMBERS}) == expected


def test_header_values_stay_out_of_repr() -> None:
    header = {"name": "Authorization", "value": "hunter2"}
    assert "hunter2" not in repr(
        readiness_of({"readinessProbe": {"httpGet": {"httpHeaders": [header]}}})
    )
