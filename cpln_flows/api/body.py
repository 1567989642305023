"""Receive, decompress and decode the body of an answer within bounds, whatever is sent."""

from __future__ import annotations

import re
import zlib
from typing import Any

import httpx
import orjson

from cpln_flows.errors import AnswerTooLargeError, UnexpectedResponseError

ENCODING = "gzip"
"""The only compression that is requested, and the only one that is read."""
MOST_BYTES = 32 * 2**20
"""For an answer of the platform: a page of objects, of which a large one has a few kilobytes."""
MOST_LOG_BYTES = 64 * 2**20
"""For a page of the log: 999 lines, each cut by the platform at 16 KiB.

Some of their characters take six bytes in JSON.
"""
MOST_ERROR_BYTES = 2**16
"""For an error: only its message is needed."""
_MOST_VALUES = 500_000
"""Values in one answer.

Each takes up to a few hundred bytes of memory, but only two or three bytes in the answer.
"""
_MOST_LEVELS = 64
_REPLACED = r"\ufffd"
# In JSON: an escaped backslash, a surrogate pair, or half of one, which no string can hold.
_LONE = re.compile(
    r"(?P<whole>\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    r"|\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
)
_NO_SIGN = bytes(set(range(256)) - set(b'",[]{}'))


async def read(answer: httpx.Response, most: int, source: str) -> bytes:
    """Receive a body to its end and close the answer.

    Args:
        answer: The answer, whose body has not been read.
        most: How many bytes the body may have once it is decompressed.
        source: What was requested, for the errors.

    Raises:
        AnswerTooLargeError: The body is larger; no more than ``most`` bytes were kept in memory.
        UnexpectedResponseError: The body cannot be decompressed.
    """
    try:
        return await _received(answer, most, source)
    finally:
        await answer.aclose()


async def read_error(answer: httpx.Response, source: str) -> bytes:
    """Receive the readable beginning of an error's body, and close the answer."""
    try:
        return await _received(answer, MOST_ERROR_BYTES, source, cut=True)
    except UnexpectedResponseError:
        return b""  # the status is informative enough
    finally:
        await answer.aclose()


def decode(body: bytes, source: str) -> Any:
    """Decode a JSON text, with a bounded number of values and levels.

    The bounds protect the memory, and the stack of any code that walks the values recursively.

    Raises:
        AnswerTooLargeError: There are too many values.
        UnexpectedResponseError: The values are nested too deeply.
        orjson.JSONDecodeError: The text is not JSON.
    """
    if _openings(body) > _MOST_LEVELS:
        brackets = _structure(body, source).translate(None, b",")
        if not _is_flat(brackets):
            raise UnexpectedResponseError(
                f"{source}: the answer is nested more than {_MOST_LEVELS} levels deep"
            )
    return orjson.loads(body)


def decode_log(body: bytes, source: str) -> Any:
    """Decode a JSON text of which only lines are read, so that its depth does not matter.

    Bytes that are not UTF-8 and halves of surrogate pairs become U+FFFD: they cost one character,
    not the whole log. Both readers of a log decode with this function, so a line is the same
    whichever of them delivers it. The errors are those of ``decode``.
    """
    if _openings(body) + body.count(b",") > _MOST_VALUES:
        _structure(body, source)
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return orjson.loads(_LONE.sub(_unless_whole, body.decode("utf-8", "replace")))


def _unless_whole(found: re.Match[str]) -> str:
    return found[0] if found["whole"] else _REPLACED


async def _received(answer: httpx.Response, most: int, source: str, *, cut: bool = False) -> bytes:
    inflater, chunks, size, is_empty = _inflater(answer, source), [], 0, True
    # Read the raw bytes: what httpx decompresses may be of any size before it can be checked.
    assert isinstance(answer.stream, httpx.AsyncByteStream)  # noqa: S101 - true of async transports
    async for chunk in answer.stream:
        content = chunk if inflater is None else _inflated(inflater, chunk, most + 1 - size, source)
        chunks.append(content)
        is_empty = is_empty and not chunk
        size += len(content)
        if size > most:
            if cut:
                return b"".join(chunks)[:most]
            raise AnswerTooLargeError(source, f"{most // 2**20} MiB")
    if inflater is not None and not (is_empty or inflater.eof or cut):
        raise UnexpectedResponseError(f"{source}: the compressed answer was cut short")
    return b"".join(chunks)


def _inflater(answer: httpx.Response, source: str) -> zlib._Decompress | None:
    encoding = answer.headers.get("content-encoding", "").strip().lower()
    if encoding in ("", "identity"):
        return None
    if encoding != ENCODING:
        raise UnexpectedResponseError(
            f"{source}: the answer is compressed as {encoding[:40]!r}, which was not requested"
        )
    return zlib.decompressobj(zlib.MAX_WBITS | 16)


def _inflated(inflater: zlib._Decompress, chunk: bytes, most: int, source: str) -> bytes:
    try:
        return inflater.decompress(chunk, most)
    except zlib.error as error:
        raise UnexpectedResponseError(
            f"{source}: the answer cannot be decompressed ({error})"
        ) from None


def _openings(body: bytes) -> int:
    return body.count(b"[") + body.count(b"{")


def _structure(body: bytes, source: str) -> bytes:
    """Return the commas and brackets outside of strings, about as many as there are values.

    It makes whole passes over all bytes instead of looking at each: there may be millions of them.
    """
    signs = body.replace(b"\\\\", b"").replace(b'\\"', b"").translate(None, _NO_SIGN)
    if signs.count(b'"') > 4 * _MOST_VALUES:  # a name and a string for each value
        raise AnswerTooLargeError(source, f"{_MOST_VALUES:,} values")
    structure = b"".join(signs.split(b'"')[::2])
    if structure.count(b",") + _openings(structure) > _MOST_VALUES:
        raise AnswerTooLargeError(source, f"{_MOST_VALUES:,} values")
    return structure


def _is_flat(brackets: bytes) -> bool:
    """Whether removing the innermost pairs of brackets a fixed number of times removes them all.

    Brackets that form no pairs are not JSON, and count as flat.
    """
    for _ in range(_MOST_LEVELS):
        inner, brackets = brackets, brackets.replace(b"[]", b"").replace(b"{}", b"")
        if inner == brackets:
            return True
    return False
