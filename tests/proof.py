"""The long profile: what only it runs, and the seed and number of examples of a long run.

With these, a run can be repeated.
"""

from __future__ import annotations

import random
import time
from collections import Counter

import pytest

LONG = "long"


def is_long(config: pytest.Config) -> bool:
    """Whether this is the long profile."""
    return config.getoption("hypothesis_profile", None) == LONG


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave to the long profile what is marked as a proof."""
    if is_long(config):
        return
    proofs = [item for item in items if item.get_closest_marker("proof")]
    if proofs:
        config.hook.pytest_deselected(items=proofs)
        items[:] = [item for item in items if not item.get_closest_marker("proof")]


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Give a long run a seed that is known, unless it has one."""
    config.stash[COUNTED] = Counter()
    if is_long(config) and config.getoption("hypothesis_seed", None) is None:
        config.option.hypothesis_seed = str(random.SystemRandom().randrange(2**32))


COUNTED = pytest.StashKey[Counter[str]]()


@pytest.fixture
def count_example(request: pytest.FixtureRequest):
    """Return what is to be called with each example of a test."""
    counted = request.config.stash[COUNTED]
    name = request.node.name

    def count() -> None:
        counted[name] += 1

    return count


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say what a long run was; run it with ``-n 0``, or others have counted."""
    counted = config.stash[COUNTED]
    if not is_long(config) or not counted:
        return
    examples = ", ".join(f"{count:,} of {name}" for name, count in counted.items())
    seed = config.getoption("hypothesis_seed")
    terminalreporter.write_line(
        f"worlds: {examples}; {time.process_time():.0f} CPU seconds;"
        f" again: --hypothesis-seed={seed}"
    )
