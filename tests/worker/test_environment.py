import pytest

from cpln_flows.worker import environment


def test_what_belongs_to_the_workers_machine_and_server_stays() -> None:
    settings = {
        "PREFECT_API_URL": "http://prefect/api",
        "PREFECT_API_KEY": "key",
        "PREFECT_LOGGING_LEVEL": "DEBUG",
        "PREFECT_HOME": "/root/.prefect",
        "PREFECT_PROFILES_PATH": "/root/.prefect/profiles.toml",
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": "postgresql://user:password@db",
        "PREFECT_SERVER_EPHEMERAL_ENABLED": "True",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
    }
    assert set(environment.travelling(settings)) == {"PREFECT_API_URL", "PREFECT_API_KEY", "PREFECT_LOGGING_LEVEL"}


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
    assert environment.is_loopback(url) is is_loopback
