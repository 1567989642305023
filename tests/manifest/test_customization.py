"""The fields of an infrastructure block and its JSON patch, laid over a manifest."""

import json
from contextlib import suppress

import jsonpatch
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpln_flows.errors import ManifestError
from cpln_flows.manifest import conversion
from cpln_flows.manifest.customization import (
    MOST_OPERATIONS,
    Shortcuts,
    base_job,
    container_of,
    customized,
    operations,
    pod_of,
)

ADD = {"op": "add", "path": "/metadata/labels/team", "value": "data"}


@pytest.mark.parametrize(
    "given_patch",
    [
        pytest.param([ADD], id="a list"),
        pytest.param(ADD, id="one operation"),
        pytest.param(json.dumps([ADD]), id="JSON text"),
        pytest.param("- op: add\n  path: /metadata/labels/team\n  value: data\n", id="YAML text"),
        pytest.param(json.dumps(ADD), id="one operation as text"),
        pytest.param(jsonpatch.JsonPatch([ADD]), id="a library's patch"),
    ],
)
def test_every_form_of_patch_is_read(given_patch) -> None:
    assert operations(given_patch) == [ADD]


@pytest.mark.parametrize("nothing", [None, [], "", "  ", "[]"])
def test_empty_patch_changes_nothing(nothing) -> None:
    assert customized(base_job(), Shortcuts(), operations(nothing)) == base_job()


def test_every_wrong_operation_is_named() -> None:
    with pytest.raises(ManifestError) as caught:
        operations(
            [
                1,
                ADD,
                {"op": "grow", "path": "/a"},
                {"op": "add"},
                {"op": "add", "path": "a", "value": 1},
            ]
        )
    assert [fault.path for fault in caught.value.faults] == [
        f"customizations[{index}]" for index in (0, 2, 3, 4)
    ]


@pytest.mark.parametrize(
    ("given_patch", "said"),
    [
        pytest.param(3, "expected a list of operations", id="a number"),
        pytest.param("[1", "expected JSON or YAML", id="no YAML"),
        pytest.param([ADD] * (MOST_OPERATIONS + 1), "at most 200 are allowed", id="too many"),
    ],
)
def test_what_is_no_patch_is_refused(given_patch, said) -> None:
    with pytest.raises(ManifestError, match=said):
        operations(given_patch)


@pytest.mark.parametrize(
    ("operation", "said"),
    [
        pytest.param(
            {"op": "remove", "path": "/nothing"},
            "non-existent object 'nothing'",
            id="nothing there",
        ),
        pytest.param(
            {"op": "add", "path": "/spec/template/spec/containers/7/x", "value": 1},
            "out of bounds",
            id="no such index",
        ),
        pytest.param(
            {"op": "test", "path": "/kind", "value": "Pod"},
            "the test has failed",
            id="a failed test",
        ),
        pytest.param(
            {"op": "replace", "path": "", "value": 3}, "leaves no object", id="the whole document"
        ),
    ],
)
def test_operation_that_cannot_be_applied_is_named(operation, said) -> None:
    with pytest.raises(ManifestError, match=rf"customizations\[1\]: .*{said}"):
        customized(base_job(), Shortcuts(), [ADD, operation])


def test_failed_test_shows_no_value() -> None:
    job = base_job() | {"metadata": {"labels": {"password": "canary-0123456789"}}}
    with pytest.raises(ManifestError) as caught:
        customized(
            job, Shortcuts(), [{"op": "test", "path": "/metadata/labels/password", "value": "x"}]
        )
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("kind", ["CronJob", "workload", None])
def test_other_kinds_than_a_job_are_refused(kind) -> None:
    with pytest.raises(ManifestError, match=r"job\.kind: expected Job"):
        customized(base_job() | {"kind": kind}, Shortcuts(), [])


def test_copies_of_copies_are_bounded() -> None:
    patch = [{"op": "copy", "from": "/spec", "path": f"/spec/copy{index}"} for index in range(60)]
    with pytest.raises(ManifestError, match="longer than 1 MiB"):
        customized(base_job(), Shortcuts(), patch)


def test_shortcuts_fill_their_places() -> None:
    shortcuts = Shortcuts(
        command=["python", "-V"],
        env={"A": "1", "GONE": None},
        image="busybox",
        labels={"team": "data"},
        name="nightly",
        service_account="runner",
    )
    job = base_job()
    container_of(job)["env"] = [
        {"name": "A", "value": "0"},
        {"name": "GONE", "value": "x"},
        {"name": "B", "value": "2"},
    ]
    made = customized(job, shortcuts, [])
    assert container_of(made) == {
        "name": "prefect-job",
        "env": [{"name": "B", "value": "2"}, {"name": "A", "value": "1"}],
        "image": "busybox",
        "args": ["python", "-V"],
    }
    assert made["metadata"] == {"labels": {"team": "data"}, "generateName": "nightly-"}
    assert pod_of(made)["serviceAccountName"] == "runner"
    assert container_of(job)["env"][0] == {"name": "A", "value": "0"}, (
        "the manifest itself was changed"
    )


def test_patch_comes_after_the_shortcuts() -> None:
    replace = {
        "op": "replace",
        "path": "/spec/template/spec/containers/0/image",
        "value": "patched",
    }
    assert (
        container_of(customized(base_job(), Shortcuts(image="busybox"), [replace]))["image"]
        == "patched"
    )


WRONG_JOBS = st.recursive(
    st.none() | st.booleans() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2),
    max_leaves=4,
)


@given(
    WRONG_JOBS,
    st.sampled_from(["metadata", "spec", "template", "pod", "containers", "container", "env"]),
)
def test_malformed_manifests_are_left_to_the_conversion(wrong, place) -> None:
    job = base_job()
    match place:
        case "metadata" | "spec":
            job[place] = wrong
        case "template":
            job["spec"]["template"] = wrong
        case "pod":
            job["spec"]["template"]["spec"] = wrong
        case "containers":
            pod_of(job)["containers"] = wrong
        case "container":
            pod_of(job)["containers"][0] = wrong
        case "env":
            container_of(job)["env"] = wrong
    shortcuts = Shortcuts(
        command=["a"],
        env={"A": "1"},
        image="busybox",
        labels={"a": "b"},
        name="n",
        service_account="s",
    )
    made = customized(job, shortcuts, [])
    with suppress(ManifestError):
        conversion.convert(made, gvc="dev")
