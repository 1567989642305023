"""Which replica to start or stop next: a table of decisions, and simulated locations."""

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cpln_flows.emulator.serving.rollout import Present, Start, Stop, next_steps
from cpln_flows.emulator.serving.wanted import Wanted

MANY_STEPS = 100


def replicas(text):
    """Read replicas from words such as ``a+``: a version, then ready, unready or stopping.

    Names are ``r0``, ``r1`` and so on, oldest first; an index may stand before the version.
    """
    found = []
    for number, word in enumerate(text.split()):
        index, version, state = word[:-2], word[-2], word[-1]
        found.append(
            Present(
                name=f"r{number}",
                template=version,
                is_ready=state == "+",
                is_stopping=state == "x",
                index=int(index) if index else None,
            )
        )
    return found


def steps(wanted, text):
    """Write steps as words: ``+`` or ``+2`` for a start, ``-r0`` for a stop."""
    return " ".join(
        f"-{step.name}"
        if isinstance(step, Stop)
        else f"+{'' if step.index is None else step.index}"
        for step in next_steps(wanted, replicas(text))
    )


@pytest.mark.parametrize(
    ("count", "present", "expected"),
    [
        pytest.param(0, "", "", id="nothing-wanted"),
        pytest.param(2, "", "+ +", id="all-start-at-once"),
        pytest.param(2, "b-", "+", id="the-missing-one-starts"),
        pytest.param(2, "b+ b-", "", id="waits-until-ready"),
        pytest.param(2, "b+ b+", "", id="complete"),
        pytest.param(1, "b+ b+", "-r1", id="the-youngest-goes"),
        pytest.param(1, "b- b+", "-r0", id="the-unready-one-goes-first"),
        pytest.param(0, "b+ b-", "-r1 -r0", id="suspended"),
        pytest.param(0, "a+ b- bx", "-r0 -r1", id="suspended-during-a-rollout"),
        pytest.param(2, "bx bx", "+ +", id="stopping-ones-do-not-count"),
        pytest.param(2, "b+ bx", "+", id="a-stopped-one-is-replaced"),
        pytest.param(2, "a+ a+", "+", id="rollout-begins-with-one-more"),
        pytest.param(2, "a+ a+ b-", "", id="rollout-waits"),
        pytest.param(2, "a+ a+ b+", "-r0", id="new-one-replaces-the-oldest"),
        pytest.param(2, "ax a+ b+", "+", id="next-one-starts-while-one-stops"),
        pytest.param(2, "ax a+ b+ b+", "-r1", id="last-old-one-goes"),
        pytest.param(1, "a+", "+", id="single-one-surges"),
        pytest.param(1, "a+ b-", "", id="broken-version-leaves-the-old-one"),
        pytest.param(1, "a-", "+ -r0", id="broken-old-one-goes-at-once"),
        pytest.param(2, "a- a+", "+ -r0", id="only-the-broken-one-goes"),
        pytest.param(1, "a+ c- b-", "-r1", id="correction-replaces-the-broken-one"),
        pytest.param(2, "a+ a+ c-", "-r2", id="broken-one-frees-the-room"),
        pytest.param(3, "a+", "+ + +", id="more-and-newer-at-once"),
        pytest.param(1, "a+ a+ a+", "-r0 -r1", id="fewer-and-newer-at-once"),
        pytest.param(2, "a+ b+ b+ b-", "-r0 -r3", id="surplus-of-both-versions"),
    ],
)
def test_standard_replicas_surge_by_one(count, present, expected) -> None:
    assert steps(Wanted(count, "b"), present) == expected


