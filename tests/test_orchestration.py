"""What the history of a flow run tells of its containers, and what a proposed state may replace."""

from datetime import UTC, datetime, timedelta

import anyio
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State, StateType
from prefect.client.schemas.responses import OrchestrationResult
from prefect.results import ResultRecordMetadata
from prefect.states import (
    Cancelled,
    Completed,
    Crashed,
    Failed,
    InfrastructurePending,
    Pending,
    Running,
)

from cpln_flows import orchestration
from tests.scenarios.hands import nothing

BEGUN = datetime(2026, 1, 10, 12, tzinfo=UTC)
NAMES = {
    "S": "SCHEDULED",
    "P": "PENDING",
    "R": "RUNNING",
    "F": "FAILED",
    "X": "CRASHED",
    "Z": "PAUSED",
    "C": "CANCELLING",
}


def _history(letters: str) -> list[State]:
    states = [
        State(type=StateType[NAMES[x]], timestamp=BEGUN + timedelta(seconds=n))
        for n, x in enumerate(letters)
    ]
    return states[::-1]


@pytest.mark.parametrize(
    ("letters", "number", "has_begun"),
    [
        pytest.param("SP", 0, False, id="the-first-container"),
        pytest.param("SPPP", 0, False, id="submitting-and-waiting-are-pending-too"),
        pytest.param("SPPR", 0, True, id="it-runs"),
        pytest.param("SPRSR", 0, True, id="a-retry-inside-of-the-container"),
        pytest.param("SPRSRC", 0, True, id="cancelled-after-such-a-retry"),
        pytest.param("SPX", 0, False, id="it-crashed-before-the-flow"),
        pytest.param("SPXSP", 1, False, id="run-again-after-that"),
        pytest.param("SPRXSPP", 1, False, id="run-again-after-a-crash"),
        pytest.param("SPRXSPC", 1, False, id="cancelled-before-it-begins-again"),
        pytest.param("SPRZSPR", 1, True, id="resumed-after-a-suspension"),
        pytest.param("SPRFP", 1, False, id="made-pending-by-force"),
        pytest.param("SPSP", 1, False, id="sent-back-and-taken-again"),
        pytest.param("R", 0, True, id="a-run-without-a-worker"),
        pytest.param("", 0, False, id="nothing-is-known"),
    ],
)
def test_the_history_of_a_run_tells_its_container(letters, number, has_begun) -> None:
    assert orchestration.container_attempt(_history(letters)) == number
    assert orchestration.has_begun(_history(letters)) is has_begun


def test_attempts_end_by_this_machines_clock() -> None:
    ahead = timedelta(minutes=20)
    (attempt,) = orchestration.attempts_of([Failed(timestamp=BEGUN + ahead)], ahead)
    assert attempt.ended == BEGUN


RESULT = ResultRecordMetadata(storage_key="here", serializer={"type": "pickle"})
PENDING = InfrastructurePending(message="waits")
CANCELLED = Cancelled(message="ours")
COMPLETED = Completed(message="ours")


@pytest.mark.parametrize(
    ("ours", "history", "stays"),
    [
        pytest.param(CANCELLED, [Running(), CANCELLED], None, id="over-no-final-state"),
        pytest.param(CANCELLED, [Running(), Failed(), CANCELLED], "FAILED", id="over-another"),
        pytest.param(
            PENDING, [Pending(), Crashed(), PENDING], "CRASHED", id="pending-over-a-final-state"
        ),
        pytest.param(
            CANCELLED,
            [Failed(), CANCELLED, CANCELLED],
            "FAILED",
            id="two-processes-proposed-the-same",
        ),
        pytest.param(CANCELLED, [Failed(), CANCELLED, Failed()], None, id="somebody-gave-it-back"),
        pytest.param(
            CANCELLED,
            [Failed(), Pending(), Running(), CANCELLED],
            None,
            id="the-end-of-an-earlier-attempt",
        ),
        pytest.param(
            COMPLETED, [Running(), Completed(), COMPLETED], None, id="the-same-without-a-result"
        ),
        pytest.param(
            COMPLETED,
            [Running(), Completed(data=RESULT), COMPLETED],
            "COMPLETED",
            id="the-same-with-a-result",
        ),
        pytest.param(
            COMPLETED,
            [Running(), Completed(name="Skipped"), COMPLETED],
            "COMPLETED",
            id="the-same-by-another-name",
        ),
        pytest.param(CANCELLED, [], None, id="nothing-is-known"),
    ],
)
def test_the_final_state_that_a_proposal_has_replaced_is_found(ours, history, stays) -> None:
    states = [
        state.model_copy(update={"timestamp": BEGUN + timedelta(seconds=n)})
        for n, state in enumerate(history)
    ]
    found = orchestration.replaced(states[::-1], ours)
    assert (found.type if found else None) == stays


