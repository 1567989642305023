"""Earlier responses, for faults that repeat them.

Bounded in bytes, because possibly nobody ever asks for them.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict

from cpln_flows.emulator.answers import Answer
from cpln_flows.emulator.routes.call import Call

BYTES_LIMIT = 16 * 2**20
_OVERHEAD_BYTES = 1024

_Key = tuple[str, str, str, bytes]


class Remembered:
    """The last response to each request that reads something, as far as there is room."""

    def __init__(self) -> None:
        self._answers: OrderedDict[_Key, Answer] = OrderedDict()
        self._bytes = 0

    def keep(self, call: Call, answer: Answer) -> None:
        """Keep a response, and forget the oldest responses if there is not enough room."""
        key = _key(call)
        self._forget(key)
        self._answers[key] = answer
        self._bytes += _size(key, answer)
        while self._bytes > BYTES_LIMIT:
            self._forget(next(iter(self._answers)))

    def find(self, call: Call) -> Answer | None:
        """Return the previous response to the same request."""
        return self._answers.get(_key(call))

    def _forget(self, key: _Key) -> None:
        answer = self._answers.pop(key, None)
        if answer is not None:
            self._bytes -= _size(key, answer)


def _key(call: Call) -> _Key:
    return (
        call.method,
        call.path,
        call.query,
        hashlib.sha256(call.body).digest() if call.body else b"",
    )


def _size(key: _Key, answer: Answer) -> int:
    return len(key[1]) + len(key[2]) + len(answer.body) + _OVERHEAD_BYTES
