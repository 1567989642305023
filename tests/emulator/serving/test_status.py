"""What a deployment, a status and a health show of a serving workload."""

import pytest

from cpln_flows.emulator.serving.status import Processed, Shown
from cpln_flows.emulator.serving.wanted import Wanted
from cpln_flows.emulator.store import Store

from .samples import (
    add_workload,
    container_document,
    make_replica,
    serving_container,
    spec_of,
)

CREATED = "2026-01-10T10:00:00.000Z"
WEB = add_workload(Store())
DEPLOYING = "the workload is being deployed"


def ready(name="r1", **fields):
    return make_replica(WEB, name, **fields)


def unready(name="r1", reason="", **fields):
    return make_replica(
        WEB, name, containers=[serving_container(passing=False, reason=reason)], **fields
    )


def old(name="old", **fields):
    return ready(name, template="older", **fields)


def stopping(name="stopping", **fields):
    return ready(name, is_stopping=True, **fields)


def shown(count, *replicas, obstacle="", is_newest=True, suspended_ready=True):
    return Shown(Wanted(count, "t"), replicas, obstacle, is_newest, suspended_ready)


@pytest.mark.parametrize(
    ("given", "is_ready", "is_deploying"),
    [
        pytest.param(shown(1, ready()), True, False, id="ready"),
        pytest.param(shown(2, ready("r1"), ready("r2")), True, False, id="both-ready"),
        pytest.param(shown(2, ready()), False, True, id="one-missing"),
        pytest.param(shown(1), False, True, id="none"),
        pytest.param(shown(2, ready("r1"), unready("r2")), False, True, id="one-unready"),
        pytest.param(shown(1, old()), False, True, id="only-an-old-one"),
        pytest.param(shown(1, ready(), old()), True, True, id="an-old-one-is-left"),
        pytest.param(shown(1, stopping()), False, True, id="the-only-one-stops"),
        pytest.param(shown(1, ready(), stopping()), True, True, id="one-stops"),
        pytest.param(shown(1, ready("r1"), ready("r2")), True, True, id="surplus"),
        pytest.param(shown(1, ready(), is_newest=False), True, True, id="not-the-newest"),
        pytest.param(shown(1, ready(), obstacle="no identity"), False, True, id="obstacle"),
        pytest.param(shown(0), True, False, id="suspended"),
        pytest.param(shown(0, suspended_ready=False), False, True, id="suspended-is-not-ready"),
        pytest.param(shown(0, stopping()), True, True, id="suspended-but-one-stops"),
    ],
)
def test_readiness_counts_current_replicas(given, is_ready, is_deploying) -> None:
    assert (given.is_ready, given.is_deploying) == (is_ready, is_deploying)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        pytest.param(shown(1, ready()), "", id="ready"),
        pytest.param(shown(0), "", id="suspended"),
        pytest.param(shown(1), DEPLOYING, id="nothing-runs-yet"),
        pytest.param(shown(1, ready(), is_newest=False), DEPLOYING, id="not-the-newest"),
        pytest.param(shown(1, unready()), DEPLOYING, id="nothing-known-yet"),
        pytest.param(
            shown(2, ready("r1"), unready("r2", "refused")),
            "replica r2, container main: readiness probe failed: refused",
            id="probe",
        ),
        pytest.param(shown(1, ready(obstacle="secret is missing", containers=[
            serving_container(running=False)])), "secret is missing", id="of-a-replica"),
        pytest.param(
            shown(1, unready(reason="refused"), obstacle="no identity"), "no identity", id="of-it"
        ),
        pytest.param(
            shown(1, unready("gone", "refused", template="older")), DEPLOYING, id="of-an-old-one"
        ),
        pytest.param(
            shown(1, unready("gone", "refused", is_stopping=True)), DEPLOYING, id="of-a-stopped-one"
        ),
    ],
)  # fmt: skip
def test_message_names_the_problem(given, message) -> None:
    assert given.message == message


def test_message_of_an_ended_container() -> None:
    container = serving_container(running=False)
    container.state.message = "Error: exit code 1"
    replica = make_replica(WEB, "r1", containers=[container])
    assert shown(1, replica).message == "replica r1, container main: Error: exit code 1"


def versions(given, number=1, spec=None):
    newest = Processed(number, CREATED, spec or WEB.document["spec"])
    return given.versions(WEB, "local-1", newest)


def scales(documents):
    """Return the number of each version, its replicas and those of them that are ready."""
    found = []
    for each in documents:
        resources = each["containers"]["main"]["resources"]
        found.append((each["workload"], resources["replicas"], resources["replicasReady"]))
    return found


def test_version_is_shown_in_full() -> None:
    assert versions(shown(2, ready("r1"), unready("r2", "refused")), 7) == [
        {
            "gvc": "prod",
            "zone": "local-1",
            "name": "web-7",
            "created": CREATED,
            "workload": 7,
            "ready": False,
            "message": "replica r2, container main: readiness probe failed: refused",
            "containers": {
                "main": {
                    "name": "main",
                    "image": "main:1",
                    "ready": False,
                    "message": "readiness probe failed: refused",
                    "resources": {"replicas": 2, "replicasReady": 1, "cpu": "", "memory": ""},
                }
            },
        }
    ]


def test_ready_version_has_no_message() -> None:
    (found,) = versions(shown(1, ready()))
    assert (found["ready"], found["message"]) == (True, "")
    assert found["containers"]["main"]["ready"]


def test_version_without_replicas_is_not_ready() -> None:
    (found,) = versions(shown(1))
    assert not found["ready"]
    assert not found["containers"]["main"]["ready"]
    assert scales([found]) == [(1, 0, 0)]


def test_processed_version_is_shown_first() -> None:
    given = shown(1, old("r1", version=1), old("r2", version=2), old("r3", version=2))
    found = versions(given, 3)
    assert scales(found) == [(3, 0, 0), (2, 2, 2), (1, 1, 1)]
    assert [each["name"] for each in found] == ["web-3", "web-2", "web-1"]
    assert not any(each["ready"] for each in found)


def test_version_of_the_same_template_is_current() -> None:
    assert scales(versions(shown(1, ready(version=1)), 2)) == [(2, 1, 1)]


def test_stopping_replicas_are_not_current() -> None:
    assert scales(versions(shown(1, ready("r1"), stopping(version=1)), 1)) == [(1, 1, 1)]


def test_old_version_is_shown_as_it_was() -> None:
    image = spec_of(containers=[container_document(image="older:1", cpu="1")])
    _, found = versions(shown(1, old(spec=image, version=1)), 2)
    container = found["containers"]["main"]
    assert (container["image"], container["resources"]["cpu"]) == ("older:1", "1")


def test_containers_are_counted_apart() -> None:
    containers = [serving_container("main"), serving_container("side", passing=False, reason="no")]
    spec = spec_of(containers=[container_document("main"), container_document("side")])
    (found,) = versions(shown(1, ready(containers=containers)), spec=spec)
    assert found["containers"]["main"]["resources"]["replicasReady"] == 1
    assert found["containers"]["side"]["resources"]["replicasReady"] == 0
    assert found["containers"]["side"]["message"] == "readiness probe failed: no"
    assert not found["ready"]
