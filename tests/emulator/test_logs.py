import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpln_flows.emulator import Exit, Line, ManualClock, PlatformConfig, Script
from cpln_flows.emulator.lines import LINE_LIMIT
from cpln_flows.emulator.logs import Logs
from cpln_flows.emulator.selector import parse_selector

from .support import RANGE, TOKEN, local

SECOND = 1_000_000_000
LABELS = {
    "gvc": "quickstart",
    "workload": "w-1",
    "container": "main",
    "replica": "command-1-abcde",
    "stream": "stdout",
}
SELECTOR = '{gvc="quickstart", workload="w-1"}'


def logs(**config):
    return Logs(PlatformConfig(**config), ManualClock())


async def ask(here, query=SELECTOR, **params):
    return await here.client.get(RANGE, params={"query": query, **params})


async def lines(here, query=SELECTOR, **params):
    response = await ask(here, query, **params)
    assert response.status_code == 200, response.text
    assert response.json()["data"]["resultType"] == "streams"
    return [line for stream in response.json()["data"]["result"] for _, line in stream["values"]]


@pytest.mark.anyio
async def test_what_a_container_writes_is_found_with_its_labels():
    async with local(Script((Line(1, "out"), Line(2, "err", stream="stderr"), Exit(3)))) as here:
        await here.create()
        link = await here.start()
        await here.advance(5)
        replica = (await here.get(link))["status"]["replica"]
        command_id = link.rsplit("/", 1)[-1]
        query = (
            '{gvc="quickstart", location="local-1", workload="w-1",'
            f' replica=~"command-{command_id}.+"}}'
        )
        result = (await ask(here, query, direction="forward")).json()["data"]["result"]
        labels = {
            "gvc": "quickstart",
            "workload": "w-1",
            "container": "main",
            "location": "local-1",
            "provider": "local",
            "replica": replica,
            "version": "1",
        }
        assert [stream["stream"] for stream in result] == [
            {**labels, "stream": "stdout"},
            {**labels, "stream": "stderr"},
        ]
        start = here.platform.clock.time_ns() - 5 * SECOND
        assert result[0]["values"] == [[str(start + SECOND), "out"]]


@pytest.mark.anyio
async def test_start_is_included_and_end_is_not():
    async with local() as here:
        now = here.platform.clock.time_ns()
        here.platform.append_lines(LABELS, [(now + index, f"l{index}") for index in range(4)])
        assert await lines(here, start=str(now + 1), end=str(now + 3), direction="forward") == [
            "l1",
            "l2",
        ]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("direction", "expected"), [("forward", ["l0", "l1"]), ("backward", ["l4", "l3"])]
)
async def test_the_limit_counts_over_all_streams_from_the_asked_end(direction, expected):
    async with local() as here:
        now = here.platform.clock.time_ns()
        for index in range(5):
            here.platform.append_lines(
                {**LABELS, "container": f"c{index % 2}"}, [(now - 10 + index, f"l{index}")]
            )
        assert sorted(await lines(here, direction=direction, limit="2")) == sorted(expected)


@pytest.mark.anyio
async def test_the_default_is_the_newest_hundred_of_the_last_hour_backward():
    async with local() as here:
        now = here.platform.clock.time_ns()
        old = [(now - 3601 * SECOND, "too old")]
        here.platform.append_lines(
            LABELS, old + [(now - 1000 + index, str(index)) for index in range(150)]
        )
        assert await lines(here) == [str(index) for index in range(149, 49, -1)]


@pytest.mark.anyio
@pytest.mark.parametrize(
    "params",
    [
        pytest.param({"limit": "5001"}, id="limit-too-large"),
        pytest.param({"limit": "0"}, id="no-limit"),
        pytest.param({"limit": "x"}, id="limit-is-no-number"),
        pytest.param({"start": "yesterday"}, id="start"),
        pytest.param({"direction": "sideways"}, id="direction"),
        pytest.param({"query": "{}"}, id="selector"),
        pytest.param({"query": '{gvc="x"} | json'}, id="pipeline"),
        pytest.param({"delay_for": "6"}, id="delay"),
        pytest.param({"start": "1", "end": str(40 * 86_400 * SECOND)}, id="span-over-31-days"),
        pytest.param({"start": str(9 * 10**18), "end": str(8 * 10**18)}, id="end-before-start"),
    ],
)
async def test_a_wrong_request_is_400(params):
    async with local() as here:
        assert (
            await here.client.get(RANGE, params={"query": SELECTOR, **params})
        ).status_code == 400