@pytest.mark.parametrize(
    ("count", "present", "expected"),
    [
        pytest.param(0, "", "", id="nothing-wanted"),
        pytest.param(2, "", "+0", id="lowest-first"),
        pytest.param(2, "0b-", "", id="next-one-waits"),
        pytest.param(2, "0b+", "+1", id="next-one"),
        pytest.param(2, "0b+ 1b+", "", id="complete"),
        pytest.param(2, "1b+", "+0", id="gap"),
        pytest.param(3, "0b+ 2b-", "+1", id="gap-below-a-broken-one"),
        pytest.param(1, "0b+ 1b+ 2b+", "-r2", id="highest-goes-first"),
        pytest.param(1, "0b+ 1b+ 2bx", "", id="waits-for-a-stop"),
        pytest.param(0, "0b+", "-r0", id="suspended"),
        pytest.param(1, "0bx", "", id="no-second-one-of-an-index"),
        pytest.param(3, "0a+ 1a+ 2a+", "-r2", id="rollout-begins-at-the-highest"),
        pytest.param(3, "0a+ 1a+", "+2", id="replaced-one-starts-anew"),
        pytest.param(3, "0a+ 1a+ 2b-", "", id="rollout-waits"),
        pytest.param(3, "0a+ 1a+ 2b+", "-r1", id="rollout-goes-on"),
        pytest.param(3, "0a+ 1b+ 2b+", "-r0", id="rollout-ends-at-the-lowest"),
        pytest.param(3, "0a+ 1ax 2b+", "", id="one-after-another"),
        pytest.param(3, "2b+ 0a+ 1a+", "-r2", id="order-is-by-index"),
        pytest.param(2, "0a+ 1c-", "-r1", id="broken-version-is-corrected"),
        pytest.param(3, "0c- 1c- 2c-", "-r2", id="all-are-broken"),
        pytest.param(3, "0c- 1a+ 2b-", "-r0", id="broken-before-working"),
        pytest.param(3, "0c-", "-r0", id="broken-one-holds-up-the-others"),
        pytest.param(2, "0a+ 1a+ 2a+", "-r2", id="fewer-before-newer"),
        pytest.param(3, "0a+ 1a+ 2a-", "-r2", id="unready-old-one-first"),
    ],
)
def test_stateful_replicas_change_in_order(count, present, expected) -> None:
    assert steps(Wanted(count, "b", is_ordered=True), present) == expected


@pytest.mark.parametrize(
    ("count", "present", "expected"),
    [
        pytest.param(3, "", "+0 +1 +2", id="all-start-at-once"),
        pytest.param(3, "1b-", "+0 +2", id="missing-ones-start"),
        pytest.param(2, "0b- 1bx", "", id="no-second-one-of-an-index"),
        pytest.param(0, "0b+ 1b- 2bx", "-r0 -r1", id="all-stop-at-once"),
        pytest.param(1, "0b+ 1b+ 2b-", "-r1 -r2", id="surplus-stops-at-once"),
        pytest.param(2, "0b+ 1b+", "", id="complete"),
        pytest.param(3, "0a+ 1a+ 2a+", "-r2", id="rollout-begins-at-the-highest"),
        pytest.param(3, "0a+ 1a+ 2b-", "", id="rollout-waits"),
        pytest.param(3, "0a+ 1a+ 2b+", "-r1", id="rollout-goes-on"),
        pytest.param(3, "0a+ 1a+ 2ax", "", id="one-after-another"),
        pytest.param(2, "0a+ 1c-", "-r1", id="broken-version-is-corrected"),
    ],
)
def test_parallel_replicas_start_at_once(count, present, expected) -> None:
    assert steps(Wanted(count, "b", is_ordered=True, at_once=True), present) == expected


# Simulated locations


