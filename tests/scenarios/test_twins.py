"""Two worker processes of one name, as two replicas of one workload with a fixed name are."""

import anyio
import pytest
from prefect.states import Pending

from cpln_flows.worker import left_behind
from tests.manifests import FOREVER
from tests.scenarios import pools, programs, stand_in
from tests.scenarios.pools import Pool, Started

pytestmark = [pytest.mark.xdist_group("takeover"), pytest.mark.timeout(240)]


@pytest.fixture
def pool(local, prefect_api, monkeypatch) -> Pool:
    for name, value in pools.QUICK.items():
        monkeypatch.setenv(name, value)
    return Pool(local, prefect_api)


async def _run(worker, run_id, started, results) -> None:
    await worker._give_worker_labels_to_flow_run(run_id)
    run = await worker.client.read_flow_run(run_id)
    results.append(await worker.run(run, await pools.configuration(worker, run), started))


def _twin(pool: Pool):
    return pools.in_process(
        pool, "steady", heartbeat_interval_seconds=30
    )  # no slow machine makes it silent


def test_living_twin_keeps_its_runs_and_is_reported_once(pool, caplog) -> None:
    deployment = pool.deploy(command=stand_in.command(20, 0.3))
    runs = [pool.start(deployment, Pending()) for _ in range(2)]

    def warnings() -> list[str]:
        return [r.getMessage() for r in caplog.records if "under the same name" in r.getMessage()]

    async def main() -> None:
        async with _twin(pool) as elder, _twin(pool) as younger, anyio.create_task_group() as group:
            for run_id in runs:
                group.start_soon(_run, elder, run_id, Started(), [])
            await programs.reached(lambda: len(elder._scopes) == 2)
            while elder._scopes or len(warnings()) < 2:
                for worker in (elder, younger):
                    await worker.sync_with_backend()
                assert not younger._followed
                await anyio.sleep(0.2)

    anyio.run(main)
    assert [pools.final(run_id).state.name for run_id in runs] == ["Completed"] * 2
    assert [pools.lines(run_id, 21) for run_id in runs] == [stand_in.expected(20)] * 2
    assert len(warnings()) == 2, "each reports the other"
    assert all("[CPLN] Init | " in text or "[CPLN] Init > " in text for text in warnings())
    assert pool.local.platform.jobs_started == 2


def test_run_that_another_process_has_taken_up_is_let_go(pool) -> None:
    run_id = pool.start(
        pool.deploy(command=pools.command(FOREVER), job_watch_timeout_seconds=60), Pending()
    )

    async def main() -> None:
        async with _twin(pool) as worker, anyio.create_task_group() as group:
            started, results = Started(), []
            group.start_soon(_run, worker, run_id, started, results)
            await started.event.wait()
            await worker.sync_with_backend()
            assert run_id in worker._scopes
            pools.label_as_left_behind(run_id, "steady")
            await worker.sync_with_backend()
            await programs.reached(lambda: results)
            assert results[0].status_code == 0, "which would crash the run"
            assert run_id not in worker._followed

    anyio.run(main)
    assert pools.read(run_id).state.is_pending()
    assert len(pool.local.platform.active_jobs) == 1


def test_process_that_has_lost_its_claim_starts_no_job(pool) -> None:
    run_id = pool.start(pool.deploy(command="true"), Pending())

    async def main() -> None:
        async with _twin(pool) as worker:
            run, started = await worker.client.read_flow_run(run_id), Started()
            made = await pools.configuration(worker, run)
            pools.label_as_left_behind(run_id, "steady")
            await worker.run(run, made, started)
            assert started.pids == [None]

    anyio.run(main)
    assert pool.local.platform.jobs_started == 0
    assert any(
        "another worker process has taken over the flow run" in text
        for text in programs.until(lambda: pools.messages(run_id))
    )


def test_claim_of_another_process_is_seen(pool, monkeypatch) -> None:
    run_id = pool.start(pool.deploy(command="true"), Pending())

    async def main() -> None:
        async with _twin(pool) as worker:
            client, me, turn = worker.client, worker._identity, anyio.Lock()
            worker._followed.add(run_id)  # so that the worker itself leaves it alone
            pools.label_as_left_behind(run_id, "dead")
            seen = await client.read_flow_run(run_id)
            pools.label_as_left_behind(run_id, "quicker")
            assert await left_behind.claim(client, seen, me, turn) is None, "it was claimed before"
            seen, label = await client.read_flow_run(run_id), client.update_flow_run_labels

            async def label_and_lose(*args) -> None:
                await label(*args)
                await anyio.to_thread.run_sync(pools.label_as_left_behind, run_id, "later")

            monkeypatch.setattr(client, "update_flow_run_labels", label_and_lose)
            assert await left_behind.claim(client, seen, me, turn) is None, (
                "it was claimed at the same moment"
            )

    anyio.run(main)
