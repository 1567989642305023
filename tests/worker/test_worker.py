"""The worker around its flow runs: what it logs at its start, what it resumes, and its errors."""

import logging
import re
from uuid import UUID, uuid4

import anyio
import anyio.to_thread
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_KEY, temporary_settings
from prefect.states import Cancelling, Completed, Crashed, Failed, Pending, Running
from prefect.workers.base import BaseWorker

from cpln_flows import CplnConfig, CplnWorker
from cpln_flows.api import secrets
from cpln_flows.api.client import CplnClient
from cpln_flows.emulator import Fault, Platform, PlatformConfig
from cpln_flows.errors import ConfigurationError, CplnError, ForbiddenError
from tests.manifests import FOREVER, LINES, goes_on_with
from tests.patience import PATIENCE_SECONDS
from tests.scenarios import pools, programs
from tests.scenarios.pools import Pool, Started
from tests.worker.test_run import _run_and

CANARY = "pnu_canary0123456789"
pytestmark = pytest.mark.xdist_group("worker-in-its-pool")


def test_prefect_finds_the_type_by_the_entry_point() -> None:
    assert BaseWorker.get_worker_class_from_type("cpln") is CplnWorker


def _said_at_start(pool, caplog) -> list[str]:
    async def main() -> None:
        async with pools.in_process(pool):
            return

    with caplog.at_level(logging.INFO):
        anyio.run(main)
    return [
        record.getMessage() for record in caplog.records if "[CPLN] Init" in record.getMessage()
    ]