@pytest.mark.anyio
@pytest.mark.parametrize(
    "start", ["1768039200000000000", "1768039200", "1768039200.0", "2026-01-10T10:00:00Z"]
)
async def test_moments_come_in_the_forms_that_loki_reads(start):
    async with local() as here:
        now = here.platform.clock.time_ns()
        here.platform.append_lines(LABELS, [(now - 1, "before"), (now, "at")])
        assert await lines(here, start=start, end=str(now + 1), direction="forward") == ["at"]


@pytest.mark.anyio
async def test_since_counts_back_from_the_end():
    async with local() as here:
        now = here.platform.clock.time_ns()
        here.platform.append_lines(
            LABELS, [(now - 120 * SECOND, "old"), (now - 30 * SECOND, "new")]
        )
        assert await lines(here, since="1m") == ["new"]


@pytest.mark.anyio
async def test_line_filters_choose_lines():
    async with local() as here:
        now = here.platform.clock.time_ns()
        here.platform.append_lines(
            LABELS, [(now - 3, "an error"), (now - 2, "fine"), (now - 1, "error: x")]
        )
        assert await lines(here, SELECTOR + ' |= "error" !~ "^an"') == ["error: x"]


@pytest.mark.anyio
async def test_no_token_is_401_and_a_workloads_token_is_403_naming_the_permission():
    async with local(Script(())) as here:
        url = f"{RANGE}?{httpx.QueryParams({'query': SELECTOR})}"
        assert (await here.client.get(url, headers={"authorization": ""})).status_code == 401
        await here.create()
        await here.start()
        (run,) = here.platform._parts.deployments.active_runs()
        refused = await here.client.get(url, headers={"authorization": run.spec.env["CPLN_TOKEN"]})
        assert refused.status_code == 403
        assert 'requires permission "readLogs" in org local' in refused.json()["message"]
        assert (await here.client.get(url, headers={"authorization": TOKEN})).status_code == 200


@pytest.mark.fact("F176")
@pytest.mark.anyio
async def test_late_lines_take_the_place_of_their_stamp():
    async with local(Script((Line(0, "first"), Exit(0.5))), log_delay_seconds=3) as here:
        await here.create()
        link = await here.start()
        await here.advance(1)
        assert await here.stage(link) == "completed"
        now = here.platform.clock.time_ns()
        here.platform.append_lines(LABELS, [(now, "second")])
        assert await lines(here, end=str(now + 1)) == ["second"]
        await here.advance(3)
        result = (await ask(here, direction="forward")).json()["data"]["result"]
        assert [stream["values"][0][1] for stream in result] == ["first", "second"]


@pytest.mark.anyio
@pytest.mark.fact("F173")
@pytest.mark.parametrize(("days", "kept"), [(None, ["thirty", "new"]), (1, ["new"]), (0, [])])
async def test_lines_are_kept_for_thirty_days_or_as_the_organisation_says(days, kept):
    async with local() as here:
        if days is not None:
            await here.client.patch(
                "/org/local", json={"spec": {"observability": {"logsRetentionDays": days}}}
            )
        now = here.platform.clock.time_ns()
        ages = {"older": 31, "thirty": 29, "new": 0.5}
        here.platform.append_lines(
            LABELS, [(now - round(age * 86_400 * SECOND), line) for line, age in ages.items()]
        )
        found = await lines(
            here, start=str(now - 30 * 86_400 * SECOND), end=str(now), direction="forward"
        )
        assert found == kept
        assert (
            await lines(
                here, start=str(now - 40 * 86_400 * SECOND), end=str(now - 30 * 86_400 * SECOND)
            )
        ) == []


@pytest.mark.anyio
async def test_lines_older_than_the_retention_are_gone():
    async with local(log_retention_days=1) as here:
        now = here.platform.clock.time_ns()
        here.platform.append_lines(LABELS, [(now - 2 * 86_400 * SECOND, "old"), (now, "new")])
        assert await lines(here, start=str(now - 3 * 86_400 * SECOND), end=str(now + 1)) == ["new"]


def test_what_is_past_the_retention_takes_no_memory():
    clock = ManualClock()
    kept = Logs(PlatformConfig(log_retention_days=1), clock)
    everything, heard = parse_selector('{gvc="quickstart"}'), []
    for number in range(200):
        kept.write(kept.stream({**LABELS, "replica": f"r-{number}"}), ["said"])
    clock.advance(3 * 86_400)
    kept.subscribe(everything, lambda stream, entries: heard.extend(line for _, line in entries))
    kept.write(kept.stream({**LABELS, "replica": "new"}), ["now"])
    assert [stream.labels["replica"] for stream in kept.select(everything)] == ["new"]
    kept.write(kept.stream({**LABELS, "replica": "r-7"}), ["again"])
    found = kept.query(parse_selector('{replica="r-7"}'), 0, 1 << 62, 10, forward=True)
    assert [line for _, entries in found for _, line in entries] == ["again"]
    assert heard == ["now", "again"]


