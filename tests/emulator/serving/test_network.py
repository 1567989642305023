"""The ways between workloads: names, credentials, firewalls and the order of replicas."""

import urllib.parse

import pytest

from cpln_flows.emulator import PlatformConfig
from cpln_flows.emulator.proxy.routes import Backend, Refused, Route
from cpln_flows.emulator.serving.network import Network
from cpln_flows.emulator.serving.ports import HOST
from cpln_flows.emulator.serving.replica import Replicas
from cpln_flows.emulator.store import Store

from .samples import (
    PORT,
    add_gvc,
    add_workload,
    container_document,
    make_replica,
    serving_container,
    spec_of,
)

ALIAS = "a1b2c3d4e5f6g"
OPEN = {"internal": {"inboundAllowType": "same-org"}, "external": {"inboundAllowCIDR": ["::/0"]}}
EVERYONE = {"external": {"inboundAllowCIDR": ["0.0.0.0/0"]}}


class World:
    """A store with a GVC, a workload that calls, and a network between all."""

    def __init__(self):
        self.store = Store()
        self.replicas = Replicas()
        add_gvc(self.store, alias=ALIAS)
        self.caller = make_replica(add_workload(self.store, "caller"), "caller-1")
        self.network = Network(PlatformConfig(), self.store, self.replicas)
        self.network.proxy = "http://127.0.0.1:9999"
        self.credentials = self.admit(self.caller)

    def admit(self, placement):
        address = urllib.parse.urlsplit(self.network.admit(placement))
        return f"{address.username}:{address.password}"

    def serve(self, name="web", *, gvc="prod", kind="standard", firewall=OPEN, **fields):
        spec = spec_of(kind, firewallConfig=firewall, **fields)
        return add_workload(self.store, name, gvc, spec)

    def run(self, workload, port, *, passing=True, ports=None, **fields):
        container = serving_container(passing=passing, ports=ports or {PORT: port})
        self.replicas.add(make_replica(workload, f"r-{port}", containers=[container], **fields))

    def ask(self, host="web.prod.cpln.local", port=PORT, credentials=None):
        return self.network.internal(credentials or self.credentials, host, port)

    def ports(self, *given):
        route = self.ask(*given)
        assert isinstance(route, Route), route
        return [each.port for each in route.backends]


@pytest.fixture
def world():
    return World()


def status(decision):
    assert isinstance(decision, Refused), decision
    return decision.status


# Credentials


def test_no_proxy_means_no_address(world) -> None:
    world.network.proxy = ""
    assert world.network.admit(world.caller) == ""


def test_address_names_the_replica(world) -> None:
    address = urllib.parse.urlsplit(world.network.admit(world.caller))
    assert (address.hostname, address.port, address.username) == (HOST, 9999, "caller-1")
    assert address.password


def test_each_placement_has_its_secret(world) -> None:
    other = make_replica(world.caller.workload, "caller-2")
    assert world.admit(other) != world.credentials


@pytest.mark.parametrize("credentials", ["", "caller-1", "caller-1:", "caller-1:guess", ":"])
def test_unknown_callers_are_refused(world, credentials) -> None:
    for host in ("web.prod.cpln.local", "example.com"):
        assert status(world.network.internal(credentials, host, 80)) == 407


def test_missing_credentials_are_refused(world) -> None:
    assert status(world.network.internal(None, "example.com", 80)) == 407


def test_dismissed_caller_is_refused(world) -> None:
    world.network.dismiss(world.caller)
    assert status(world.ask("example.com")) == 407
    world.network.dismiss(world.caller)


def test_second_admission_ends_the_first(world) -> None:
    renewed = world.admit(world.caller)
    assert status(world.ask("example.com")) == 407
    assert world.ask("example.com", credentials=renewed) is None


# Names


def test_foreign_names_are_left_alone(world) -> None:
    assert world.ask("example.com", 443) is None


@pytest.mark.parametrize(
    "host",
    [
        "none.prod.cpln.local",
        "web.none.cpln.local",
        "prod.cpln.local",
        "a.b.c.d.prod.cpln.local",
        f"none-{ALIAS}.cpln.app",
        "web-a1zzzzzzzzzzz.cpln.app",
        "web.cpln.app",
    ],
)
def test_unknown_own_names_are_refused(world, host) -> None:
    world.run(world.serve(), 1)
    refused = world.ask(host)
    assert status(refused) == 503
    assert "no workload that serves is known" in refused.message


