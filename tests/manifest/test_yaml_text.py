"""Texts that are made to cost more than they say, and errors about texts that hold a secret."""

import re
import string

import pytest

from cpln_flows import CplnJob
from cpln_flows.errors import ManifestError
from cpln_flows.manifest import conversion, yaml_text
from tests.manifests import changed, kubernetes_job, native_job

LETTERS = string.ascii_lowercase


def laughs(form: str) -> str:
    """Ten lines, each of which holds the one before it nine times."""
    lines = [
        f"{LETTERS[n + 1]}: &{LETTERS[n + 1]} {form.format(','.join([f'*{LETTERS[n]}'] * 9))}\n"
        for n in range(9)
    ]
    return "a: &a {k: v}\n" + "".join(lines)


WIDE = "a: &a {" + ",".join(f"k{n}: 1" for n in range(2000)) + "}\n"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(laughs("[{}]"), id="lists"),
        pytest.param(laughs("{{x: [{}]}}"), id="objects"),
        pytest.param(WIDE + "b: {<<: [" + ",".join(["*a"] * 200) + "]}", id="wide-merge"),
        pytest.param(WIDE + "".join(f"b{n}: {{<<: *a}}\n" for n in range(200)), id="many-merges"),
        pytest.param("[" * 2_000, id="depth"),
        pytest.param("- " * 100_000, id="depth-of-blocks"),
        pytest.param("a: " + "x" * 2**20, id="length"),
        pytest.param(b"a: " + b"x" * 2**20, id="length-in-bytes"),
        pytest.param("a: " + "9" * 10_000, id="digits"),
    ],
)
def test_bomb_is_refused(text) -> None:
    with pytest.raises(ManifestError):
        conversion.parse_yaml(text, source="job.yaml")


def test_merges_that_repeat_each_other_are_counted() -> None:
    """Newer versions of PyYAML skip what they have merged; older ones make billions of it."""
    with pytest.raises(ManifestError):
        conversion.parse_yaml(
            laughs("{{<<: [{}]}}") + laughs("{{<<: [{}]}}").replace("k: v", WIDE[7:-2]),
            source="job.yaml",
        )


def test_values_are_counted(monkeypatch) -> None:
    monkeypatch.setattr(yaml_text, "_MOST_VALUES", 100)
    assert len(yaml_text.load("[" + "a," * 98 + "a]")[0]) == 99
    with pytest.raises(ValueError, match="more than 100 values"):
        yaml_text.load("[" + "a," * 99 + "a]")


def test_usual_anchors_and_merges_are_read() -> None:
    text = "a: &a {x: 1, y: 2}\nb:\n  <<: *a\n  y: 3\nc: [*a, *a]\n"
    (found,) = yaml_text.load(text)
    assert found == {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}, "c": [{"x": 1, "y": 2}] * 2}


@pytest.mark.parametrize(
    "text",
    [
        *(
            "a: *hush1",
            "a: !hush1",
            "a: !hush1!b c",
            "a: !!hush1 b",
            "a: &hush1 x\nb: &hush1 y\n",
            "a: !!int hush1",
        ),
        *(
            "s.hush1.0123456789abc",
            "a: 'hush1",
            'a: "hush1',
            "a: [hush1",
            "a: hush1: b",
            "a: !<hush1> b",
            "@hush1: a",
        ),
        *("a: |hush1", "%hush1 x\n---\na: b: c"),
    ],
)
def test_error_about_a_text_does_not_show_it(text) -> None:
    with pytest.raises(ManifestError) as caught:
        conversion.parse_yaml(text, source="job.yaml")
    assert "hush" not in str(caught.value)


CONTAINER = "spec.template.spec.containers[0]"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (f"{CONTAINER}.env", "A=hush"),
        (f"{CONTAINER}.env", ["A=hush"]),
        (f"{CONTAINER}.env", [{"name": "A=hush", "value": "b"}]),
        (f"{CONTAINER}.env", [{"name": "A", "value": ["hush"]}]),
        (f"{CONTAINER}.env", [{"name": "A", "value": "hush" * 2000}]),
        (f"{CONTAINER}.args", "--password 'hush"),
        (f"{CONTAINER}.args", [["hush"]]),
        (f"{CONTAINER}.command", "run 'hush"),
        ("metadata.labels", "hush"),
        ("metadata.annotations", ["hush"]),
    ],
)
def test_fault_of_a_field_does_not_show_its_secret(path, value) -> None:
    with pytest.raises(ManifestError) as caught:
        conversion.convert(changed(kubernetes_job("pass"), (path, value)), gvc="dev")
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec.containers[0].args", "--password hush"),
        ("spec.containers[0].env", "A=hush"),
        ("spec.containers[0].volumes", [{"uri": "nfs://me:hush@host/x", "path": "/x"}]),
        ("tags", "hush"),
        ("tags", {"a": ["hush"]}),
    ],
)
def test_fault_of_a_native_field_does_not_show_its_secret(path, value) -> None:
    with pytest.raises(ManifestError) as caught:
        conversion.convert(changed(native_job(), (path, value)), gvc="dev")
    assert "hush" not in str(caught.value)