@dataclass
class Location:
    """A location in which steps take effect, and replicas live and die as they are told to.

    A replica whose template ends with ``!`` never becomes ready.
    """

    wanted: Wanted
    present: list[Present]
    born: int = 0

    @property
    def alive(self):
        return [each for each in self.present if not each.is_stopping]

    @property
    def ready(self):
        return sum(each.is_ready for each in self.present)

    def change(self, name, **fields):
        self.present = [
            replace(each, **fields) if each.name == name else each for each in self.present
        ]

    def settle(self):
        """Take steps until there are none; each time, check what they must not break."""
        for _ in range(MANY_STEPS):
            found = next_steps(self.wanted, self.present)
            if not found:
                return
            before = list(self.present)
            for step in found:
                self._take(step)
            self._check(before, found)
        raise AssertionError(f"{self.wanted} never settles: {self.present}")

    def _take(self, step):
        if isinstance(step, Stop):
            (stopped,) = [each for each in self.alive if each.name == step.name]
            self.change(stopped.name, is_stopping=True, is_ready=False)
            return
        self.born += 1
        self.present.append(Present(f"r{self.born}", self.wanted.template, index=step.index))

    def _check(self, before, found):
        if not self.wanted.is_ordered:
            had = sum(each.is_ready for each in before)
            assert self.ready >= min(had, self.wanted.count), (before, found)
            if any(isinstance(step, Start) for step in found):
                assert len(self.alive) <= self.wanted.count + 1, (before, found)
            return
        indices = [each.index for each in self.present]
        assert len(indices) == len(set(indices)), (before, found)
        if not self.wanted.at_once:
            (step,) = found
            self._check_ordered_stop(before, step)

    def _check_ordered_stop(self, before, step):
        """Nothing stops beside another, and no working replica while one is missing or unready."""
        if not isinstance(step, Stop):
            return
        assert not any(each.is_stopping for each in before), (before, step)
        (stopped,) = [each for each in before if each.name == step.name]
        if stopped.is_ready and stopped.index < self.wanted.count:
            assert stopped.template != self.wanted.template, (before, step)
            assert all(each.is_ready for each in before), (before, step)
            indices = sorted(each.index for each in before)
            assert indices == list(range(self.wanted.count)), (before, step)

    def make_ready(self):
        for each in self.alive:
            if not each.template.endswith("!"):
                self.change(each.name, is_ready=True)

    def end_stops(self):
        self.present = self.alive

    def converge(self):
        """Let everything happen that can happen."""
        for _ in range(MANY_STEPS):
            before = list(self.present)
            self.settle()
            self.make_ready()
            self.end_stops()
            if self.present == before:
                return
        raise AssertionError(f"{self.wanted} never converges: {self.present}")

    def check_complete(self):
        assert all(each.is_ready for each in self.present)
        assert [each.template for each in self.present] == (
            [self.wanted.template] * self.wanted.count
        )
        if self.wanted.is_ordered:
            indices = sorted(each.index for each in self.present)
            assert indices == list(range(self.wanted.count))


def located(kind, count, text=""):
    is_ordered, at_once = kind
    return Location(Wanted(count, "a", is_ordered, at_once), replicas(text))


STANDARD, STATEFUL, PARALLEL = (False, False), (True, False), (True, True)
KINDS = pytest.mark.parametrize(
    "kind", [STANDARD, STATEFUL, PARALLEL], ids=["standard", "stateful", "parallel"]
)
COUNTS = st.integers(0, 5)


def running(kind, count):
    location = located(kind, count)
    location.converge()
    location.check_complete()
    return location


@KINDS
@pytest.mark.parametrize(("first", "second"), [(0, 3), (3, 0), (2, 5), (5, 2), (3, 3), (1, 1)])
def test_new_version_and_scale_converge(kind, first, second) -> None:
    location = running(kind, first)
    location.wanted = replace(location.wanted, count=second, template="b")
    location.converge()
    location.check_complete()


@given(st.integers(1, 5))
def test_standard_rollout_keeps_all_ready(count) -> None:
    location = running(STANDARD, count)
    location.wanted = replace(location.wanted, template="b")
    for _ in range(MANY_STEPS):
        location.settle()
        assert location.ready >= count
        assert len(location.alive) <= count + 1
        location.make_ready()
        location.end_stops()
    location.check_complete()


@given(st.integers(1, 5), st.lists(st.sampled_from("bcd"), min_size=1, max_size=4))
def test_broken_versions_never_stop_standard_replicas(count, versions) -> None:
    location = running(STANDARD, count)
    for version in versions:
        location.wanted = replace(location.wanted, template=f"{version}!")
        location.converge()
        working = [each for each in location.alive if each.template == "a"]
        assert len(working) == count
        assert location.ready == count
        assert len(location.alive) <= count + 1
    location.wanted = replace(location.wanted, template="good")
    location.converge()
    location.check_complete()


@given(st.integers(1, 5), st.lists(st.sampled_from("bcd"), min_size=1, max_size=4))
def test_broken_versions_stop_one_stateful_replica(count, versions) -> None:
    location = running(STATEFUL, count)
    for version in versions:
        location.wanted = replace(location.wanted, template=f"{version}!")
        location.converge()
        working = [each for each in location.alive if each.template == "a"]
        assert [each.index for each in working] == list(range(count - 1))
        assert location.ready == count - 1
    location.wanted = replace(location.wanted, template="good")
    location.converge()
    location.check_complete()


