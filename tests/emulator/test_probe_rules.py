"""The rules for probes and for the number of replicas."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpln_flows.emulator.checks import Problems
from cpln_flows.emulator.probe_rules import (
    REPLICA_LIMIT,
    SCALING_METRICS,
    check_probe,
    check_scaling,
)

TCP = {"tcpSocket": {"port": 80}}
ONE_OF = '"p" must contain exactly one of [exec, grpc, tcpSocket, httpGet]'
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


def found(check, document):
    problems = Problems()
    check(problems, document, "p")
    return problems.messages


@pytest.mark.parametrize(
    "probe",
    [
        pytest.param(None, id="none"),
        pytest.param(TCP, id="tcp"),
        pytest.param({"tcpSocket": {}}, id="tcp-without-port"),
        pytest.param({"grpc": {"port": 65_535}}, id="grpc"),
        pytest.param({"exec": {"command": ["cat", "/ok"]}}, id="exec"),
        pytest.param({**TCP, "exec": None}, id="null-is-absent"),
        pytest.param(
            {
                "httpGet": {
                    "port": 1,
                    "path": "/",
                    "scheme": "HTTPS",
                    "httpHeaders": [{"name": "A", "value": "1"}],
                },
                "initialDelaySeconds": 0,
                "periodSeconds": 3600,
                "timeoutSeconds": 1,
                "successThreshold": 100,
                "failureThreshold": 1,
            },
            id="http-in-full",
        ),
    ],
)
def test_valid_probe_has_no_problems(probe) -> None:
    assert found(check_probe, probe) == []


@pytest.mark.parametrize(
    ("probe", "message"),
    [
        pytest.param({}, ONE_OF, id="asks-nothing"),
        pytest.param({**TCP, "grpc": {}}, ONE_OF, id="asks-two-things"),
        pytest.param([], '"p" must be of type object', id="no-object"),
        pytest.param({**TCP, "x": 1}, '"p.x" is not allowed', id="unknown-field"),
        pytest.param(
            {"tcpSocket": "80"}, '"p.tcpSocket" must be of type object', id="question-is-text"
        ),
        pytest.param(
            {"tcpSocket": {"port": "80"}}, '"p.tcpSocket.port" must be a number', id="port-is-text"
        ),
        pytest.param(
            {"grpc": {"port": 0}}, '"p.grpc.port" must be greater than or equal to 1', id="port-low"
        ),
        pytest.param(
            {"httpGet": {"port": 65_536}},
            '"p.httpGet.port" must be less than or equal to 65535',
            id="port-high",
        ),
        pytest.param(
            {"httpGet": {"scheme": "ftp"}},
            '"p.httpGet.scheme" must be one of [HTTP, HTTPS]',
            id="scheme",
        ),
    ],
)
def test_faulty_probe_names_its_field(probe, message) -> None:
    assert message in found(check_probe, probe)


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("initialDelaySeconds", 0, 3600),
        ("periodSeconds", 1, 3600),
        ("timeoutSeconds", 1, 3600),
        ("successThreshold", 1, 100),
        ("failureThreshold", 1, 100),
    ],
)
def test_numbers_of_probes_are_bounded(name, low, high) -> None:
    assert found(check_probe, {**TCP, name: low}) == []
    assert found(check_probe, {**TCP, name: high}) == []
    for value, rule in (
        (low - 1, f"must be greater than or equal to {low}"),
        (high + 1, f"must be less than or equal to {high}"),
        ("1", "must be a number"),
        (True, "must be a number"),
        (1.5, "must be a number"),
    ):
        assert found(check_probe, {**TCP, name: value}) == [f'"p.{name}" {rule}']


@pytest.mark.parametrize(
    ("scaling", "messages"),
    [
        pytest.param(None, [], id="none"),
        pytest.param({}, [], id="empty"),
        pytest.param({"minScale": 0, "maxScale": 0}, [], id="no-replicas"),
        pytest.param({"minScale": 2, "maxScale": 2}, [], id="fixed"),
        pytest.param({"minScale": REPLICA_LIMIT, "maxScale": REPLICA_LIMIT}, [], id="limit"),
        pytest.param({"minScale": 9}, [], id="only-a-least"),
        pytest.param({"target": 95, "scaleToZeroDelay": 60}, [], id="stored-only"),
        pytest.param(
            {"minScale": 3, "maxScale": 2},
            ['"p.minScale" must be less than or equal to maxScale'],
            id="least-above-most",
        ),
        pytest.param(
            {"minScale": -1}, ['"p.minScale" must be greater than or equal to 0'], id="negative"
        ),
        pytest.param(
            {"maxScale": REPLICA_LIMIT + 1},
            [f'"p.maxScale" must be less than or equal to {REPLICA_LIMIT}'],
            id="too-many",
        ),
        pytest.param({"minScale": "3"}, ['"p.minScale" must be a number'], id="text"),
        pytest.param({"maxScale": True}, ['"p.maxScale" must be a number'], id="boolean"),
        pytest.param(
            {"metric": "load"},
            [f'"p.metric" must be one of [{", ".join(SCALING_METRICS)}]'],
            id="metric",
        ),
        pytest.param("3", ['"p" must be of type object'], id="no-object"),
    ],
)
def test_scale_is_bounded(scaling, messages) -> None:
    assert found(check_scaling, scaling) == messages


@pytest.mark.parametrize("metric", SCALING_METRICS)
def test_every_metric_is_allowed(metric) -> None:
    assert found(check_scaling, {"metric": metric}) == []


PROBES = st.dictionaries(
    st.sampled_from(["exec", "grpc", "tcpSocket", "httpGet", "periodSeconds", "successThreshold"]),
    JSON | st.dictionaries(st.sampled_from(["port", "path", "command", "httpHeaders"]), JSON),
)


@given(JSON | PROBES)
def test_hostile_probe_raises_no_error(document) -> None:
    assert all(message.startswith('"p') for message in found(check_probe, document))


@given(JSON | st.dictionaries(st.sampled_from(["metric", "minScale", "maxScale"]), JSON))
def test_hostile_scale_raises_no_error(document) -> None:
    assert all(message.startswith('"p') for message in found(check_scaling, document))