def test_file_without_end_is_read_no_further() -> None:
    with pytest.raises(ManifestError, match="more than 1 MiB"):
        CplnJob.from_yaml_file("/dev/zero", org="acme", namespace="dev")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        pytest.param(
            '{\n\t"a": {\n\t\t"b": [1,\t2]\n\t}\n}',
            {"a": {"b": [1, 2]}},
            id="json-indented-with-tabs",
        ),
        pytest.param('\t{"a":\t"b\\tc"}', {"a": "b\tc"}, id="escaped-tab-in-json"),
        pytest.param("a: b\t\nc: d\n", {"a": "b", "c": "d"}, id="tab-after-a-value"),
        pytest.param("a:\tb\t# why\n", {"a": "b"}, id="tab-before-a-comment"),
        pytest.param("a:\n-\tx\n", {"a": ["x"]}, id="tab-after-a-dash"),
    ],
)
@pytest.mark.parametrize("form", [str, str.encode])
def test_tabs_that_separate_are_read(text, found, form) -> None:
    assert conversion.parse_yaml(form(text), source="f") == found


def test_tab_in_indentation_stays_error() -> None:
    with pytest.raises(ManifestError, match=r"line 2, column 1: found character '\\t'"):
        conversion.parse_yaml("a:\n\tb: c\n", source="f")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a: b\nimage: {{ .Values.image }}\n", "line 2, column 8"),
        ("{% if x %}\na: b\n", "line 1, column 1"),
        ("a: b\n<% x %>: [\n", "line 2, column 1"),
    ],
)
def test_unrendered_template_is_named(text, place) -> None:
    with pytest.raises(
        ManifestError,
        match=f"{place}: this is a template that has not been rendered; render it first",
    ):
        conversion.parse_yaml(text, source="f")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        pytest.param('{"' + "k" * 2000 + '": 1}', {"k" * 2000: 1}, id="long-key-of-json"),
        pytest.param(
            '{\n\t"a": [1,\t2],\n\t"b": "x\\ty"\n}', {"a": [1, 2], "b": "x\ty"}, id="json-with-tabs"
        ),
        pytest.param(
            '{"a": "\\ud83d\\ude00", "b": 1.10, "c": 1e3, "d": 2}',
            {"a": "😀", "b": "1.10", "c": "1e3", "d": 2},
            id="values",
        ),
        pytest.param('{"a": 1} # a comment', {"a": 1}, id="yaml-that-begins-like-json"),
        pytest.param("{a: 1, b: [x,\ty\t]}", {"a": 1, "b": ["x", "y"]}, id="flow"),
        pytest.param("a: foo\tbar", {"a": "foo\tbar"}, id="tab-within-a-text"),
        pytest.param(
            "a: 'x\ty'\nb:\t|\n  one\ttwo\n",
            {"a": "x\ty", "b": "one\ttwo"},
            id="tab-in-quotes-and-blocks",
        ),
        pytest.param(
            "a:\tfoo\tbar\t# remark\twith\ttabs", {"a": "foo\tbar"}, id="tab-before-a-remark"
        ),
    ],
)
def test_text_that_its_format_allows_is_read(text, found) -> None:
    assert yaml_text.load(text) == [found]
    assert yaml_text.load(text.encode()) == [found]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param(
            '{\n\t"a": 1,\n\t"a": 2\n}', "the key 'a' is given twice", id="key-given-twice"
        ),
        pytest.param(
            '{\n\t"a": 1\n\t"b": 2\n}',
            "line 3, column 2: expecting ',' delimiter; expected JSON",
            id="no-comma",
        ),
        pytest.param('{"a": "x}', "line 1, column 7: unterminated string", id="no-end"),
        pytest.param("a:\n\tb: 1", "line 2, column 1: found character", id="tab-that-indents"),
        pytest.param("[" * 100_000, "nested too deeply", id="depth"),
    ],
)
def test_text_that_cannot_be_read_says_where(text, says) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        yaml_text.load(text)
