"""The logs service as clients of Grafana Loki use it: range queries, tails, selectors, filters."""

import json
import threading
import time
from urllib.parse import quote

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.patience import PATIENCE_SECONDS

pytestmark = pytest.mark.xdist_group("contract")

SAY = """
import sys, time
for n in range(6):
    print(f"line {n}", flush=True)
    time.sleep(0.002)
print("to stderr", file=sys.stderr, flush=True)
print("", flush=True)
print("x" * 17000, flush=True)
print("error: last", flush=True)
"""
SECOND = 1_000_000_000


class Logs:
    """The logs of one run that has ended."""

    def __init__(self, platform):
        self.platform = platform
        self.workload = platform.workload(SAY)
        self.begin = time.time_ns() - 60 * SECOND
        self.command = platform.ended(platform.start(self.workload))
        self.name = self.workload.rsplit("/", 1)[1]
        self.selector = (
            f'{{gvc="{platform.gvc}", location="{platform.location}", workload="{self.name}",'
            f' replica=~"command-{self.command["id"]}.+"}}'
        )
        platform.until(lambda: platform.lines(self.selector + ' |= "last"'))
        self.end = time.time_ns() + 60 * SECOND

    def range(self, query=None, **params):
        base = f"{self.platform.logs_url}/logs/org/{self.platform.org}/loki/api/v1/query_range"
        given = {
            "query": query or self.selector,
            "start": str(self.begin),
            "end": str(self.end),
            "delay_for": "0",
            **params,
        }
        return self.platform.http.get(base, params=given)

    def entries(self, query=None, **params):
        answer = self.range(query, **params)
        assert answer.status_code == 200, answer.text
        found = answer.json()
        assert (found["status"], found["data"]["resultType"]) == ("success", "streams")
        return [
            (int(stamp), line)
            for stream in found["data"]["result"]
            for stamp, line in stream["values"]
        ]

    def tail(self, query=None, token=None, **params):
        base = self.platform.logs_url.replace("http", "ws", 1)
        words = {
            "delay_for": 0,
            "limit": 30,
            "query": query or self.selector,
            "direction": "forward",
            **params,
        }
        text = "&".join(f"{name}={quote(str(value), safe='')}" for name, value in words.items())
        header = {"authorization": self.platform.token if token is None else token}
        url = f"{base}/logs/org/{self.platform.org}/loki/api/v1/tail?{text}"
        return connect(
            url,
            additional_headers={name: value for name, value in header.items() if value},
            open_timeout=PATIENCE_SECONDS,
        )


@pytest.fixture(scope="module")
def logs(platform) -> Logs:
    return Logs(platform)


@pytest.mark.fact("F159", "F161", "F169", "F175")
def test_a_line_has_the_labels_of_its_container(platform, logs) -> None:
    result = logs.range(direction="forward", limit="100").json()["data"]["result"]
    assert {stream["stream"]["stream"] for stream in result} == {"stdout", "stderr"}
    labels = result[0]["stream"]
    assert {"gvc", "workload", "container", "location", "provider", "replica", "stream"} <= set(
        labels
    )
    assert (labels["gvc"], labels["workload"], labels["container"]) == (
        platform.gvc,
        logs.name,
        "main",
    )
    assert labels["replica"] == logs.command["status"]["replica"]


@pytest.mark.fact("F160")
def test_the_organisation_is_in_the_path_and_no_label(platform, logs) -> None:
    assert all("org" not in stream["stream"] for stream in logs.range().json()["data"]["result"])
    other = f"{platform.logs_url}/logs/org/another-{platform.org}/loki/api/v1/query_range"
    assert platform.http.get(other, params={"query": logs.selector}).status_code in (401, 403, 404)


@pytest.mark.fact("F166")
def test_lines_come_in_both_directions(logs) -> None:
    def only(direction):
        return [line for _, line in logs.entries(logs.selector + ' |= "line"', direction=direction)]

    assert only("forward") == [f"line {n}" for n in range(6)]
    assert only("backward") == [f"line {n}" for n in range(5, -1, -1)]


@pytest.mark.fact("F164", "F165", "F166")
def test_pages_by_nanoseconds_repeat_and_skip_nothing(logs) -> None:
    query = logs.selector.replace("}", ', stream="stdout"}') + ' |= "line"'
    found, start = [], logs.begin
    while page := logs.entries(query, direction="forward", limit="2", start=str(start)):
        found += [line for _, line in page]
        start = page[-1][0] + 1
    assert found == [f"line {n}" for n in range(6)]
    first = logs.entries(query, direction="forward", limit="1")[0][0]
    assert logs.entries(query, start=str(first), end=str(first)) == []
    assert [line for _, line in logs.entries(query, start=str(first), end=str(first + 1))] == [
        "line 0"
    ]


@pytest.fixture(scope="module")
def many(platform) -> str:
    """The selector of a run with 1,200 lines."""
    command = platform.ended(platform.start(platform.workload("print(*range(1200), sep='\\n')")))
    selector = f'{{gvc="{platform.gvc}", replica="{command["status"]["replica"]}"}}'
    platform.until(lambda: platform.lines(selector + ' |= "1199"'))
    return selector


@pytest.mark.fact("F165")
@pytest.mark.parametrize("limit", [30, 999, 1000, 5000])
def test_the_limits_of_known_clients_are_taken_and_kept(logs, many, limit) -> None:
    found = logs.entries(many, limit=str(limit), direction="forward")
    assert [line for _, line in found] == [str(number) for number in range(min(limit, 1200))]


