"""Which images are Prefect's own, and of which major version."""

import pytest

from cpln_flows.manifest.images import prefect_major


@pytest.mark.parametrize(
    ("image", "major"),
    [
        ("prefecthq/prefect:2-latest", 2),
        ("docker.io/prefecthq/prefect:2-latest", 2),
        ("prefecthq/prefect:2", 2),
        ("prefecthq/prefect:2.20.25-python3.11", 2),
        ("registry.acme.io:5000/mirror/prefecthq/prefect:2-python3.10-conda", 2),
        ("PrefectHQ/Prefect:2.20.25@sha256:0123", 2),
        ("prefecthq/prefect:3-latest", 3),
        ("prefecthq/prefect:3.9.1-python3.12", 3),
        ("prefecthq/prefect", None),
        ("prefecthq/prefect:latest", None),
        ("prefecthq/prefect:sha-2abc", None),
        ("prefecthq/prefect@sha256:2222", None),
        ("localhost:2/prefecthq/prefect", None),
        ("acme/prefect:2", None),
        ("//image/prefect:2-latest", None),
        ("prefecthq/prefect-client:2-latest", None),
        ("python:2.7", None),
        ("", None),
        (":", None),
    ],
)
def test_major_of_prefects_image(image, major) -> None:
    assert prefect_major(image) == major
