"""Bodies of answers that are larger, deeper or otherwise different from what anybody needs."""

import gzip
import tracemalloc
import zlib

import httpx
import orjson
import pytest

from cpln_flows.api import body
from cpln_flows.errors import AnswerTooLargeError, UnexpectedResponseError

pytestmark = pytest.mark.anyio
MIB = 2**20


@pytest.fixture
def anyio_backend():
    return "asyncio"


def answer(content: bytes, encoding: str = "") -> httpx.Response:
    return httpx.Response(
        200,
        stream=httpx.ByteStream(content),
        headers={"content-encoding": encoding} if encoding else {},
    )


def bomb(mebibytes: int) -> bytes:
    """So many blanks, a thousandth as large."""
    packer = zlib.compressobj(9, wbits=zlib.MAX_WBITS | 16)
    return b"".join([packer.compress(b" " * MIB) for _ in range(mebibytes)]) + packer.flush()


async def test_compressed_answer_is_read_whole() -> None:
    content = orjson.dumps({"items": list(range(1000))})
    assert await body.read(answer(content), MIB, "GET /x") == content
    assert await body.read(answer(gzip.compress(content), "gzip"), MIB, "GET /x") == content
    assert await body.read(answer(b"", "gzip"), MIB, "GET /x") == b""


@pytest.mark.parametrize("pieces", [1, 100])
async def test_bomb_stops_at_its_limit(pieces) -> None:
    content = bomb(60)
    size = len(content) // pieces + 1

    class Streamed(httpx.AsyncByteStream):
        async def __aiter__(self):
            for start in range(0, len(content), size):
                yield content[start : start + size]

    tracemalloc.start()
    try:
        with pytest.raises(
            AnswerTooLargeError, match="GET /x: the answer has more than 8 MiB"
        ) as caught:
            await body.read(
                httpx.Response(200, stream=Streamed(), headers={"content-encoding": "gzip"}),
                8 * MIB,
                "GET /x",
            )
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 24 * MIB
    assert caught.value.limit == "8 MiB"


async def test_large_plain_answer_is_refused() -> None:
    with pytest.raises(AnswerTooLargeError):
        await body.read(answer(b" " * (MIB + 1)), MIB, "GET /x")
    assert len(await body.read(answer(b" " * MIB), MIB, "GET /x")) == MIB


async def test_large_error_is_cut() -> None:
    assert len(await body.read_error(answer(bomb(10), "gzip"), "GET /x")) == body.MOST_ERROR_BYTES
    assert await body.read_error(answer(b"no gzip", "gzip"), "GET /x") == b""


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        pytest.param(b"{}", "br", id="unasked-encoding"),
        pytest.param(b"{}", "gzip, gzip", id="twice-compressed"),
        pytest.param(b"no gzip", "gzip", id="not-compressed"),
        pytest.param(gzip.compress(b"{}" * 100)[:-12], "gzip", id="cut-short"),
    ],
)
async def test_undecompressable_answer_is_unexpected(content, encoding) -> None:
    with pytest.raises(UnexpectedResponseError, match="GET /x"):
        await body.read(answer(content, encoding), MIB, "GET /x")


MANY = 600_000
PLAIN = b'{"a":"' + b'[{,\\"' * MANY + b'\\\\"}'


@pytest.mark.parametrize("decode", [body.decode, body.decode_log])
@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"[" + b"[]," * MANY + b"[]]", id="lists"),
        pytest.param(b"[" + b"{}," * MANY + b"{}]", id="objects"),
        pytest.param(b"[" + b"1," * MANY + b"1]", id="numbers"),
        pytest.param(b'["[", ' + b'"",' * MANY + b'""]', id="texts"),
    ],
)
def test_too_many_values_are_refused(content, decode) -> None:
    if decode is body.decode:
        content = b"[" * 65 + content + b"]" * 65  # so that it is looked at
    with pytest.raises(AnswerTooLargeError, match="500,000 values"):
        decode(content, "GET /x")


@pytest.mark.parametrize("decode", [body.decode, body.decode_log])
def test_signs_in_texts_are_no_values(decode) -> None:
    assert decode(PLAIN, "GET /x") == orjson.loads(PLAIN)


@pytest.mark.parametrize("levels", [65, 200, 900])
def test_deep_answer_is_refused(levels) -> None:
    for opening, closing in ((b"[", b"]"), (b'{"a":', b"}")):
        with pytest.raises(UnexpectedResponseError, match="64 levels"):
            body.decode(opening * levels + b"1" + closing * levels, "GET /x")


def test_wide_answer_is_not_deep() -> None:
    content = b"[" + b'[{"a":[[]]}],' * 1000 + b"[]]"
    assert body.decode(content, "GET /x") == orjson.loads(content)


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 500,
        b"[" * 5000,
        b"]" * 5000,
        b"{]" * 500,
        b"9" * 100_000,
        b"[1e999]",
        b"-" + b"9" * 5000,
        b'"\\',
    ],
    ids=str,
)
def test_malformed_answer_is_no_json(content) -> None:
    with pytest.raises(orjson.JSONDecodeError):
        body.decode(content, "GET /x")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        pytest.param(b"torn \xe2\x96", "torn \ufffd", id="bytes-that-are-no-utf-8"),
        pytest.param(b"half \\ud83d", "half \ufffd", id="first-half-of-a-pair"),
        pytest.param(b"half \\uDE00!", "half \ufffd!", id="second-half-of-a-pair"),
        pytest.param(b"\xff \\ud83d\\ude00", "\ufffd \U0001f600", id="whole-pair"),
        pytest.param(b"\xff \\\\ud83d", "\ufffd \\ud83d", id="backslash-before-the-letters"),
        pytest.param(b"\xff \\u0000", "\ufffd \0", id="nul"),
    ],
)
def test_torn_characters_are_replaced(text, line) -> None:
    assert body.decode_log(b'{"line": "' + text + b'"}', "test") == {"line": line}


def test_log_that_is_no_json_stays_an_error() -> None:
    with pytest.raises(orjson.JSONDecodeError):
        body.decode_log(b"\xff{", "test")
