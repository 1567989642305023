import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpln_flows.emulator.selector import SelectorError, parse_selector

LABELS = {"gvc": "dev", "workload": "w", "replica": "command-9b38-x7k2p", "stream": "stdout"}


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        pytest.param('{gvc="dev"}', True, id="equal"),
        pytest.param('{gvc="prod"}', False, id="other-value"),
        pytest.param('{gvc="dev", workload!="w"}', False, id="not-equal"),
        pytest.param(
            '{ gvc = "dev" , replica=~"command-9b38-.+" }', True, id="the-prefect-selector"
        ),
        pytest.param('{replica=~"command-9b38"}', False, id="a-regex-has-to-match-the-whole-value"),
        pytest.param('{gvc="dev",replica!~"command-.+"}', False, id="not-matching"),
        pytest.param("{gvc=`dev`}", True, id="raw-string"),
        pytest.param('{gvc="d\\u0065v"}', True, id="escapes"),
        pytest.param('{gvc="dev", container=""}', True, id="an-absent-label-counts-as-empty"),
        pytest.param('{gvc=~"dev|prod"}', True, id="alternatives"),
    ],
)
def test_matchers_are_lokis(text, fits):
    assert parse_selector(text).matches(LABELS) is fits


@pytest.mark.parametrize(
    ("filters", "line", "passes"),
    [
        pytest.param('|= "err"', "an error", True, id="contains"),
        pytest.param('!= "err"', "an error", False, id="contains-not"),
        pytest.param('|~ "e.r"', "an error", True, id="matches-anywhere"),
        pytest.param('!~ "^an"', "an error", False, id="matches-not"),
        pytest.param('|= "an" != "x" |~ "r+"', "an error", True, id="several"),
    ],
)
def test_line_filters_are_lokis(filters, line, passes):
    assert parse_selector('{gvc="dev"} ' + filters).passes(line) is passes


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("{}", id="no-matcher"),
        pytest.param('{gvc=~".*"}', id="only-what-may-be-empty"),
        pytest.param('{gvc!="dev"}', id="only-a-negation"),
        pytest.param('{gvc="dev"', id="unfinished"),
        pytest.param("{gvc=dev}", id="no-quotes"),
        pytest.param('{gvc=~"("}', id="bad-regex"),
        pytest.param('{gvc="dev"} | json', id="pipeline"),
        pytest.param('{gvc="dev" workload="w"}', id="no-comma"),
    ],
)
def test_what_loki_refuses_is_refused(text):
    with pytest.raises(SelectorError):
        parse_selector(text)


@given(st.from_regex(r"[a-z0-9.+*?()|-]{0,12}", fullmatch=True), st.text("abc01-", max_size=12))
def test_the_prefix_used_for_searching_loses_no_match(pattern, value):
    try:
        matcher = parse_selector('{x="y", replica=~"' + pattern + '"}').matchers[1]
    except SelectorError:
        return
    if matcher.matches({"replica": value}):
        assert value.startswith(matcher.literal_prefix)
