"""A forward proxy on loopback that plays the part of the platform's sidecars and of its edge.

It carries bytes; a router decides where to. Containers reach each other through the port of the
proxy, and the outside world reaches a workload through the port of its canonical endpoint.
"""

from __future__ import annotations

from collections.abc import Callable

from cpln_flows.emulator.proxy.conduct import DEFAULT_LIMITS, Conduct, Limits
from cpln_flows.emulator.proxy.entrances import EdgeEntrance, Entrance, ProxyEntrance
from cpln_flows.emulator.proxy.listener import Connections, Listener, listen
from cpln_flows.emulator.proxy.routes import Router

_LOOPBACK = "127.0.0.1"


class Proxy:
    """Serves the forward proxy and the canonical endpoints in the running event loop."""

    def __init__(
        self,
        router: Router,
        *,
        websocket_timeout: Callable[[], bool],
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        """Create a proxy that does not listen yet.

        Args:
            router: Decides where requests go.
            websocket_timeout: Whether the timeout of a route ends upgraded connections, too; asked
                at the beginning of each.
            limits: What the proxy bears.
        """
        self._router = router
        self._connections = Connections(Conduct(limits, websocket_timeout))
        self._listener: tuple[Listener, str] | None = None
        self._edges: dict[str, tuple[Listener, str]] = {}

    def start(self, host: str = _LOOPBACK) -> str:
        """Begin to listen; return the URL of the proxy, without credentials."""
        if self._listener is None:
            entrance = ProxyEntrance(self._router)
            self._listener = self._open(host, lambda _caller, _authority: entrance)
        return self._listener[1]

    def open_edge(self, workload: str) -> str:
        """Open the canonical endpoint of a workload, unless it is open; return its URL."""
        if workload not in self._edges:
            self._edges[workload] = self._open(
                _LOOPBACK,
                lambda caller, authority: EdgeEntrance(
                    self._router, workload, caller, authority.encode()
                ),
            )
        return self._edges[workload][1]

    def close_edge(self, workload: str) -> None:
        """Close the canonical endpoint of a workload, if it is open, and its connections."""
        if workload in self._edges:
            self._edges.pop(workload)[0].close()

    async def aclose(self) -> None:
        """Stop to listen, and end every connection."""
        for workload in list(self._edges):
            self.close_edge(workload)
        if self._listener is not None:
            self._listener[0].close()
            self._listener = None
        await self._connections.aclose()

    def _open(self, host: str, entrance: Callable[[str, str], Entrance]) -> tuple[Listener, str]:
        sock, authority = listen(host)
        listener = Listener(sock, lambda caller: entrance(caller, authority), self._connections)
        return listener, f"http://{authority}"
