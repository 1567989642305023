import pytest

from cpln_flows.model import addresses


@pytest.mark.parametrize(
    ("url", "is_loopback"),
    [
        ("http://127.0.0.1:4200/api", True),
        ("http://localhost:4200/api", True),
        ("http://[::1]:4200/api", True),
        ("http://0.0.0.0:4200/api", True),
        ("http://prefect-server.prefect.cpln.local/api", False),
        ("https://api.prefect.cloud/api", False),
        ("http://10.0.0.7/api", False),
        ("", False),
        (None, False),
    ],
)
def test_an_address_that_leads_a_container_to_itself_is_known(url, is_loopback) -> None:
    assert addresses.is_loopback(url) is is_loopback