def test_a_start_validates_token_org_and_gvc(pool, caplog) -> None:
    said = _said_at_start(pool, caplog)
    assert any(
        "[CPLN] Init | GVC: quickstart"
        " > Ready: token, organization local and GVC quickstart are valid" in s
        for s in said
    )
    assert any("PREFECT_API_URL" in s and "127.0.0.1" in s for s in said)


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        pytest.param(
            {"CPLN_ORG": "nobody"}, "org: there is no organization 'nobody'", id="unknown-org"
        ),
        pytest.param(
            {"CPLN_GVC": "nowhere"}, "namespace: there is no GVC 'nowhere'", id="unknown-gvc"
        ),
        pytest.param(
            {"CPLN_LOCATION": "moon-1"},
            "location: 'moon-1' is not a location of the GVC",
            id="unknown-location",
        ),
        pytest.param({"CPLN_ORG": ""}, "org: the work pool gives none and CPLN_ORG", id="no-org"),
        pytest.param({"CPLN_TOKEN": ""}, "CPLN_TOKEN is not set", id="no-token"),
        pytest.param(
            {"CPLN_ENDPOINT": "http://127.0.0.1:9", "CPLN_RETRY_SECONDS": "0"},
            "CPLN_ENDPOINT",
            id="unreachable",
        ),
    ],
)
def test_what_is_wrong_at_the_start_is_said_with_the_fix(
    pool, environment, says, caplog, monkeypatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    (said,) = [text for text in _said_at_start(pool, caplog) if "Not ready" in text]
    assert says in said


def test_a_manifest_in_the_template_that_cannot_run_is_said_at_the_start(
    local, prefect_api, caplog
) -> None:
    template = CplnWorker.get_default_base_job_template()
    template["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]["hostNetwork"] = True
    (said,) = [
        text
        for text in _said_at_start(Pool(local, prefect_api, template), caplog)
        if "Not ready" in text
    ]
    assert "spec.template.spec.hostNetwork" in said


@pytest.mark.parametrize(
    "image", ["docker.io/prefecthq/prefect:2-latest", "prefecthq/prefect:2.20.25-python3.11"]
)
def test_image_of_prefect_2_is_said_at_the_start(image, local, prefect_api, caplog) -> None:
    template = CplnWorker.get_default_base_job_template()
    template["variables"]["properties"]["image"]["default"] = image
    (said,) = [
        text
        for text in _said_at_start(Pool(local, prefect_api, template), caplog)
        if "Not ready" in text
    ]
    assert f"image: {image!r} has Prefect 2" in said
    assert "[CPLN] Init" in said


def _submitted(pool, run_id, meanwhile=None) -> State:
    """Submit a run as Prefect's worker does and return its state then."""

    async def main() -> None:
        async with pools.in_process(pool) as worker:
            if meanwhile is not None:
                real = worker._give_worker_labels_to_flow_run

                async def label(labelled) -> None:
                    await real(labelled)
                    if (await worker.client.read_flow_run(run_id)).state.is_pending():
                        await worker.client.set_flow_run_state(run_id, meanwhile, force=True)

                worker._give_worker_labels_to_flow_run = label
            worker._submitting_flow_run_ids.add(run_id)
            await worker._submit_run(await worker.client.read_flow_run(run_id))

    anyio.run(main)
    return pools.read(run_id).state


_REFUSED = {
    "a-refused-token": (
        Fault(path="^/org", status=401, times=None),
        "check the token of the Control Plane Configuration block",
    ),
    "a-missing-permission": (
        Fault(
            method="POST",
            path="-command$",
            status=403,
            message='requires permission "exec.runCronWorkload"',
            times=None,
        ),
        'requires permission "exec.runCronWorkload".*grant the permission',
    ),
}


@pytest.mark.parametrize(
    ("fault", "variables", "says"),
    [
        *[pytest.param(fault, {}, says, id=name) for name, (fault, says) in _REFUSED.items()],
        pytest.param(
            None,
            {"imge": "x"},
            "no variable 'imge' .did you mean 'image'.*Correct the deployment",
            id="unknown-variable",
        ),
        pytest.param(
            None,
            {"cpu": "much"},
            r"resources\.limits\.cpu.*expected",
            id="a-manifest-that-cannot-run",
        ),
        pytest.param(
            None,
            {"image": "prefecthq/prefect:2-latest"},
            "has Prefect 2, in which.*set `image`",
            id="prefect-2",
        ),
        pytest.param(
            None, {"namespace": "nowhere"}, "there is no GVC 'nowhere'.*check", id="unknown-gvc"
        ),
        pytest.param(
            None,
            {"location": "moon-1"},
            "'moon-1' is not a location of the GVC.*check",
            id="unknown-location",
        ),
    ],
)
def test_what_is_wrong_stands_on_the_flow_run_with_the_next_step(
    pool, fault, variables, says
) -> None:
    if fault is not None:
        pool.local.platform.faults.add(fault)
    state = _submitted(pool, pool.start(pool.deploy(command="true", **variables)))
    assert state.is_crashed()
    assert re.search(says, state.message, re.DOTALL), state.message
    assert pool.local.platform.jobs_started == 0


def test_a_pool_without_an_organization_says_on_the_flow_run_where_to_give_it(
    pool, monkeypatch
) -> None:
    monkeypatch.setenv("CPLN_ORG", "")
    state = _submitted(pool, pool.start(pool.deploy(command="true")))
    assert (
        "set `org` in the pool's base job template or in the deployment's job variables"
        in state.message
    )


@pytest.mark.parametrize(
    ("meanwhile", "stays"),
    [(Cancelling(), "CANCELLED"), (Failed(), "FAILED")],
    ids=["cancelled", "failed"],
)
def test_a_state_that_comes_while_a_run_is_submitted_is_not_replaced(
    pool, meanwhile, stays
) -> None:
    assert _submitted(pool, pool.start(pool.deploy(command="true")), meanwhile).type.value == stays
    assert pool.local.platform.jobs_started == 0


def test_a_run_that_is_cancelled_while_its_job_cannot_be_started_is_cancelled(pool) -> None:
    fault, says = _REFUSED["a-refused-token"]
    pool.local.platform.faults.add(fault)
    state = _submitted(pool, pool.start(pool.deploy(command="true")), Cancelling())
    assert state.is_cancelled()
    assert says in state.message


def _error_of(pool, **variables) -> Exception:
    run_id = pool.start(pool.deploy(command="true", **variables), Pending())

    async def main():
        async with pools.in_process(pool) as worker:
            run, started = await worker.client.read_flow_run(run_id), Started()
            with pytest.raises(CplnError) as caught:
                await worker.run(run, await pools.configuration(worker, run), started)
            assert started.pids == []
            return caught.value

    return anyio.run(main)


def test_a_refused_token_says_which_to_look_at(pool) -> None:
    pool.local.platform.faults.add(Fault(path="^/org", status=401, times=None))
    assert "check the token of the Control Plane Configuration block or CPLN_TOKEN" in str(
        _error_of(pool)
    )
    assert pool.local.platform.jobs_started == 0


def test_a_missing_permission_is_named(pool) -> None:
    message = 'requires permission "exec.runCronWorkload" on workload prefect-job'
    pool.local.platform.faults.add(
        Fault(method="POST", path="-command$", status=403, message=message, times=None)
    )
    error = _error_of(pool)
    assert isinstance(error, ForbiddenError)
    assert message in str(error)
    assert "grant the permission" in str(error)


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"namespace": "nowhere"}, "there is no GVC 'nowhere'"),
        ({"location": "moon-1"}, "'moon-1' is not a location of the GVC"),
    ],
)
def test_a_place_that_does_not_exist_is_named(pool, variables, says) -> None:
    error = _error_of(pool, **variables)
    assert isinstance(error, ConfigurationError)
    assert says in str(error)


