"""Check documents for valid names, limits and formats.

A check adds what is wrong, with the name of the field, to ``Problems``; at the end the request is
refused with all of it. The wording is that of the validator that the platform uses: the field in
quotes, then what it must be.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from cpln_flows.emulator.answers import BAD_REQUEST, Document, RefusedError, refuse

NAME = re.compile(r"[a-z][-a-z0-9]+[a-z0-9]")
NAME_LIMIT = 63
TAG_LIMIT = 50
DESCRIPTION_LIMIT = 250
PROBLEM_LIMIT = 100
MESSAGE_LIMIT = 1000


@dataclass(slots=True)
class Problems:
    """What is wrong with a document."""

    messages: list[str] = field(default_factory=list)

    def add(self, path: str, rule: str) -> None:
        """Note that a field breaks a rule."""
        self.say(f'"{path}" {rule}')

    def say(self, message: str) -> None:
        """Note a fault as a complete message.

        The first ``PROBLEM_LIMIT`` faults are kept, each cut to ``MESSAGE_LIMIT`` characters.
        """
        if len(self.messages) < PROBLEM_LIMIT:
            self.messages.append(message[:MESSAGE_LIMIT])

    def refusal(self) -> RefusedError | None:
        """Return the refusal with everything noted, or ``None`` if nothing is wrong."""
        if not self.messages:
            return None
        return refuse(
            BAD_REQUEST,
            "; ".join(self.messages),
            [{"message": message} for message in self.messages],
        )


def check_name(problems: Problems, name: object, limit: int = NAME_LIMIT) -> None:
    """Check the name of an object."""
    if not isinstance(name, str):
        problems.add("name", "is required" if name is None else "must be a string")
        return
    if len(name) > limit:
        problems.add("name", f"length must be less than or equal to {limit} characters long")
    if not NAME.fullmatch(name):
        problems.add(
            "name", rf"with value {name!r} fails to match the required pattern: /^{NAME.pattern}$/"
        )


def check_base(problems: Problems, document: Document) -> None:
    """Check the fields that every object has."""
    description = document.get("description")
    if isinstance(description, str):
        if len(description) > DESCRIPTION_LIMIT:
            problems.add(
                "description",
                f"length must be less than or equal to {DESCRIPTION_LIMIT} characters long",
            )
        if description != description.strip():
            problems.add("description", "must not have leading or trailing whitespace")
    elif description is not None:
        problems.add("description", "must be a string")
    check_tags(problems, document.get("tags"))


def check_tags(problems: Problems, tags: object) -> None:
    """Check the tags of an object or a command."""
    if tags is None:
        return
    if not isinstance(tags, dict):
        problems.add("tags", "must be of type object")
        return
    if len(tags) > TAG_LIMIT:
        problems.add("tags", f"must have less than or equal to {TAG_LIMIT} keys")
    for name, value in tags.items():
        if isinstance(value, dict | list):
            problems.add(f"tags.{name}", "must be one of [string, number, boolean]")


def mapping(problems: Problems, value: object, path: str) -> Document:
    """Return a value that must be an object; otherwise note the fault and return an empty one."""
    if value is None:
        return {}
    if isinstance(value, dict):
        return value
    problems.add(path, "must be of type object")
    return {}


def sequence(
    problems: Problems, value: object, path: str, limit: int | None = None
) -> list[object]:
    """Return a value that must be an array; otherwise note the fault and return an empty one."""
    if value is None:
        return []
    if not isinstance(value, list):
        problems.add(path, "must be an array")
        return []
    if limit is not None and len(value) > limit:
        problems.add(path, f"must contain less than or equal to {limit} items")
    return value


def check_known(problems: Problems, document: Document, path: str, known: Collection[str]) -> None:
    """Check that a document has known fields only."""
    for name in document:
        if name not in known:
            problems.add(f"{path}.{name}" if path else name, "is not allowed")


def check_text(problems: Problems, value: object, path: str, limit: int | None = None) -> None:
    """Check that a value, if present, is a string."""
    if value is None:
        return
    if not isinstance(value, str):
        problems.add(path, "must be a string")
    elif limit is not None and len(value) > limit:
        problems.add(path, f"length must be less than or equal to {limit} characters long")


def check_choice(problems: Problems, value: object, path: str, allowed: Sequence[str]) -> None:
    """Check that a value, if present, is one of several words."""
    if value is not None and value not in allowed:
        problems.add(path, f"must be one of [{', '.join(allowed)}]")


def check_number(problems: Problems, value: object, path: str, low: int, high: int) -> None:
    """Check that a value, if present, is an integer within bounds."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        problems.add(path, "must be a number")
    elif value < low:
        problems.add(path, f"must be greater than or equal to {low}")
    elif value > high:
        problems.add(path, f"must be less than or equal to {high}")
