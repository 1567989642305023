"""Workers that are killed at random instants, as real processes.

Each flow run ends, and no line is lost or printed twice.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.scenarios import pools, programs, stand_in
from tests.scenarios.pools import Pool

pytestmark = [pytest.mark.xdist_group("killed-workers"), pytest.mark.timeout(0)]

_ROUNDS, _RUNS, _LINES = 30, 4, 12
_LONGEST_DELAY_SECONDS = 8.0


def _delivered(run_id) -> list[str]:
    lines = [text.split(" - ")[1] for text in pools.messages(run_id) if " - line " in text]
    return lines if len(lines) >= _LINES + 1 else []


def _one_round(pool: Pool, dice: random.Random, folder: Path) -> int:
    """Kill a worker, perhaps its successor too, at random instants; return how many were killed."""
    names, killed = ["steady", dice.choice(["steady", "another"]), "steady"], 0
    deployment = pool.deploy(command=stand_in.command(_LINES, 0.25))
    runs: list = []
    for number, name in enumerate(names):
        log = folder / f"{number}.log"
        process = pool.worker("--name", name, log=log)
        try:
            programs.until(lambda log=log: "started!" in log.read_text(), 120)
            runs = runs or [pool.start(deployment) for _ in range(_RUNS)]
            is_last = number == len(names) - 1 or (number and dice.random() < 0.5)
            if not is_last:
                time.sleep(dice.uniform(0, _LONGEST_DELAY_SECONDS))
                process.kill()
                killed += 1
                continue
            for run_id in runs:
                assert pools.final(run_id).state.name == "Completed", log.read_text()
                lines = programs.until(lambda run_id=run_id: _delivered(run_id))
                assert lines == stand_in.expected(_LINES), log.read_text()
            break
        finally:
            if process.poll() is None:
                pools.end(process)
            process.wait()
    started = Counter(
        job["tags"]["prefect.io/flow-run-id"] for job in pool.local.platform.commands()
    )
    assert [started[str(run_id)] for run_id in runs] == [1] * len(runs)
    for run_id in runs:  # whatever was on its way has arrived by now
        assert _delivered(run_id) == stand_in.expected(_LINES)
    return killed


@pytest.mark.proof
def test_killed_workers_lose_no_run_and_no_line(
    local, prefect_api, tmp_path, request, count_example
) -> None:
    config = request.config
    seed = config.getoption("world") or random.SystemRandom().randrange(2**32)
    dice, killed = random.Random(seed), 0  # noqa: S311 - chooses instants
    for number in range(config.getoption("worlds") or _ROUNDS):
        folder = tmp_path / str(number)
        folder.mkdir()
        killed += _one_round(Pool(local, prefect_api), dice, folder)
        count_example()
        print(f"round {number + 1}: {killed} workers killed; again: --world={seed}", flush=True)  # noqa: T201 - takes long
