import pytest

from cpln_flows.emulator import (
    Container,
    Exit,
    ImagePullFailure,
    Line,
    ManualClock,
    NeverStart,
    OutOfMemory,
    RunSpec,
    Script,
)
from cpln_flows.emulator.executors.script import ScriptedExecutor, describe_exit

MAIN, SIDE = Container("main", "image"), Container("side", "image")
RUN = RunSpec("w-1", "g", "local", "local-1", "command-1", "1", "command-1-abcde", {}, (MAIN, SIDE))


class Seen(list):
    """What an executor tells, in order."""

    def __getattr__(self, name):
        return lambda *arguments: self.append((name, *arguments))


def play(script, container=MAIN, run=RUN):
    clock, seen = ManualClock(), Seen()
    handle = ScriptedExecutor(script, clock=clock).start(run, container, seen)
    return clock, seen, handle


def test_steps_happen_at_their_times():
    clock, seen, _ = play(Script((Exit(2), Line(1, "a\nb"), Line(0, "at once", stream="stderr"))))
    assert seen == [("started",), ("wrote", "stderr", ["at once"])]
    clock.advance(1)
    assert seen[-1] == ("wrote", "stdout", ["a", "b"])
    clock.advance(5)
    assert seen[-1] == ("ended", 0, "Completed", "")


@pytest.mark.parametrize(
    ("step", "told"),
    [
        pytest.param(
            Exit(code=2),
            ("ended", 2, "Error", "the container ended with exit code 2"),
            id="failure",
        ),
        pytest.param(
            Exit(code=143),
            ("ended", 143, "Error", "the container ended by SIGTERM (exit code 143)"),
            id="signal",
        ),
        pytest.param(Exit(code=1, reason="R", message="M"), ("ended", 1, "R", "M"), id="own-words"),
        pytest.param(
            OutOfMemory(),
            ("ended", 137, "OOMKilled", "the container used more than its memory limit of 128Mi"),
            id="memory",
        ),
        pytest.param(ImagePullFailure("no"), ("waiting", "ImagePullBackOff", "no"), id="image"),
        pytest.param(NeverStart("full"), ("never_placed", "full"), id="capacity"),
    ],
)
def test_every_step_is_told(step, told):
    clock, seen, _ = play(Script((step,)))
    clock.advance(0)
    assert seen[-1] == told


def test_a_container_without_steps_ends_with_the_others():
    clock, seen, _ = play(Script((Exit(3, code=1),)), SIDE)
    clock.advance(2)
    assert seen == [("started",)]
    clock.advance(1)
    assert seen[-1] == ("ended", 0, "Completed", "")


def test_the_script_is_asked_for_each_run():
    clock, seen, _ = play(lambda run: Script((Exit(code=len(run.containers)),)))
    clock.advance(0)
    assert seen[-1][1] == 2


def test_nothing_is_told_after_the_end():
    clock, seen, handle = play(Script((Exit(5), Line(6, "late"))))
    handle.kill()
    handle.kill()
    clock.advance(10)
    assert [each[0] for each in seen] == ["started", "ended"]


def test_a_script_without_an_end_runs_for_ever():
    clock, seen, _ = play(Script(()))
    clock.advance(10**6)
    assert seen == [("started",)]


@pytest.mark.parametrize(
    ("code", "says"),
    [(0, ""), (1, "exit code 1"), (137, "SIGKILL"), (139, "SIGSEGV"), (200, "200")],
)
def test_an_exit_code_is_said_in_words(code, says):
    assert says in describe_exit(code)