def test_internal_name_finds_ready_replicas(world) -> None:
    world.run(world.serve(), 21001)
    assert world.ask() == Route((Backend(HOST, 21001),), 5.0)


def test_workload_of_another_gvc_is_found(world) -> None:
    add_gvc(world.store, "other")
    world.run(world.serve(gvc="other"), 21001)
    assert world.ports("web.other.cpln.local") == [21001]
    assert status(world.ask("web.prod.cpln.local")) == 503


def test_cron_workloads_have_no_name(world) -> None:
    world.serve(kind="cron")
    assert status(world.ask()) == 503


def test_deleted_workloads_have_no_name(world) -> None:
    workload = world.serve(firewall={**OPEN, **EVERYONE})
    world.run(workload, 1)
    workload.deleted = True
    assert status(world.ask()) == 503
    assert status(world.ask(f"web-{ALIAS}.cpln.app")) == 503
    assert status(world.network.canonical(workload.link, HOST)) == 503


def test_removed_workload_has_no_endpoint(world) -> None:
    assert status(world.network.canonical("/org/local/gvc/prod/workload/none", HOST)) == 503


# Firewalls


@pytest.mark.parametrize(
    ("internal", "near", "far"),
    [
        ({"inboundAllowType": "none"}, False, False),
        ({"inboundAllowType": "same-gvc"}, True, False),
        ({"inboundAllowType": "same-org"}, True, True),
        (
            {
                "inboundAllowType": "workload-list",
                "inboundAllowWorkload": ["/org/local/gvc/other/workload/caller"],
            },
            False,
            True,
        ),
    ],
)
def test_internal_firewall_decides_by_caller(world, internal, near, far) -> None:
    world.run(world.serve(firewall={"internal": internal, **EVERYONE}), 21001)
    other = world.admit(make_replica(add_workload(world.store, "caller", "other"), "caller-9"))
    for credentials, is_admitted in ((world.credentials, near), (other, far)):
        decision = world.ask(credentials=credentials)
        assert isinstance(decision, Route) if is_admitted else status(decision) == 403


def test_canonical_endpoint_asks_external_firewall(world) -> None:
    firewall = {"external": {"inboundAllowCIDR": ["10.0.0.0/8"]}}
    workload = world.serve(firewall=firewall)
    world.run(workload, 21001)
    assert world.network.canonical(workload.link, "10.0.0.1") == Route((Backend(HOST, 21001),), 5.0)
    assert status(world.network.canonical(workload.link, HOST)) == 403
    assert status(world.ask(f"web-{ALIAS}.cpln.app", 443)) == 403


def test_container_may_use_canonical_name(world) -> None:
    world.run(world.serve(firewall=EVERYONE), 21001)
    assert world.ports(f"web-{ALIAS}.cpln.app", 443) == [21001]


# Replicas


def test_unready_replicas_get_no_requests(world) -> None:
    workload = world.serve()
    world.run(workload, 21001, passing=False)
    world.run(workload, 21002)
    world.run(workload, 21003, is_stopping=True)
    assert world.ports() == [21002]


def test_no_ready_replica_is_an_empty_route(world) -> None:
    world.run(world.serve(), 21001, passing=False)
    assert world.ask() == Route((), 5.0)


def test_replicas_without_the_port_are_skipped(world) -> None:
    workload = world.serve()
    world.run(workload, 21001, ports={9: 21001})
    world.run(workload, 21002)
    assert world.ports() == [21002]


def test_replicas_take_turns(world) -> None:
    workload = world.serve()
    for port in (1, 2, 3):
        world.run(workload, port)
    assert [world.ports() for _ in range(4)] == [[1, 2, 3], [2, 3, 1], [3, 1, 2], [1, 2, 3]]


def test_workloads_take_turns_independently(world) -> None:
    for name in ("web", "api"):
        workload = world.serve(name)
        world.run(workload, 1)
        world.run(workload, 2)
    assert world.ports("web.prod.cpln.local") == [1, 2]
    assert world.ports("api.prod.cpln.local") == [1, 2]
    assert world.ports("web.prod.cpln.local") == [2, 1]


