"""Regular expressions of requests: the syntax of RE2, and none that freezes the platform.

A pattern that did freeze it would run into the timeout of the test.
"""

import json

import pytest

from cpln_flows.emulator.pattern import Pattern, PatternError

from .support import RANGE, WORKLOADS, local, workload

pytestmark = pytest.mark.anyio

EVIL = [
    "(a+)+$",
    "(a|a)*$",
    "(.*)*x$",
    "(a|aa)+$",
    "(x+x+)+y",
    "(([a-z])+.)+[A-Z]([a-z])+$",
    "a{1,500}{1,2}$",
]
LONG = "a" * 50_000 + "!"
LABELS = {"gvc": "quickstart", "workload": "w", "replica": LONG}


@pytest.mark.parametrize("pattern", EVIL)
async def test_no_expression_of_a_log_query_freezes_the_platform(pattern):
    async with local() as here:
        here.platform.append_lines(LABELS, [(here.platform.clock.time_ns() - 1, LONG)])
        quoted = json.dumps(pattern)
        for query in (
            f'{{gvc="quickstart"}} |~ {quoted}',
            f'{{gvc="quickstart"}} !~ {quoted}',
            f'{{gvc="quickstart", replica=~{quoted}}}',
        ):
            answer = await here.client.get(RANGE, params={"query": query})
            assert answer.status_code in (200, 400), answer.text


@pytest.mark.parametrize("pattern", EVIL)
async def test_no_expression_of_a_query_or_a_fault_freezes_the_platform(pattern):
    async with local() as here:
        await here.create({**workload(), "tags": {"long": LONG}})
        term = {"op": "=~", "tag": "long", "value": pattern}
        answer = await here.client.post(
            f"{WORKLOADS.replace('/gvc/quickstart', '')}/-query", json={"spec": {"terms": [term]}}
        )
        assert answer.status_code in (200, 400), answer.text
        await here.client.post("/_control/faults", json={"path": pattern, "status": 503})
        assert (await here.client.get("/org/" + "a" * 20_000 + "!")).status_code in (404, 503)


@pytest.mark.parametrize(
    ("pattern", "text", "found", "fits"),
    [
        pytest.param("b+", "abbc", True, False, id="part"),
        pytest.param("(a|b)+", "abba", True, True, id="whole"),
        pytest.param("a.c", "a\nc", True, True, id="dot-and-line-break"),
        pytest.param("(?i)ERROR", "an error", True, False, id="flag"),
        pytest.param("ä.ß", "ääß", True, True, id="beyond-ascii"),
        pytest.param("^$", "", True, True, id="empty"),
        pytest.param("x", "\ud800", False, False, id="half-a-pair"),
    ],
)
def test_expressions_are_those_of_re2(pattern, text, found, fits):
    compiled = Pattern(pattern)
    assert (compiled.found_in(text), compiled.fits(text)) == (found, fits)


@pytest.mark.parametrize(
    "pattern",
    ["(", "[", "a**", "(?=a)", r"\1", "a{1001}", "((a{100}){100}){100}", "(" * 5000, "\ud800"],
)
def test_what_re2_does_not_know_is_refused(pattern, capfd):
    with pytest.raises(PatternError):
        Pattern(pattern)
    assert capfd.readouterr() == ("", "")
