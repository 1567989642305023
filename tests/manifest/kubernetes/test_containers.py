"""Amounts and devices of containers."""

import pytest

from tests.manifest.kubernetes.jobs import MAIN, POD, converted, faults, notes

GPU = "nvidia.com/gpu"


def _gpus(count, part="limits"):
    return (f"{MAIN}.resources", {part: {"cpu": "2", "memory": "8Gi", GPU: count}})


def _model(name):
    return ("metadata.annotations", {"cpln/gpuModel": name})


@pytest.mark.parametrize(
    ("resources", "amounts"),
    [
        pytest.param({}, ("500m", "512Mi"), id="none"),
        pytest.param({"limits": {"cpu": "", "memory": None}}, ("500m", "512Mi"), id="empty"),
        pytest.param({"limits": {"memory": "8Gi"}}, ("1024m", "8192Mi"), id="much-memory"),
        pytest.param({"limits": {"memory": "128Mi"}}, ("500m", "128Mi"), id="little-memory"),
        pytest.param({"limits": {"cpu": "2"}}, ("2000m", "512Mi"), id="much-cpu"),
        pytest.param({"requests": {"cpu": "25m"}}, ("25m", "200Mi"), id="little-cpu"),
    ],
)
def test_amount_that_is_not_given_is_filled_in_and_noted(resources, amounts) -> None:
    job = converted((f"{MAIN}.resources", resources))
    assert (job.main.cpu, job.main.memory) == amounts
    (message,) = notes(job).values()
    given = {key for part in resources.values() for key, value in part.items() if value}
    filled = [
        amount for key, amount in zip(("cpu", "memory"), amounts, strict=True) if key not in given
    ]
    assert all(amount in message for amount in filled)


@pytest.mark.parametrize(
    ("changes", "gpu"),
    [
        pytest.param([_gpus(1), _model("T4")], {"model": "t4", "quantity": 1}, id="annotation"),
        pytest.param(
            [_gpus("4", "requests"), _model("t4")], {"model": "t4", "quantity": 4}, id="request"
        ),
        pytest.param(
            [
                _gpus(1),
                (f"{POD}.nodeSelector", {"cloud.google.com/gke-accelerator": "nvidia-tesla-t4"}),
            ],
            {"model": "t4", "quantity": 1},
            id="machine-of-google",
        ),
        pytest.param(
            [_gpus(1), (f"{POD}.nodeSelector", {"nvidia.com/gpu.product": "NVIDIA-A10G"})],
            {"model": "a10g", "quantity": 1},
            id="machine-of-amazon",
        ),
    ],
)
def test_gpu_of_a_container(changes, gpu) -> None:
    job = converted(*changes)
    assert job.main.extra["gpu"] == {"nvidia": gpu}
    assert job.workload(name="w", tags={})["spec"]["defaultOptions"]["capacityAI"] is False


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        pytest.param(
            [_gpus(1)], "the model is not known; set the annotation cpln/gpuModel", id="no-model"
        ),
        pytest.param(
            [_gpus(5), _model("t4")],
            "a container can have 4 of the model t4, found 5",
            id="too-many",
        ),
        pytest.param(
            [_gpus(2), _model("a10g")],
            "a container can have 1 of the model a10g, found 2",
            id="more-than-one",
        ),
        pytest.param([_gpus(1), _model("h100")], "expected the model t4 or a10g", id="other-model"),
        pytest.param([_gpus("many"), _model("t4")], "expected the same integer", id="no-number"),
        pytest.param([_gpus(-1), _model("t4")], "expected the same integer", id="negative"),
    ],
)
def test_gpu_that_cannot_be_had_is_one_fault(changes, says) -> None:
    (message,) = (message for path, message in faults(*changes).items() if path.endswith(GPU))
    assert says in message


@pytest.mark.parametrize("device", ["amd.com/gpu", "aws.amazon.com/neuron", "hugepages-2Mi"])
def test_device_of_another_kind_is_refused(device) -> None:
    assert list(
        faults((f"{MAIN}.resources", {"limits": {"cpu": "1", "memory": "1Gi", device: 1}}))
    ) == [f"{MAIN}.resources.limits.{device}"]


def test_space_on_disk_is_noted() -> None:
    job = converted(
        (f"{MAIN}.resources", {"limits": {"cpu": "1", "memory": "1Gi", "ephemeral-storage": "1Gi"}})
    )
    assert list(notes(job)) == [f"{MAIN}.resources.limits.ephemeral-storage"]
