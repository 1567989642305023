"""Convert YAML text to values, without the surprises of YAML 1.1. Knows no fields."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import yaml
from yaml.composer import ComposerError

from cpln_flows.model.display import shown

Marks = Mapping[str, tuple[int, int]]
"""Line and column of each field, by the path of a fault such as ``spec.containers[0].image``."""
MOST_BYTES = 2**20
"""A manifest has a few kilobytes, and a megabyte of YAML takes about ten seconds to read."""
_MOST_VALUES = 100_000
_TAG = "tag:yaml.org,2002:"
_MERGE = f"{_TAG}merge"
# PyYAML quotes the text after these, which may be meant as a value, such as a password.
_TAKEN = (
    "found undefined alias",
    "found duplicate anchor",
    "found undefined tag handle",
    "could not determine a constructor for the tag",
)
_TABS_AFTER = re.compile(r"(?<=[:,?\[{-])\t+")
_TABS_BEFORE = re.compile(r"(?<!\t)\t++(?=[\]},])")
_TAB = "\ue000"
"""Replaces a tab within a string: a private-use character, which no manifest contains."""
_JSON_OBJECT = re.compile(r'[\[{]\s*(?:"(?:[^"\\]|\\.)*"\s*:|[\[{}\]])')
_MOST_DIGITS = 4000  # Python reads no longer integers, and no amount is as long
_ADVICE = "; put quotes around a string that begins with *, & or !"


class _Loader(yaml.SafeLoader):
    """Accept as a number or a boolean only what JSON writes in exactly this way.

    Anything else remains the string that it is. YAML 1.1 turns ``12:30`` into the number 750,
    ``010`` into 8, ``1.10`` into 1.1 and ``no`` into false. The variables, arguments and labels of
    a job would silently get these values.
    """

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's own form
    yaml_constructors = {  # noqa: RUF012
        tag: constructor
        for tag, constructor in yaml.SafeLoader.yaml_constructors.items()
        if tag is None
        or tag.removeprefix(_TAG) in ("null", "bool", "int", "float", "str", "seq", "map")
    }

    def __init__(self, stream: str | bytes) -> None:
        super().__init__(stream)
        self._values = self._merged = 0

    def compose_node(self, parent: Any, index: Any) -> yaml.Node | None:
        """Count the nodes as they are made: each takes a thousand times the memory of its text."""
        self._values += 1
        if self._values > _MOST_VALUES:
            raise ComposerError(
                None,
                None,
                f"it has more than {_MOST_VALUES:,} values, too many for a job's manifest",
            )
        node: yaml.Node | None = super().compose_node(parent, index)
        return node

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Count values before merging: ten lines that merge one another make billions of them."""
        for key, value in node.value:
            parts = value.value if isinstance(value, yaml.SequenceNode) else [value]
            for part in parts if key.tag == _MERGE else ():
                if isinstance(part, yaml.MappingNode):
                    self.flatten_mapping(part)
                    self._merged += 1 + len(part.value)
                if self._merged > _MOST_VALUES:
                    raise ComposerError(
                        None,
                        None,
                        f"it merges more than {_MOST_VALUES:,} values",
                        key.start_mark,
                    )
        super().flatten_mapping(node)

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Reject a key that is given twice; YAML would drop the first value."""
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE:
                continue
            if key.value in seen:
                raise ComposerError(
                    None, None, f"the key {shown(key.value)} is given twice", key.start_mark
                )
            seen.add(key.value)
        return node

    def construct_yaml_float(self, node: Any) -> Any:
        """Return a number, or the string if the number would be written differently."""
        return _number(str(self.construct_scalar(node)))

    def construct_yaml_str(self, node: Any) -> str:
        """Return a string with surrogate pairs joined.

        JSON escapes a character beyond 16 bits as such a pair.
        """
        text = str(self.construct_scalar(node))
        try:
            return text.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            return text


for _name, _form, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|false", ["t", "f"]),
    ("int", r"0|-?[1-9][0-9]*", list("-0123456789")),
    ("float", r"-?[0-9]{1,20}(?:\.[0-9]{1,20})?(?:e[-+][0-9]{1,3})?", list("-0123456789")),
    ("merge", r"<<", ["<"]),
):
    _Loader.add_implicit_resolver(_TAG + _name, re.compile(f"(?:{_form})$"), _first)
_Loader.add_constructor(f"{_TAG}float", _Loader.construct_yaml_float)
_Loader.add_constructor(f"{_TAG}str", _Loader.construct_yaml_str)


def load(text: str | bytes) -> list[Any]:
    """Return the documents of a text, without the empty ones.

    Raises:
        ValueError: The text is not YAML or JSON, or is too long. The message has the position and
            the cause, but no value.
    """
    if len(text) > MOST_BYTES:
        raise ValueError(
            f"it has more than {MOST_BYTES // 2**20} MiB, too much for a job's manifest"
        )
    try:
        if (documents := _json(text)) is not None:
            return documents
        return _yaml(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def marks(text: str | bytes) -> list[Marks]:
    """Return the line and column of each field by its path, for each document.

    A text that is neither YAML nor JSON has no documents. This parses the text again, which takes
    as long as ``load``, so it is only meant for errors.
    """
    decoded = _decoded(text)
    flat = (
        decoded.replace("\t", " ")
        if decoded is not None and decoded.startswith(("{", "["))
        else None
    )
    for form in (text, _without_tabs(text), flat):
        if form is not None:
            with suppress(yaml.YAMLError, ValueError, LookupError, RecursionError):
                nodes = [
                    node for node in yaml.compose_all(form, Loader=_Loader) if not _is_empty(node)
                ]
                return [dict(_places(node, "")) for node in nodes]
    return []


def _is_empty(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == f"{_TAG}null"


def _places(node: yaml.Node, path: str) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield the positions of the fields below a node, without following aliases.

    The position is that of the key if there is one, or else of the value.
    """
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                inner = f"{path}.{key.value}" if path else key.value
                yield inner, _place(key)
                yield from _below(key, value, inner)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield f"{path}[{index}]", _place(value)
            yield from _below(node, value, f"{path}[{index}]")