@KINDS
@pytest.mark.parametrize("count", [1, 3])
def test_first_version_may_be_broken(kind, count) -> None:
    location = located(kind, count)
    location.wanted = replace(location.wanted, template="a!")
    location.converge()
    assert location.ready == 0
    location.wanted = replace(location.wanted, template="b")
    location.converge()
    location.check_complete()


class _Life(RuleBasedStateMachine):
    """A location whose workload changes, and whose replicas live, die and take time to stop."""

    kind = STANDARD

    @initialize(count=COUNTS, converge=st.booleans())
    def create(self, count, converge) -> None:
        self.version = 0
        self.location = located(self.kind, count)
        self.most = count
        if converge:
            self.location.converge()
        self.location.settle()

    @rule(count=COUNTS)
    def scale(self, count) -> None:
        self._want(count=count)

    @rule(is_broken=st.booleans())
    def deploy(self, is_broken) -> None:
        self.version += 1
        self._want(template=f"{self.version}{'!' * is_broken}")

    @rule(count=COUNTS, is_broken=st.booleans())
    def change_both(self, count, is_broken) -> None:
        self.version += 1
        self._want(count=count, template=f"{self.version}{'!' * is_broken}")

    @precondition(lambda self: self.location.present)
    @rule(data=st.data())
    def roll_back(self, data) -> None:
        there = sorted({each.template for each in self.location.present})
        self._want(template=data.draw(st.sampled_from(there)))

    def _want(self, **fields) -> None:
        self.location.wanted = replace(self.location.wanted, **fields)
        self.most = max(self.most, self.location.wanted.count)
        self.location.settle()

    def _one(self, data, which):
        names = [each.name for each in self.location.present if which(each)]
        return data.draw(st.sampled_from(names)) if names else None

    @rule(data=st.data())
    def becomes_ready(self, data) -> None:
        able = self._one(
            data,
            lambda each: not (each.is_ready or each.is_stopping or each.template.endswith("!")),
        )
        self.location.change(able, is_ready=True)
        self.location.settle()

    @rule(data=st.data())
    def dies(self, data) -> None:
        self.location.change(self._one(data, lambda each: each.is_ready), is_ready=False)
        self.location.settle()

    @rule(data=st.data())
    def is_stopped_by_a_command(self, data) -> None:
        name = self._one(data, lambda each: not each.is_stopping)
        self.location.change(name, is_ready=False, is_stopping=True)
        self.location.settle()

    @rule(data=st.data())
    def is_gone(self, data) -> None:
        name = self._one(data, lambda each: each.is_stopping)
        self.location.present = [each for each in self.location.present if each.name != name]
        self.location.settle()

    @rule()
    def everything_happens(self) -> None:
        self.location.converge()
        self.most = max(self.location.wanted.count, len(self.location.alive))

    @invariant()
    def number_is_bounded(self) -> None:
        surge = 0 if self.location.wanted.is_ordered else 1
        assert len(self.location.alive) <= self.most + surge

    @invariant()
    def no_index_exists_twice(self) -> None:
        indices = [each.index for each in self.location.present if each.index is not None]
        assert len(indices) == len(set(indices))

    def teardown(self) -> None:
        """Whatever has happened, a good version ends up as it is wanted."""
        self._want(template="good")
        self.location.converge()
        self.location.check_complete()


class _StandardLife(_Life):
    kind = STANDARD


class _StatefulLife(_Life):
    kind = STATEFUL


class _ParallelLife(_Life):
    kind = PARALLEL


TestStandardLife = _StandardLife.TestCase
TestStatefulLife = _StatefulLife.TestCase
TestParallelLife = _ParallelLife.TestCase


def test_scale_down_frees_unready_new_replicas() -> None:
    assert steps(Wanted(2, "b"), "a+ a+ b- b-") == "-r3"


def test_missing_parallel_index_delays_the_next_replacement() -> None:
    assert steps(Wanted(2, "b", True, True), "0a+") == "+1"
