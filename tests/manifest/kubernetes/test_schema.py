"""Every field that Kubernetes publishes of a Job has an outcome, and a reason of its own."""

from collections import Counter
from pathlib import Path

import pytest

from tests.manifest.kubernetes import schema

WITHOUT_EFFECT = (
    # Kubernetes writes these by itself; labels and annotations are converted.
    "spec.template.metadata.",
    "spec.template.spec.enableServiceLinks",
)
GENERIC = (
    "is not supported on Control Plane",
    "is not a field",
    "does not belong here",
    "UNRELATED",
)
TABLE = Path(__file__).parents[3] / "docs" / "manifest-fields.md"


@pytest.fixture(scope="module")
def outcomes() -> dict[str, schema.Outcome]:
    """What becomes of each field."""
    return schema.outcomes()


def test_no_field_has_a_generic_sentence(outcomes) -> None:
    assert len(outcomes) > 500
    assert [
        path for path, one in outcomes.items() if any(text in one.said for text in GENERIC)
    ] == []


def test_only_what_is_so_anyway_has_no_effect(outcomes) -> None:
    silent = [
        path
        for path, one in outcomes.items()
        if one.kind == "without effect" and not path.startswith(WITHOUT_EFFECT)
    ]
    assert {path.rpartition(".")[2] for path in silent} == {"apiVersion", "readOnly"}


def test_most_of_what_a_job_says_is_converted(outcomes) -> None:
    assert Counter(one.kind for one in outcomes.values())["converted"] >= 60


def test_table_in_the_docs_is_that_of_the_code(outcomes) -> None:
    assert TABLE.read_text() == schema.table(outcomes), "run `poe fields`"
