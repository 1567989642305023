"""Pass bytes between two connections, whatever they mean."""

from __future__ import annotations

import contextlib

from cpln_flows.emulator.proxy.racing import join, race
from cpln_flows.emulator.proxy.streams import LostError, Stream


async def pipe_until_one_ends(
    client: Stream, upstream: Stream, from_client: bytes, from_upstream: bytes
) -> None:
    """Pass bytes both ways until either side closes, as for an upgraded connection.

    Args:
        client: The one connection.
        upstream: The other one.
        from_client: What the client has sent already.
        from_upstream: What the server has sent already.
    """
    with contextlib.suppress(LostError):
        await race(
            _pipe(upstream, client, from_upstream),
            _pipe(client, upstream, from_client),
            upstream.was_reset(),
            client.was_reset(),
        )


async def pipe_until_both_end(client: Stream, upstream: Stream, from_client: bytes) -> None:
    """Pass bytes both ways until both sides have sent everything, as for a tunnel."""
    both = join(
        _pipe(upstream, client, passes_end=True),
        _pipe(client, upstream, from_client, passes_end=True),
    )
    with contextlib.suppress(LostError):
        await race(both, upstream.was_reset(), client.was_reset())


async def _pipe(
    source: Stream, sink: Stream, data: bytes = b"", *, passes_end: bool = False
) -> None:
    is_lost = False
    while data := data or await source.read():
        if not is_lost:
            try:
                await sink.write(data)
            except LostError:
                # What the sink sent before it broke is left for the other direction to read.
                is_lost = True
        data = b""
    if passes_end:
        sink.write_eof()
