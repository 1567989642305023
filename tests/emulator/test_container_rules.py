"""The rules for GPUs."""

import pytest

from cpln_flows.emulator.checks import Problems
from cpln_flows.emulator.container_rules import check_gpu, check_gpu_options


def gpu(**nvidia):
    return {"gpu": {"nvidia": nvidia}}


@pytest.mark.parametrize(
    ("container", "says"),
    [
        pytest.param({}, [], id="none"),
        pytest.param({"gpu": {"custom": {"resource": "x"}}}, [], id="of-another-kind"),
        pytest.param(gpu(model="t4", quantity=4), [], id="most-t4"),
        pytest.param(gpu(model="a10g", quantity=1), [], id="one-a10g"),
        pytest.param(gpu(model="t4", quantity=5), ["less than or equal to 4"], id="too-many-t4"),
        pytest.param(gpu(model="a10g", quantity=2), ["less than or equal to 1"], id="two-a10g"),
        pytest.param(gpu(model="t4", quantity=0), ["greater than or equal to 1"], id="no-t4"),
        pytest.param(gpu(model="v100", quantity=1), ["one of [t4, a10g]"], id="unknown-model"),
        pytest.param(gpu(), ["model", "quantity"], id="empty"),
    ],
)
def test_model_decides_how_many_gpus(container, says) -> None:
    problems = Problems()
    check_gpu(problems, container, "c")
    assert len(problems.messages) == len(says)
    assert all(text in message for text, message in zip(says, problems.messages, strict=True))


@pytest.mark.parametrize(
    ("options", "fields"),
    [
        pytest.param({"defaultOptions": {"capacityAI": False}}, [], id="off"),
        pytest.param({}, ["defaultOptions"], id="on-by-default"),
        pytest.param({"defaultOptions": {"capacityAI": True}}, ["defaultOptions"], id="on"),
        pytest.param(
            {
                "defaultOptions": {"capacityAI": False},
                "localOptions": [{"capacityAI": False}, {"capacityAI": True}],
            },
            ["localOptions[1]"],
            id="on-in-one-location",
        ),
    ],
)
def test_gpu_needs_capacity_ai_off(options, fields) -> None:
    problems = Problems()
    check_gpu_options(problems, {"containers": [{}, gpu(model="t4", quantity=1)], **options})
    assert problems.messages == [
        f'"spec.{name}.capacityAI" must be false for a workload with a gpu' for name in fields
    ]
    without = Problems()
    check_gpu_options(without, {"containers": [{}], **options})
    assert not without.messages
