"""One user and one group for all containers of a job."""

import pytest

from tests.manifest.kubernetes.jobs import MAIN, POD, converted, faults, notes

SIDE = f"{POD}.containers[1]"


def _contexts(pod=None, main=None, side=None):
    changes = [(f"{POD}.securityContext", pod or {}), (f"{MAIN}.securityContext", main or {})]
    return (
        [*changes, (SIDE, {"name": "side", "image": "i", "securityContext": side or {}})]
        if side is not None
        else changes
    )


@pytest.mark.parametrize(
    ("contexts", "options"),
    [
        pytest.param(
            _contexts({"runAsUser": 1000, "fsGroup": 2000}),
            {"runAsUser": 1000, "filesystemGroupId": 2000},
            id="pod",
        ),
        pytest.param(
            _contexts(main={"runAsUser": 1000, "runAsNonRoot": True}),
            {"runAsUser": 1000},
            id="container",
        ),
        pytest.param(
            _contexts({"runAsUser": 7}, {"runAsUser": 1000}),
            {"runAsUser": 1000},
            id="container-over-pod",
        ),
        pytest.param(
            _contexts({"runAsUser": 7}, {}, {"runAsUser": 7}), {"runAsUser": 7}, id="agreeing"
        ),
        pytest.param(
            _contexts({"runAsNonRoot": True}, {"runAsUser": 7}),
            {"runAsUser": 7},
            id="user-of-the-container",
        ),
        pytest.param(
            _contexts(main={"capabilities": {"drop": ["ALL"]}, "privileged": False}),
            None,
            id="nothing",
        ),
    ],
)
def test_options_of_security_contexts(contexts, options) -> None:
    assert converted(*contexts).extra_spec.get("securityOptions") == options


@pytest.mark.parametrize(
    ("contexts", "path"),
    [
        pytest.param(
            _contexts({}, {"runAsUser": 7}, {}),
            f"{SIDE}.securityContext.runAsUser",
            id="one-of-two",
        ),
        pytest.param(
            _contexts({}, {"runAsUser": 7}, {"runAsUser": 8}),
            f"{SIDE}.securityContext.runAsUser",
            id="two-users",
        ),
        pytest.param(_contexts({"runAsGroup": 5}), f"{POD}.securityContext.runAsGroup", id="group"),
        pytest.param(
            _contexts({"supplementalGroups": [5]}),
            f"{POD}.securityContext.supplementalGroups",
            id="groups",
        ),
        pytest.param(
            _contexts({"sysctls": [{"name": "a"}]}), f"{POD}.securityContext.sysctls", id="kernel"
        ),
        pytest.param(
            _contexts(main={"privileged": True}),
            f"{MAIN}.securityContext.privileged",
            id="privileged",
        ),
        pytest.param(
            _contexts(main={"procMount": "Unmasked"}),
            f"{MAIN}.securityContext.procMount",
            id="proc",
        ),
        pytest.param(
            _contexts(main={"capabilities": {"add": ["NET_ADMIN"]}}),
            f"{MAIN}.securityContext.capabilities.add",
            id="capability",
        ),
        pytest.param(
            _contexts(main={"runAsNonRoot": True}),
            f"{MAIN}.securityContext.runAsNonRoot",
            id="user-of-the-image",
        ),
        pytest.param(_contexts(main={"odd": 1}), f"{MAIN}.securityContext.odd", id="unknown"),
    ],
)
def test_context_that_cannot_be_had_is_one_fault(contexts, path) -> None:
    assert list(faults(*contexts)) == [path]


def test_group_of_the_user_is_noted() -> None:
    job = converted(*_contexts({"runAsUser": 1000, "runAsGroup": 1000}))
    assert list(notes(job)) == [f"{POD}.securityContext.runAsGroup"]
