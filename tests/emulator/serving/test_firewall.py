"""Who may send requests to a workload."""

import pytest

from cpln_flows.emulator.serving.firewall import admits_address, admits_workload
from cpln_flows.emulator.store import Store

from .samples import add_workload, spec_of


def callee(**firewall):
    return add_workload(Store(), "callee", spec=spec_of(firewallConfig=firewall))


def caller(gvc):
    return add_workload(Store(), "caller", gvc)


def listed(*workloads):
    return {"inboundAllowType": "workload-list", "inboundAllowWorkload": list(workloads)}


NEAR, FAR = "/org/local/gvc/prod/workload/caller", "/org/local/gvc/other/workload/caller"


@pytest.mark.parametrize(
    ("internal", "near", "far"),
    [
        pytest.param(None, False, False, id="nothing-given"),
        pytest.param({}, False, False, id="empty"),
        pytest.param({"inboundAllowType": "none"}, False, False, id="none"),
        pytest.param({"inboundAllowType": "any"}, False, False, id="unknown"),
        pytest.param({"inboundAllowType": "same-gvc"}, True, False, id="same-gvc"),
        pytest.param({"inboundAllowType": "same-org"}, True, True, id="same-org"),
        pytest.param(listed(), False, False, id="empty-list"),
        pytest.param(listed(NEAR), True, False, id="one-is-listed"),
        pytest.param(listed(FAR), False, True, id="one-of-another-gvc"),
        pytest.param(listed(NEAR, FAR), True, True, id="both-are-listed"),
        pytest.param(
            {"inboundAllowType": "workload-list", "inboundAllowWorkload": None},
            False,
            False,
            id="list-is-null",
        ),
        pytest.param(
            {"inboundAllowType": "none", "inboundAllowWorkload": [NEAR]},
            False,
            False,
            id="list-without-its-type",
        ),
    ],
)
def test_internal_part_admits_workloads(internal, near, far) -> None:
    workload = callee(internal=internal)
    assert admits_workload(workload, caller("prod")) is near
    assert admits_workload(workload, caller("other")) is far


def test_no_firewall_admits_nobody() -> None:
    workload = add_workload(Store(), spec=spec_of(firewallConfig=None))
    assert not admits_workload(workload, caller("prod"))
    assert not admits_address(workload, "127.0.0.1")


def test_parts_are_independent() -> None:
    open_inside = callee(internal={"inboundAllowType": "same-org"})
    open_outside = callee(external={"inboundAllowCIDR": ["0.0.0.0/0"]})
    assert not admits_address(open_inside, "127.0.0.1")
    assert not admits_workload(open_outside, caller("prod"))


@pytest.mark.parametrize(
    ("allowed", "blocked", "address", "expected"),
    [
        pytest.param(None, None, "10.0.0.1", False, id="nothing-given"),
        pytest.param([], [], "10.0.0.1", False, id="empty"),
        pytest.param(["0.0.0.0/0"], None, "10.0.0.1", True, id="everyone"),
        pytest.param(["10.0.0.0/8"], None, "10.9.9.9", True, id="within"),
        pytest.param(["10.0.0.0/8"], None, "11.0.0.1", False, id="outside"),
        pytest.param(["10.1.2.3/8"], None, "10.9.9.9", True, id="host-bits-are-set"),
        pytest.param(["10.0.0.1"], None, "10.0.0.1", True, id="one-address"),
        pytest.param(["10.0.0.1"], None, "10.0.0.2", False, id="another-address"),
        pytest.param(["1.1.1.1", "10.0.0.0/8"], None, "10.0.0.1", True, id="any-of-several"),
        pytest.param(["0.0.0.0/0"], ["10.0.0.0/8"], "10.0.0.1", False, id="blocked"),
        pytest.param(["0.0.0.0/0"], ["10.0.0.0/8"], "11.0.0.1", True, id="not-blocked"),
        pytest.param(["10.0.0.1"], ["0.0.0.0/0"], "10.0.0.1", False, id="a-block-beats-all"),
        pytest.param(None, ["10.0.0.0/8"], "11.0.0.1", False, id="only-blocks"),
        pytest.param(["0.0.0.0/0"], None, "::1", False, id="other-family"),
        pytest.param(["::/0"], None, "::1", True, id="ipv6"),
        pytest.param(["::/0"], None, "10.0.0.1", False, id="only-ipv6"),
        pytest.param(["nonsense", "10.0.0.0/8"], None, "10.0.0.1", True, id="nonsense-is-skipped"),
        pytest.param(["10.0.0.0/99"], None, "10.0.0.1", False, id="nonsense-admits-nobody"),
    ],
)
def test_external_part_admits_addresses(allowed, blocked, address, expected) -> None:
    workload = callee(external={"inboundAllowCIDR": allowed, "inboundBlockedCIDR": blocked})
    assert admits_address(workload, address) is expected
