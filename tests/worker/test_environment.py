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