@pytest.mark.fact("F164")
def test_the_default_is_the_last_hour_backward(platform, logs) -> None:
    base = f"{platform.logs_url}/logs/org/{platform.org}/loki/api/v1/query_range"
    found = platform.http.get(base, params={"query": logs.selector + ' |= "line"'}).json()["data"][
        "result"
    ]
    assert [line for stream in found for _, line in stream["values"]] == [
        f"line {n}" for n in range(5, -1, -1)
    ]


@pytest.mark.fact("F162")
@pytest.mark.parametrize(
    ("matcher", "filters", "lines"),
    [
        ('container="main"', '|= "line 3"', ["line 3"]),
        ('container!="main"', '|= "line"', []),
        ('stream=~"std(out|err)"', '|~ "line [12]$"', ["line 1", "line 2"]),
        ('container=~"mai"', '|= "line"', []),
        ('stream!~"stderr|x"', '!= "line" != "xxx"', ["error: last"]),
        ('stream="stderr"', "", ["to stderr"]),
        ('container="main"', '|= "line" !~ "[0-4]"', ["line 5"]),
        ('container="main"', "|= `line 2`", ["line 2"]),
    ],
)
def test_selectors_and_line_filters_are_lokis(logs, matcher, filters, lines) -> None:
    query = logs.selector.replace("}", f", {matcher}}}") + (f" {filters}" if filters else "")
    assert [line for _, line in logs.entries(query, direction="forward")] == lines


@pytest.mark.fact("F162", "F171")
@pytest.mark.parametrize(
    "params",
    [
        {"query": "{}"},
        {"query": '{gvc=~".*"}'},
        {"query": '{gvc="x"'},
        {"query": "gvc"},
        {"direction": "sideways"},
        {"limit": "none"},
        {"start": "1700000000000000000", "end": "1702764800000000000"},
    ],
    ids=["empty", "matches-everything", "unfinished", "no-selector", "direction", "limit", "span"],
)
def test_what_loki_refuses_is_refused(logs, params) -> None:
    assert logs.range(**params).status_code == 400


@pytest.mark.fact("F172")
def test_long_lines_are_cut_and_empty_ones_dropped(logs) -> None:
    lines = [line for _, line in logs.entries(direction="forward")]
    assert "" not in lines
    (long,) = [line for line in lines if line.startswith("xxx")]
    assert long == "x" * 16_384 + "... [truncated 616 bytes]"


@pytest.mark.fact("F158", "F168")
@pytest.mark.parametrize("delay", [0, 1])
def test_a_tail_begins_with_what_was_stored(logs, delay) -> None:
    with logs.tail(start=logs.begin, delay_for=delay) as socket:
        frame = json.loads(socket.recv(timeout=PATIENCE_SECONDS))
    assert set(frame) >= {"streams"}
    assert not frame.get("dropped_entries")
    lines = [line for stream in frame["streams"] for _, line in stream["values"]]
    assert {f"line {n}" for n in range(6)} <= set(lines)
    assert all(
        stamp.isdigit() and len(stamp) == 19
        for stream in frame["streams"]
        for stamp, _ in stream["values"]
    )


@pytest.mark.fact("F158", "F168")
def test_a_tail_gives_every_line_of_a_run_that_begins_later(platform, logs) -> None:
    with logs.tail(
        f'{{gvc="{platform.gvc}", workload="{logs.name}"}} |= "line"', start=time.time_ns()
    ) as socket:
        starting = threading.Thread(target=lambda: platform.start(logs.workload))
        starting.start()
        found = []
        while len(found) < 6:
            frame = json.loads(socket.recv(timeout=PATIENCE_SECONDS))
            found += [line for stream in frame["streams"] for _, line in stream["values"]]
        starting.join()
    assert found == [f"line {n}" for n in range(6)]


@pytest.mark.fact("F170")
def test_a_ping_is_answered(logs) -> None:
    with logs.tail() as socket:
        assert socket.ping().wait(10)


@pytest.mark.fact("F174", "F020")
@pytest.mark.parametrize(
    ("token", "status"), [("", (401,)), ("s.made-up", (401,)), ("w.made-up", (401, 403))]
)
def test_a_tail_is_refused_at_the_upgrade(logs, token, status) -> None:
    with pytest.raises(InvalidStatus) as refused, logs.tail(token=token):
        pass
    assert refused.value.response.status_code in status


@pytest.mark.fact("F174")
def test_a_tail_needs_the_permission_to_read_logs(platform, logs) -> None:
    key = platform.key({"targetKind": "org", "target": "all", "permissions": ["view"]})
    with pytest.raises(InvalidStatus) as refused, logs.tail(token=key):
        pass
    assert refused.value.response.status_code == 403


@pytest.mark.fact("F164", "F159")
@pytest.mark.parametrize("form", ["post", "seconds", "since"])
def test_other_forms_that_loki_reads_are_read(platform, logs, form) -> None:
    """Grafana and logcli send these."""
    base = f"{platform.logs_url}/logs/org/{platform.org}/loki/api/v1/query_range"
    params = {"query": logs.selector + ' |= "last"'}
    if form == "post":
        header = {"authorization": f"Bearer {platform.token}"}
        answer = httpx.post(
            base,
            data={**params, "start": str(logs.begin)},
            headers=header,
            timeout=PATIENCE_SECONDS,
        )
    elif form == "seconds":
        answer = platform.http.get(
            base,
            params={**params, "start": str(logs.begin // SECOND), "end": str(logs.end // SECOND)},
        )
    else:
        answer = platform.http.get(base, params={**params, "since": "30m"})
    assert answer.status_code == 200, answer.text
    (stream,) = answer.json()["data"]["result"]
    assert [line for _, line in stream["values"]] == ["error: last"]
