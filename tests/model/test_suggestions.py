"""A field that nobody knows gets the one that was meant: by its spelling, or where it belongs."""

import pytest

from cpln_flows.errors import ManifestError
from cpln_flows.manifest import conversion
from cpln_flows.model import suggestions
from tests.manifests import ABSENT, changed, kubernetes_job, native_job

POD = "spec.template.spec"
MAIN = f"{POD}.containers[0]"
NATIVE = "spec.containers[0]"


def _faults(document) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        conversion.convert(document, gvc="dev")
    return [str(fault) for fault in caught.value.faults]


@pytest.mark.parametrize(
    ("document", "says"),
    [
        pytest.param(
            changed(kubernetes_job("x"), (f"{MAIN}.imge", "x"), (f"{MAIN}.image", ABSENT)),
            f"{MAIN}.imge: is not a field; did you mean 'image'?",
            id="a-letter-is-missing",
        ),
        pytest.param(
            changed(kubernetes_job("x"), ("api_version", "batch/v1"), ("apiVersion", ABSENT)),
            "api_version: is not a field; did you mean 'apiVersion'?",
            id="snake-case",
        ),
        pytest.param(
            changed(kubernetes_job("x"), ("spec.active_deadline_seconds", 5)),
            "spec.active_deadline_seconds: is not a field; did you mean 'activeDeadlineSeconds'?",
            id="snake-case-of-an-optional-field",
        ),
        pytest.param(
            changed(kubernetes_job("x"), (f"{MAIN}.serviceAccountName", "etl")),
            f"{MAIN}.serviceAccountName: does not belong here; move it to {POD}.serviceAccountName",
            id="too-deep",
        ),
        pytest.param(
            changed(kubernetes_job("x"), ("backoffLimit", 0)),
            "backoffLimit: does not belong here; move it to spec.backoffLimit",
            id="not-deep-enough",
        ),
        pytest.param(
            changed(kubernetes_job("x"), ("spec.image", "x")),
            f"spec.image: does not belong here; move it to {MAIN}.image",
            id="far-too-high",
        ),
        pytest.param(
            changed(kubernetes_job("x"), ("spec.labels", {"a": "b"})),
            "spec.labels: does not belong here;"
            " move it to metadata.labels or spec.template.metadata.labels",
            id="beside",
        ),
        pytest.param(
            changed(native_job(), (f"{NATIVE}.memry", "128Mi")),
            f"{NATIVE}.memry: is not a field; did you mean 'memory'?",
            id="native",
        ),
        pytest.param(
            changed(native_job(), (f"{NATIVE}.identityLink", "//gvc/dev/identity/x")),
            f"{NATIVE}.identityLink: does not belong here; move it to spec.identityLink",
            id="native-too-deep",
        ),
        pytest.param(
            changed(native_job(), ("spec.suspend", True)),
            "spec.suspend: does not belong here; move it to spec.defaultOptions.suspend",
            id="native-not-deep-enough",
        ),
        pytest.param(
            changed(kubernetes_job("x"), ("Kind", "Job"), ("kind", ABSENT)),
            "found nothing; is it misspelled as 'Kind'?",
            id="the-kind",
        ),
        pytest.param(
            changed(kubernetes_job("x"), (f"{POD}.wholly_unlike", 1)),
            f"{POD}.wholly_unlike: is not supported on Control Plane; remove it",
            id="nothing-is-near",
        ),
        pytest.param(
            changed(kubernetes_job("x"), (f"{POD}.nodeSelectr", {"a": "b"})),
            f"{POD}.nodeSelectr: is not supported on Control Plane; remove it",
            id="a-field-that-is-refused-is-not-suggested",
        ),
    ],
)
def test_unknown_field_gets_what_was_meant(document, says) -> None:
    faults = _faults(document)
    assert any(fault.endswith(says) for fault in faults), faults


def test_second_container_is_told_its_own_place() -> None:
    job = changed(
        kubernetes_job("x"),
        (f"{POD}.containers[1]", {"name": "two", "image": "x", "limits": {"cpu": "1"}}),
    )
    (fault,) = _faults(job)
    assert fault == (
        f"{POD}.containers[1].limits: does not belong here;"
        f" move it to {POD}.containers[1].resources.limits"
    )


def test_names_too_long_to_compare_are_near_nothing() -> None:
    assert suggestions.near("image" * 10_000, ["image"]) is None


def test_thousands_of_unknown_fields_take_no_time() -> None:
    job = kubernetes_job("x")
    job["spec"]["template"]["spec"] |= {f"unknown{n}": n for n in range(5_000)}
    assert len(_faults(job)) == 5_000
