import os
import subprocess
import sys

import pytest

from cpln_flows.worker import processes

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells")


def test_living_process_has_not_ended() -> None:
    assert not processes.has_ended(processes.own())


def test_ended_process_is_told_even_if_nobody_waits() -> None:
    child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    machine, _, _ = processes.own().split(":")
    process = f"{machine}:{child.pid}:{processes._stat(child.pid)[processes._START]}"
    assert not processes.has_ended(process)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert processes.has_ended(process), "it is a zombie"
    child.communicate()
    assert processes.has_ended(process)


def test_reused_process_id_has_ended() -> None:
    machine, pid, start = processes.own().split(":")
    assert processes.has_ended(f"{machine}:{pid}:{int(start) - 1}")


@pytest.mark.parametrize(
    "process", ["", "x", "0123456789abcdef:1:1", f"{'0' * 16}:{10**12}:1", "::"]
)
def test_foreign_or_unreadable_process_has_not_ended(process) -> None:
    assert not processes.has_ended(process)


def test_unknown_machine_says_nothing(monkeypatch) -> None:
    own = processes.own()
    monkeypatch.setattr(processes, "_machine", lambda: None)
    assert processes.own() == ""
    assert not processes.has_ended(own)
