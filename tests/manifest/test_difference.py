"""A manifest compared with its live object: what the platform adds or drops is no difference."""

import pytest

from cpln_flows.manifest.difference import differences


def _found(written, live) -> list[tuple]:
    return [(one.path, one.live, one.written) for one in differences(written, live)]


@pytest.mark.parametrize(
    ("written", "live"),
    [
        pytest.param({"a": 1}, {"a": 1, "version": 3, "links": []}, id="what-the-platform-adds"),
        pytest.param({"a": [], "b": {}, "c": None}, {}, id="what-the-platform-drops"),
        pytest.param({}, {"firewall": {"inbound": []}}, id="what-it-fills-in"),
        pytest.param(
            {"env": [{"name": "B"}, {"name": "A"}]},
            {"env": [{"name": "A"}, {"name": "B"}]},
            id="order-of-variables",
        ),
    ],
)
def test_what_is_no_difference(written, live) -> None:
    assert _found(written, live) == []


@pytest.mark.parametrize(
    ("written", "live", "found"),
    [
        pytest.param(
            {"spec": {"cpu": "1"}}, {"spec": {"cpu": "2"}}, [("spec.cpu", "2", "1")], id="value"
        ),
        pytest.param({"a": 1}, {}, [("a", None, 1)], id="missing"),
        pytest.param(
            {"args": ["a"]}, {"args": ["b", "a"]}, [("args", ["b", "a"], ["a"])], id="list"
        ),
        pytest.param(
            {"env": [{"name": "A", "value": "1"}, {"name": "B"}]},
            {"env": [{"name": "A", "value": "2"}, {"name": "C"}]},
            [
                ("env[A].value", "2", "1"),
                ("env[B]", None, {"name": "B"}),
                ("env[C]", {"name": "C"}, None),
            ],
            id="variables",
        ),
        pytest.param(
            {"volumes": [{"path": "/a", "uri": "scratch://a"}]},
            {"volumes": [{"path": "/a", "uri": "scratch://b"}]},
            [("volumes[/a].uri", "scratch://b", "scratch://a")],
            id="volumes",
        ),
        pytest.param({"a": {"b": 1}}, {"a": "text"}, [("a", "text", {"b": 1})], id="another-type"),
    ],
)
def test_what_differs_has_its_path(written, live, found) -> None:
    assert _found(written, live) == found
