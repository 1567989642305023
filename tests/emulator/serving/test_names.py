"""The names by which workloads are reached."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpln_flows.emulator.serving.names import Canonical, Internal, is_ours, read_name

ALIAS = "a1b2c3d4e5f6g"
LABELS = st.from_regex(r"[a-z][-a-z0-9]{0,20}[a-z0-9]", fullmatch=True)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        pytest.param("web.prod.cpln.local", Internal("web", "prod"), id="workload"),
        pytest.param("Web.PROD.cpln.Local.", Internal("web", "prod"), id="case-and-final-dot"),
        pytest.param("replica-0.db.prod.cpln.local", Internal("db", "prod", 0), id="replica"),
        pytest.param("replica-12.db.prod.cpln.local", Internal("db", "prod", 12), id="replica-12"),
        pytest.param(
            "replica-1.db.aws-us-west-2.prod.cpln.local",
            Internal("db", "prod", 1, "aws-us-west-2"),
            id="replica-in-a-location",
        ),
        pytest.param("replica-0.prod.cpln.local", Internal("replica-0", "prod"), id="its-own-name"),
        pytest.param(f"web-{ALIAS}.cpln.app", Canonical("web", ALIAS), id="canonical"),
        pytest.param(f"my-web-2-{ALIAS}.cpln.app", Canonical("my-web-2", ALIAS), id="with-dashes"),
        pytest.param(f"WEB-{ALIAS.upper()}.CPLN.APP", Canonical("web", ALIAS), id="capitals"),
        pytest.param(f"w-{ALIAS}-{ALIAS}.cpln.app", Canonical(f"w-{ALIAS}", ALIAS), id="last"),
        pytest.param("example.com", None, id="elsewhere"),
        pytest.param("", None, id="empty"),
        pytest.param("web.cpln.local", None, id="without-gvc"),
        pytest.param("cpln.local", None, id="only-the-domain"),
        pytest.param("a.b.c.d.prod.cpln.local", None, id="too-many-labels"),
        pytest.param("replica-x.db.aws.prod.cpln.local", None, id="no-index"),
        pytest.param("replica-10000.db.aws.prod.cpln.local", None, id="index-too-long"),
        pytest.param("we_b.prod.cpln.local", None, id="underscore"),
        pytest.param("-web.prod.cpln.local", None, id="dash-first"),
        pytest.param("web..cpln.local", None, id="empty-label"),
        pytest.param("web.prod.cpln.local.example.com", None, id="only-begins-so"),
        pytest.param("web.prod.cpln.local\n", None, id="line-break"),
        pytest.param("web.prodxcpln.local", None, id="no-dot"),
        pytest.param(f"{'w' * 250}.prod.cpln.local", None, id="too-long"),
        pytest.param("web.cpln.app", None, id="without-alias"),
        pytest.param(f"{ALIAS}.cpln.app", None, id="only-an-alias"),
        pytest.param(f"web-{ALIAS}x.cpln.app", None, id="alias-too-long"),
        pytest.param(f"web-b{ALIAS[1:]}.cpln.app", None, id="no-alias"),
        pytest.param(f"web-{ALIAS}.cpln.local", None, id="other-domain"),
    ],
)
def test_name_is_read_or_foreign(host, expected) -> None:
    assert read_name(host) == expected


@given(LABELS, LABELS, LABELS, st.integers(0, 9999))
def test_parts_of_a_replica_are_found(workload, location, gvc, index) -> None:
    host = f"replica-{index}.{workload}.{location}.{gvc}.cpln.local"
    assert read_name(host) == Internal(workload, gvc, index, location)


@given(st.text(max_size=300))
def test_any_text_is_read_without_error(host) -> None:
    if read_name(host) is not None:
        assert is_ours(host)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("web.prod.cpln.local", True),
        ("Anything.CPLN.App.", True),
        ("unknown.cpln.local", True),
        ("cpln.local.example.com", False),
        ("mycpln.local", False),
        ("api.cpln.io", False),
        ("localhost", False),
    ],
)
def test_own_domains_are_told_apart(host, expected) -> None:
    assert is_ours(host) is expected