def test_own_location_comes_first(world) -> None:
    workload = world.serve()
    for port, location in ((1, "local-2"), (2, "local-1"), (3, "local-2"), (4, "local-1")):
        world.run(workload, port, location=location)
    assert [world.ports() for _ in range(2)] == [[2, 4, 1, 3], [4, 2, 3, 1]]


def stateful(world):
    workload = world.serve(kind="stateful")
    for port, index, location in (
        (10, 0, "local-1"), (11, 1, "local-1"), (20, 0, "local-2"), (21, 1, "local-2"),
        (22, 2, "local-2"),
    ):  # fmt: skip
        world.run(workload, port, index=index, location=location)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        pytest.param("replica-0.web.prod.cpln.local", [10], id="of-the-own-location"),
        pytest.param("replica-1.web.prod.cpln.local", [11], id="by-index"),
        pytest.param("replica-2.web.prod.cpln.local", [22], id="only-elsewhere"),
        pytest.param("replica-3.web.prod.cpln.local", [], id="no-such-index"),
        pytest.param("replica-0.web.local-2.prod.cpln.local", [20], id="of-a-location"),
        pytest.param("replica-2.web.local-1.prod.cpln.local", [], id="not-in-that-location"),
        pytest.param("web.prod.cpln.local", [10, 11, 20, 21, 22], id="any"),
    ],
)
def test_replica_name_finds_one_replica(world, host, expected) -> None:
    stateful(world)
    assert world.ports(host) == expected


# Ports


def ports_container(*ports, name="main"):
    return container_document(name, ports=list(ports))


@pytest.mark.parametrize(
    ("port", "declared", "is_raw"),
    [
        pytest.param(8080, 8080, False, id="first"),
        pytest.param(9090, 9090, True, id="tcp"),
        pytest.param(7070, 7070, False, id="of-another-container"),
        pytest.param(80, 8080, False, id="plain-http-is-the-first"),
    ],
)
def test_port_is_that_of_a_container(world, port, declared, is_raw) -> None:
    containers = [
        ports_container({"number": 8080, "protocol": "http"}, {"number": 9090, "protocol": "tcp"}),
        ports_container({"number": 7070, "protocol": "grpc"}, name="side"),
    ]
    chosen = {8080: 1, 9090: 2, 7070: 3}
    world.run(world.serve(containers=containers), 0, ports=chosen)
    assert world.ask(port=port) == Route((Backend(HOST, chosen[declared]),), 5.0, is_raw)


def test_undeclared_port_is_refused(world) -> None:
    world.run(world.serve(), 1)
    assert status(world.ask(port=443)) == 503


def test_workload_without_ports_is_refused(world) -> None:
    world.run(world.serve(containers=[{"name": "main", "image": "i"}]), 1)
    assert status(world.ask(port=80)) == 503


def test_plain_http_may_be_declared(world) -> None:
    containers = [ports_container({"number": 8080}, {"number": 80})]
    world.run(world.serve(containers=containers), 0, ports={8080: 1, 80: 2})
    assert world.ports("web.prod.cpln.local", 80) == [2]


def test_old_field_for_a_port_counts(world) -> None:
    containers = [{"name": "main", "image": "i", "port": PORT}]
    world.run(world.serve(containers=containers), 1)
    assert world.ports() == [1]


# Timeouts


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param({}, 5.0, id="default"),
        pytest.param({"defaultOptions": {"timeoutSeconds": 30}}, 30.0, id="given"),
        pytest.param(
            {
                "defaultOptions": {"timeoutSeconds": 30},
                "localOptions": [{"location": "//location/local-1", "timeoutSeconds": 60}],
            },
            60.0,
            id="of-the-location",
        ),
        pytest.param(
            {
                "defaultOptions": {"timeoutSeconds": 30},
                "localOptions": [{"location": "//location/local-2", "timeoutSeconds": 60}],
            },
            30.0,
            id="of-another-location",
        ),
    ],
)
def test_timeout_is_that_of_the_location(world, options, expected) -> None:
    world.run(world.serve(**options), 1)
    assert world.ask() == Route((Backend(HOST, 1),), expected)
