"""From YAML text to values, without YAML 1.1's surprises. Knows no field."""

from __future__ import annotations

import re
from typing import Any

import yaml
from yaml.composer import ComposerError

_TAG = "tag:yaml.org,2002:"
_MERGE = f"{_TAG}merge"


class _Loader(yaml.SafeLoader):
    """Takes for a number or a truth value only what JSON would write in exactly this way; all else is the text that it is.

    YAML 1.1 makes ``12:30`` the number 750, ``010`` the number 8, ``1.10`` the number 1.1 and ``no`` the value false, and in the
    variables, arguments and labels of a job they would silently arrive as that.
    """

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's own form
    yaml_constructors = {  # noqa: RUF012
        tag: constructor
        for tag, constructor in yaml.SafeLoader.yaml_constructors.items()
        if tag is None or tag.removeprefix(_TAG) in ("null", "bool", "int", "float", "str", "seq", "map")
    }

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Refuse a key that is given twice, of which YAML would drop the first."""
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE:
                continue
            if key.value in seen:
                raise ComposerError(None, None, f"the key {key.value!r} is given twice", key.start_mark)
            seen.add(key.value)
        return node

    def construct_yaml_float(self, node: Any) -> Any:
        """Return a number, or the text if the number would be written in another way."""
        text = str(self.construct_scalar(node))
        return float(text) if repr(float(text)) == text else text

    def construct_yaml_str(self, node: Any) -> str:
        """Return a text, its pairs of surrogates joined: JSON escapes a character outside of 16 bits as such a pair."""
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
        ValueError: It is not YAML; the message says where and why.
    """
    try:
        return [document for document in yaml.load_all(text, Loader=_Loader) if document is not None]
    except yaml.YAMLError as error:
        raise ValueError(_said(error)) from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except (ValueError, LookupError):
        raise ValueError("a value does not fit the tag before it, or is a number without end; put quotes around it") from None


def _said(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    return where + " ".join((getattr(error, "problem", None) or str(error)).split())