def _below(holder: yaml.Node, value: yaml.Node, path: str) -> Iterator[tuple[str, tuple[int, int]]]:
    if value.start_mark.index >= holder.start_mark.index:  # the value of an alias is further up
        yield from _places(value, path)


def _place(node: yaml.Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _yaml(text: str | bytes) -> list[Any]:
    try:
        return _documents(text)
    except yaml.YAMLError as error:
        if (again := _without_tabs(text)) is not None:
            with suppress(yaml.YAMLError):
                return [_with_tabs(document) for document in _documents(again)]
        raise ValueError(_said(error)) from None
    except (ValueError, LookupError):
        raise ValueError(
            "a value does not fit the tag before it, or is a number that is too long;"
            " put quotes around it"
        ) from None


def _documents(text: str | bytes) -> list[Any]:
    return [document for document in yaml.load_all(text, Loader=_Loader) if document is not None]


def _json(text: str | bytes) -> list[Any] | None:
    """Return the document of a JSON text, or ``None`` if the text is not JSON.

    YAML accepts JSON too, except for long keys and tabs.

    Raises:
        ValueError: The text is meant to be JSON, but is malformed.
    """
    decoded = _decoded(text)
    if decoded is None or not decoded.startswith(("{", "[")):
        return None
    try:
        return [
            json.loads(
                decoded, parse_float=_number, parse_int=_whole_number, object_pairs_hook=_object
            )
        ]
    except json.JSONDecodeError as error:
        if not _JSON_OBJECT.match(decoded) or _is_yaml(text):
            return None
        place = f"line {error.lineno}, column {error.colno}"
        raise ValueError(
            f"{place}: {error.msg[:1].lower()}{error.msg[1:]};"
            " expected JSON, because the text begins as JSON"
        ) from None


def _is_yaml(text: str | bytes) -> bool:
    """Whether a text that begins as JSON is YAML: with comments, or with several documents."""
    try:
        _yaml(text)
    except ValueError:
        return False
    return True


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {shown(key)} is given twice")
        found[key] = value
    return found


def _number(text: str) -> float | str:
    return float(text) if repr(float(text)) == text else text


def _whole_number(text: str) -> int | str:
    return int(text) if len(text) <= _MOST_DIGITS else text


def _decoded(text: str | bytes) -> str | None:
    """Return a text without a byte order mark and leading blanks, or ``None`` if not UTF-8."""
    try:
        decoded = text.decode() if isinstance(text, bytes) else text
    except UnicodeDecodeError:
        return None
    return decoded.lstrip("\ufeff \t\r\n")


def _without_tabs(text: str | bytes) -> str | None:
    """Return a text without the tabs that PyYAML rejects.

    Separating tabs become blanks, and tabs within strings become private-use characters. Indenting
    tabs stay, because YAML forbids them.
    """
    try:
        decoded = text.decode() if isinstance(text, bytes) else text
    except UnicodeDecodeError:
        return None
    if "\t" not in decoded or _TAB in decoded:
        return None
    return "\n".join(map(_separated, decoded.splitlines()))


def _separated(line: str) -> str:
    indent = line[: len(line) - len(line.lstrip())]
    content, mark, comment = _TABS_AFTER.sub(" ", line[len(indent) :]).partition("\t#")
    content = _TABS_BEFORE.sub(" ", content.rstrip(" \t"))
    return indent + content.replace("\t", _TAB) + (f" #{comment}" if mark else "")


def _with_tabs(value: Any) -> Any:
    if isinstance(value, dict):
        return {_with_tabs(key): _with_tabs(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_with_tabs(inner) for inner in value]
    return value.replace(_TAB, "\t") if isinstance(value, str) else value


def _said(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    problem = " ".join((getattr(error, "problem", None) or str(error)).split())
    taken = next((form for form in _TAKEN if problem.startswith(form)), None)
    return where + (f"{taken}{_ADVICE}" if taken else problem)