@pytest.mark.fact("F172")
def test_too_many_lines_in_a_second_end_in_a_marker():
    kept = logs(log_rate_limit=3)
    stream, error = kept.stream(LABELS), kept.stream({**LABELS, "stream": "stderr"})
    kept.write(stream, ["a", "b"])
    kept.write(error, ["c", "d", "e"])
    kept.write(stream, ["f"])
    assert [line for _, line in stream.entries] == ["a", "b"]
    assert [line[:37] for _, line in error.entries] == [
        "c",
        "#### Replica logs were rate-limited: o"[:37],
    ]


def test_a_new_second_takes_lines_again():
    clock = ManualClock()
    kept = Logs(PlatformConfig(log_rate_limit=1), clock)
    stream = kept.stream(LABELS)
    kept.write(stream, ["a", "b", "c"])
    clock.advance(1)
    kept.write(stream, ["d"])
    assert [line[:4] for _, line in stream.entries] == ["a", "####", "d"]


@pytest.mark.anyio
async def test_empty_lines_are_dropped_and_long_ones_cut():
    async with local(Script((Line(0, "\n" + "x" * (LINE_LIMIT + 1) + "\n"), Exit(1)))) as here:
        await here.create()
        await here.start()
        await here.advance(1)
        assert [line[-23:] for line in await lines(here)] == ["... [truncated 1 bytes]"]


def test_equal_stamps_keep_the_order_of_arrival():
    kept = logs()
    stream = kept.stream(LABELS)
    kept.append(stream, [(5, "a"), (5, "b")])
    kept.append(stream, [(4, "z"), (5, "b")])
    assert stream.entries == [(4, "z"), (5, "a"), (5, "b"), (5, "b")]


@given(
    st.lists(st.tuples(st.integers(0, 20), st.text("ab", min_size=1, max_size=2)), max_size=30),
    st.integers(0, 20),
)
def test_a_range_finds_what_a_plain_search_finds(entries, start):
    clock = ManualClock()
    kept = Logs(PlatformConfig(), clock)
    base = clock.time_ns()
    for index, (stamp, line) in enumerate(entries):
        kept.append(kept.stream({**LABELS, "container": f"c{index % 3}"}), [(base + stamp, line)])
    found = kept.query(
        parse_selector(SELECTOR + ' |= "a"'), base + start, base + 15, 1000, forward=True
    )
    plain = sorted(
        (base + stamp, line) for stamp, line in entries if start <= stamp < 15 and "a" in line
    )
    assert sorted(entry for _, part in found for entry in part) == plain


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param('{replica="command-7-abcde"}', ["command-7-abcde"], id="equal"),
        pytest.param(
            '{replica=~"command-1.*"}',
            ["command-1-abcde", *(f"command-1{n}-abcde" for n in range(10))],
            id="prefix",
        ),
        pytest.param(
            '{replica=~"(command-3|command-4)-.+"}',
            ["command-3-abcde", "command-4-abcde"],
            id="alternatives",
        ),
        pytest.param(
            '{workload="w-1", replica!~"command-[1-9].*"}', ["command-0-abcde"], id="negation"
        ),
        pytest.param(
            '{gvc="quickstart", replica=~"command-2?-abcde"}',
            ["command-2-abcde"],
            id="optional-character",
        ),
    ],
)
def test_streams_are_found_through_their_replica(query, expected):
    kept = logs()
    for number in range(20):
        kept.stream({**LABELS, "replica": f"command-{number}-abcde"})
    assert sorted(
        stream.labels["replica"] for stream in kept.select(parse_selector(query))
    ) == sorted(expected)


def test_a_subscription_hears_of_old_and_new_streams_until_it_ends():
    kept = logs()
    heard = []
    old = kept.stream(LABELS)
    subscription = kept.subscribe(
        parse_selector(SELECTOR + ' != "no"'), lambda _, entries: heard.extend(entries)
    )
    new = kept.stream({**LABELS, "container": "side"})
    kept.append(old, [(1, "a"), (2, "no")])
    kept.append(new, [(3, "b")])
    kept.append(kept.stream({**LABELS, "workload": "other"}), [(4, "c")])
    kept.unsubscribe(subscription)
    kept.append(old, [(5, "d")])
    assert heard == [(1, "a"), (3, "b")]
