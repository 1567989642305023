"""The clean-up, on the local platform and a real Prefect server."""

import pytest

pytestmark = [pytest.mark.usefixtures("prefect_api"), pytest.mark.xdist_group("prefect")]
DAY = 86_400


def test_x(local):
    pass