def test_a_run_that_its_worker_left_behind_is_taken_up_and_no_line_comes_twice(pool) -> None:
    script = "import time\nfor n in range(20): print('line', n, flush=True); time.sleep(0.2)"
    run_id = pool.start(pool.deploy(command=pools.command(script)), Pending())

    def lines() -> list[str]:
        return [text.split(" - ")[1] for text in pools.messages(run_id) if " - line " in text]

    async def first() -> None:
        async with pools.in_process(pool, "steady") as worker:
            run, started = await worker.client.read_flow_run(run_id), Started()
            await worker._give_worker_labels_to_flow_run(run_id)
            made = await pools.configuration(worker, run)
            async with anyio.create_task_group() as group:
                group.start_soon(worker.run, run, made, started)
                await started.event.wait()
                await worker.client.set_flow_run_state(run_id, Running())
                await anyio.to_thread.run_sync(programs.until, lambda: len(lines()) > 1)
                group.cancel_scope.cancel()

    async def second() -> None:
        async with pools.in_process(pool, "steady") as worker:
            await pools.idle(worker)

    anyio.run(first)
    assert len(pool.local.platform.active_jobs) == 1, "the end of a worker must not stop its jobs"
    anyio.run(second)
    assert programs.until(lambda: len(lines()) >= 20)
    assert sorted(lines(), key=lambda line: int(line.split()[1])) == [
        f"line {n}" for n in range(20)
    ]
    assert pool.local.platform.jobs_started == 1
    assert pools.read(run_id).infrastructure_pid


def test_a_pending_run_without_a_job_gets_it_from_the_next_worker(pool) -> None:
    run_id = pool.start(pool.deploy(command=pools.command(LINES)), Pending())
    pools.label_as_left_behind(run_id)

    async def main() -> None:
        async with pools.in_process(pool, "steady", limit=1) as worker:
            await pools.idle(worker)

    anyio.run(main)
    assert pool.local.platform.jobs_started == 1
    assert pools.final(run_id).infrastructure_pid


@pytest.mark.parametrize("ended", [Crashed(), Failed(), Completed()], ids=str)
def test_a_run_that_another_worker_has_had_to_its_end_is_not_run_again(pool, ended) -> None:
    """Both workers have read it when it was scheduled; this one had others to prepare first."""
    run_id = pool.start(pool.deploy(command="true"))

    async def main() -> None:
        async with pools.in_process(pool) as worker:
            stale = await worker.client.read_flow_run(run_id)
            for state in (Pending(), Running(), ended):
                pools.set_state(run_id, state)
            worker._submitting_flow_run_ids.add(run_id)
            await worker._submit_run(stale)
            assert run_id not in worker._submitting_flow_run_ids

    anyio.run(main)
    assert pools.read(run_id).state.name == ended.name
    assert pool.local.platform.jobs_started == 0


async def _look_until(worker, seen) -> None:
    """Look for runs that were left behind, as each heartbeat does, until something has happened."""
    with anyio.fail_after(PATIENCE_SECONDS):
        while not seen():
            await worker.sync_with_backend()
            await anyio.sleep(0.05)


def test_of_two_workers_that_look_at_once_one_takes_a_run_up_and_the_other_when_that_one_dies(
    pool, monkeypatch
) -> None:
    run_id = pool.start(
        pool.deploy(command=pools.command(FOREVER), job_watch_timeout_seconds=1), Pending()
    )
    taken_up = []

    async def main() -> None:
        async with pools.in_process(pool, "one") as one, pools.in_process(pool, "two") as two:
            pools.label_as_left_behind(run_id)
            run = await one.client.read_flow_run(run_id)
            async with anyio.create_task_group() as group:
                for worker in (one, two):
                    monkeypatch.setattr(
                        worker, "_go_on_with", lambda run, name=worker.name: _go_on(name)
                    )
                    worker._followed.add(run_id)
                    group.start_soon(worker._take_up, run)
            (winner,) = taken_up
            loser = two if winner == "one" else one
            await loser.sync_with_backend()
            assert run_id not in loser._followed, "its new worker lives"
            pools.label_as_left_behind(run_id)
            await _look_until(loser, lambda: taken_up[1:])
            assert taken_up == [winner, loser.name]

    async def _go_on(name: str) -> None:
        taken_up.append(name)

    anyio.run(main)