FROM = {StateType.PENDING, StateType.RUNNING, StateType.CANCELLING}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Late:
    """A client of Prefect, beside which an engine reports right after each look."""

    def __init__(self, client, late: State) -> None:
        self._client = client
        self._late = late

    async def read_flow_run(self, run_id):
        run = await self._client.read_flow_run(run_id)
        body = {
            "state": self._late.model_dump(
                mode="json", include={"type", "name", "message", "data"}
            ),
            "force": True,
        }
        await self._client.request(
            "POST", "/flow_runs/{id}/set_state", path_params={"id": run_id}, json=body
        )
        return run

    def __getattr__(self, name: str):
        return getattr(self._client, name)


@pytest.mark.anyio
@pytest.mark.usefixtures("prefect_api")
@pytest.mark.xdist_group("prefect")
@pytest.mark.parametrize(
    ("late", "ours"),
    [
        (Completed(data=RESULT, message="well"), Cancelled()),
        (Failed(), Cancelled()),
        (Crashed(), Cancelled()),
        (Crashed(), InfrastructurePending()),
        (Failed(), InfrastructurePending()),
        (Completed(), InfrastructurePending()),
        (Cancelled(), Crashed()),
    ],
)
async def test_a_final_state_that_comes_after_the_look_stays(late, ours) -> None:
    async with get_client() as client:
        run = await client.create_flow_run(nothing, state=Pending())
        assert not await orchestration.propose(Late(client, late), run.id, ours, only_from=FROM)
        state = (await client.read_flow_run(run.id)).state
        assert (state.type, state.name) == (late.type, late.name)
        assert (state.data.storage_key if state.data else None) == (
            late.data.storage_key if late.data else None
        )
        assert (late.message or late.name) in (state.message or state.name)
        await client.delete_flow_run(run.id)


class Server:
    """Takes every state, and does not say so when it is told to lose its answers."""

    def __init__(self, *states: State) -> None:
        self.states = list(states)
        self.taken = anyio.Event()
        self.answers = anyio.Event()
        self.is_cut_off = False

    async def set_flow_run_state(self, _run_id, state: State):
        self.states.append(state)
        self.taken.set()
        if self.is_cut_off:
            raise TimeoutError("no answer")
        await self.answers.wait()
        return OrchestrationResult(state=None, status="ACCEPT", details={"type": "accept_details"})

    async def read_flow_run_states(self, _run_id) -> list[State]:
        return self.states

    async def request(self, *_, json, **__) -> None:
        self.states.append(State(type=json["state"]["type"], name=json["state"]["name"]))


@pytest.mark.anyio
async def test_a_final_state_is_given_back_by_a_caller_that_is_cancelled() -> None:
    server = Server(Running(), Failed())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(orchestration.propose_giving_way, server, BEGUN, Cancelled())
        await server.taken.wait()
        tasks.cancel_scope.cancel()
        server.answers.set()
    assert server.states[-1].type == "FAILED"


@pytest.mark.anyio
async def test_a_final_state_is_given_back_when_the_answer_is_lost() -> None:
    server = Server(Running(), Failed())
    server.is_cut_off = True
    with pytest.raises(TimeoutError):
        await orchestration.propose_giving_way(server, BEGUN, Cancelled())
    assert server.states[-1].type == "FAILED"
