import ctypes
import threading

import anyio
import pytest
from prefect import flow, task

from cpln_flows import sync_compat


class Interruption(BaseException):
    """As Prefect's own interruptions are: not an Exception."""


async def _answer() -> int:
    await anyio.lowlevel.checkpoint()
    return 42


async def _fail(error: BaseException) -> None:
    raise error


def test_a_synchronous_caller_gets_the_result() -> None:
    assert sync_compat.run(_answer) == 42


@pytest.mark.parametrize(
    "error", [ValueError("x"), Interruption("x")], ids=["exception", "interruption"]
)
def test_a_synchronous_caller_gets_the_error_and_others_go_on(error) -> None:
    with pytest.raises(type(error)):
        sync_compat.run(lambda: _fail(error))
    assert sync_compat.run(_answer) == 42


def test_callers_in_many_threads_share_one_event_loop() -> None:
    loops, gate = set(), threading.Barrier(5)

    async def note() -> None:
        loops.add(id(anyio.lowlevel.current_token().native_token))
        await anyio.to_thread.run_sync(gate.wait)

    threads = [threading.Thread(target=sync_compat.run, args=(note,)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loops) == 1


def test_an_interrupted_caller_waits_until_the_work_has_cleaned_up() -> None:
    events, started = [], threading.Event()

    async def work() -> None:
        started.set()
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.05)
                events.append("cleaned up")

    def call() -> None:
        try:
            sync_compat.run(work)
        except Interruption:
            events.append("returned")

    caller = threading.Thread(target=call)
    caller.start()
    started.wait()
    # As Prefect interrupts a task that runs in a thread.
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(caller.ident), ctypes.py_object(Interruption)
    )
    caller.join()
    assert events == ["cleaned up", "returned"]


def test_a_plain_script_is_not_an_async_context() -> None:
    assert sync_compat.in_async_context() is False


def test_a_coroutine_is_an_async_context() -> None:
    async def ask() -> bool:
        return sync_compat.in_async_context()

    assert anyio.run(ask) is True


def test_a_sync_task_of_an_async_flow_is_not_an_async_context(prefect_api) -> None:
    @task
    def ask() -> bool:
        return sync_compat.in_async_context()

    @flow
    async def parent() -> tuple[bool, bool]:
        return sync_compat.in_async_context(), ask()

    assert anyio.run(parent) == (True, False)