def test_a_running_run_without_a_job_is_left_to_sync_and_started_by_nobody(pool) -> None:
    run_id = pool.start(pool.deploy(command=pools.command(LINES)), Pending())
    pools.set_state(run_id, Running())
    pools.label_as_left_behind(run_id)

    async def main() -> None:
        async with pools.in_process(pool, "steady") as worker:
            await pools.idle(worker)

    anyio.run(main)
    assert pool.local.platform.jobs_started == 0
    assert pools.read(run_id).state.is_running()


def test_a_limit_counts_runs_that_were_taken_up(pool, tmp_path) -> None:
    run_id = pool.start(
        pool.deploy(command=pools.command(goes_on_with(tmp_path / "end"))), Pending()
    )
    pools.label_as_left_behind(run_id)

    async def main() -> None:
        async with pools.in_process(pool, "steady", limit=1) as worker:
            await anyio.to_thread.run_sync(
                programs.until, lambda: programs.running_command(pool.local)
            )
            assert worker.limiter.available_tokens == 0
            (tmp_path / "end").touch()
            await pools.idle(worker)
            assert worker.limiter.available_tokens == 1

    anyio.run(main)


def test_a_limit_counts_jobs_that_run_and_not_submissions(pool, tmp_path) -> None:
    deployment = pool.deploy(
        command=pools.command(goes_on_with(tmp_path / "end")), stream_output=False
    )
    runs = {pool.start(deployment) for _ in range(3)}

    async def main() -> None:
        async with pools.in_process(pool, limit=2) as worker:

            async def submitted() -> set[UUID]:
                return {run.id for run in await worker.get_and_submit_flow_runs()}

            first = await submitted()
            assert len(first) == 2
            await anyio.to_thread.run_sync(
                programs.until, lambda: all(pools.read(run).infrastructure_pid for run in first)
            )
            assert len(pool.local.platform.active_jobs) == 2, "both are submitted, and both run"
            assert await submitted() == set()
            (tmp_path / "end").touch()
            await anyio.to_thread.run_sync(
                programs.until, lambda: worker.limiter.available_tokens == 2
            )
            assert await submitted() == runs - first
            await pools.idle(worker)

    anyio.run(main)
    assert pool.local.platform.jobs_started == 3


def enforcing(token: str) -> Platform:
    """A platform on which permissions count, and whose own token is that of its superusers."""
    return Platform(PlatformConfig(token=token, tokens={token: "/org/local/group/superusers"}))


@pytest.mark.parametrize("local", [lambda: enforcing("s.root")], indirect=True)
def test_prefects_key_reaches_the_job_through_a_secret_and_stands_nowhere_in_clear(
    pool, monkeypatch
) -> None:
    script = (
        "import os, sys; sys.exit(0 if os.environ['PREFECT_API_KEY'] == '"
        + CANARY[::-1]
        + "'[::-1] else 1)"
    )
    run_id = pool.start(pool.deploy(command=pools.command(script)), Pending())

    def give_key(made) -> None:
        made.env |= {"PREFECT_API_KEY": CANARY, "PREFECT_API_AUTH_STRING": f"user:{CANARY}"}

    assert _run_and(pool, run_id, wait_for_container=False, prepare=give_key).status_code == 0
    platform = pool.local.platform
    assert CANARY not in f"{platform.commands()} {platform.workloads()}"
    (workload,) = platform.workloads()
    assert "/identity/prefect-api-" in workload["spec"]["identityLink"]
    assert CANARY not in " ".join(pools.messages(run_id))


