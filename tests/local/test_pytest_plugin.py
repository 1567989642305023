"""The fixtures that users have, in a test run of their own."""

import os

import pytest

ENABLED = 'pytest_plugins = ["cpln_flows.local.pytest_plugin"]'


@pytest.fixture
def users(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makeini("[pytest]")
    pytester.makeconftest(ENABLED)
    return pytester


def passed(users: pytest.Pytester, test: str, count: int = 1) -> None:
    users.makepyfile(test)
    users.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:xdist").assert_outcomes(
        passed=count
    )


def test_a_flow_of_the_user_runs_its_job_on_the_platform_of_the_test(users, prefect_api) -> None:
    passed(
        users,
        """
        from prefect import flow
        from cpln_flows import CplnJob, run_namespaced_job

        MAIN = {"name": "main", "image": "busybox", "command": ["echo", "hello"]}
        JOB = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}, "spec": {
            "template": {"spec": {"containers": [MAIN]}}}}

        def test_it(cpln_local):
            @flow
            def mine():
                return run_namespaced_job(CplnJob(v1_job=JOB))
            assert mine().endswith(" - hello")
            assert cpln_local.platform.jobs_started == 1
            assert cpln_local.platform.active_jobs == []
        """,
    )


def test_the_environment_points_at_the_platform_during_the_test_only(users, monkeypatch) -> None:
    monkeypatch.setenv("PREFECT_INTEGRATIONS_CPLN_ORG", "mine")
    monkeypatch.setenv("CPLN_ENDPOINT", "https://elsewhere")
    passed(
        users,
        """
        import os
        from cpln_flows.settings import CplnSettings

        def test_it(cpln_local):
            settings = CplnSettings.load()
            assert (settings.org, settings.endpoint) == ("local", cpln_local.url)
            assert os.environ["CPLN_ENDPOINT"] == cpln_local.url

        def test_without():
            assert os.environ["CPLN_ENDPOINT"] == "https://elsewhere"
        """,
        count=2,
    )
    assert os.environ["PREFECT_INTEGRATIONS_CPLN_ORG"] == "mine"


def test_the_platform_can_be_another_and_each_test_has_its_own(users) -> None:
    passed(
        users,
        """
        import httpx, pytest
        from cpln_flows.emulator import Platform, PlatformConfig

        @pytest.fixture
        def cpln_platform():
            return Platform(PlatformConfig(org="acme", locations=("aws-eu-central-1",)))

        @pytest.mark.parametrize("turn", [1, 2])
        def test_it(cpln_local, turn):
            header = {"authorization": cpln_local.platform.token}
            path = cpln_local.url + "/org/acme/secret"
            body = {"name": "only-one", "type": "opaque", "data": {"payload": "x"}}
            assert httpx.post(path, json=body, headers=header).status_code == 201
            assert cpln_local.environment["CPLN_LOCATION"] == "aws-eu-central-1"
        """,
        count=2,
    )