@pytest.mark.parametrize("local", [lambda: enforcing("s.root")], indirect=True)
def test_key_and_secrets_of_a_deployment_are_revealed_by_one_identity(pool, monkeypatch) -> None:
    script = (
        "import os, sys;"
        " sys.exit((os.environ['PREFECT_API_KEY'], os.environ['PW']) != ('one', 'hush'))"
    )
    env = {"PREFECT_API_KEY": "one", "PW": "cpln://secret/keys.pw"}
    run_id = pool.start(pool.deploy(command=pools.command(script), env=env), Pending())

    async def main() -> int:
        async with CplnClient(pool.local.settings.api()) as client:
            await secrets.put_dictionary(
                client, "local", "keys", {"pw": "hush"}, description="for tests"
            )
        async with pools.in_process(pool) as worker:
            run = await worker.client.read_flow_run(run_id)
            return (
                await worker.run(run, await pools.configuration(worker, run), Started())
            ).status_code

    assert anyio.run(main) == 0
    (workload,) = pool.local.platform.workloads()
    assert "/identity/job-secrets-" in workload["spec"]["identityLink"]


@pytest.mark.parametrize("local", [lambda: enforcing("s.root")], indirect=True)
def test_deployments_with_keys_of_their_own_get_each_its_own_and_lose_none(
    pool, monkeypatch
) -> None:
    script = "import os, sys; sys.exit(os.environ['PREFECT_API_KEY'] != sys.argv[1])"
    runs = [
        pool.start(
            pool.deploy(command=f"{pools.command(script)} {key}", env={"PREFECT_API_KEY": key}),
            Pending(),
        )
        for key in ("one", "two", "one")
    ]

    async def main() -> list[int]:
        async with pools.in_process(pool) as worker:
            codes = []
            for run_id in runs:
                run = await worker.client.read_flow_run(run_id)
                codes.append(
                    (
                        await worker.run(run, await pools.configuration(worker, run), Started())
                    ).status_code
                )
            return codes

    assert anyio.run(main) == [0, 0, 0]
    assert len(pool.local.platform.objects("secret")) == 2


def test_what_was_made_for_a_key_is_made_again_when_it_was_made_long_ago(pool, monkeypatch) -> None:
    runs = [
        pool.start(pool.deploy(command="true", env={"PREFECT_API_KEY": "one"}), Pending())
        for _ in range(3)
    ]
    asked = []

    async def main() -> None:
        async with pools.in_process(pool) as worker:
            for run_id in runs:
                run = await worker.client.read_flow_run(run_id)
                await worker._flow_run_job(run, await pools.configuration(worker, run))
                asked.append(
                    sum(
                        request.path == "/org/local/secret"
                        for request in pool.local.platform.requests
                    )
                )
                if len(asked) == 2:
                    stored = worker._secrets._stored
                    stored.update({key: moment - 4000 for key, moment in stored.items()})

    anyio.run(main)
    assert asked == [1, 1, 2]


def test_no_token_stands_in_a_flow_run_a_deployment_or_a_command(pool) -> None:
    run_id = pool.start(pool.deploy(command="true"), Pending())
    _run_and(pool, run_id, wait_for_container=False)
    token = pool.local.settings.token.get_secret_value()
    stored = (
        pools.read(run_id).model_dump_json()
        + f"{pool.local.platform.commands()} {pool.local.platform.workloads()}"
    )
    assert token not in stored + " ".join(pools.messages(run_id))


@pytest.mark.parametrize("local", [lambda: enforcing(CANARY)], indirect=True)
def test_a_pool_refers_to_a_block_whose_token_stands_nowhere_else(
    local, prefect_api, monkeypatch
) -> None:
    for name, value in pools.QUICK.items():
        monkeypatch.setenv(name, value)
    block = CplnConfig(token=CANARY).save(f"pool-{uuid4().hex[:8]}")
    template = CplnWorker.get_default_base_job_template()
    template["variables"]["properties"]["config"]["default"] = {
        "$ref": {"block_document_id": str(block)}
    }
    pool = Pool(local, prefect_api, template)
    run_id = pool.start(pool.deploy(command="true"), Pending())
    assert _run_and(pool, run_id, wait_for_container=False).status_code == 0
    with get_client(sync_client=True) as client:
        stored = (
            client.read_work_pool(pool.name).model_dump_json()
            + client.read_flow_run(run_id).model_dump_json()
        )
    assert CANARY not in stored + f"{local.platform.commands()}" + " ".join(pools.messages(run_id))


def test_in_clear_is_what_happens_without_being_asked() -> None:
    with temporary_settings({PREFECT_API_KEY: CANARY, PREFECT_API_AUTH_STRING: "u:p"}):
        assert CplnWorker.job_configuration._base_environment()["PREFECT_API_KEY"] == CANARY
