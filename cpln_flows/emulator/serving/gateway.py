"""The platform's listeners for requests to workloads: the proxy, and the canonical endpoints.

A canonical endpoint is an address of this machine, because no resolver knows the real one.
"""

from __future__ import annotations

from collections.abc import Iterable

from cpln_flows.emulator.proxy.server import Proxy
from cpln_flows.emulator.serving.health import first_port
from cpln_flows.emulator.serving.network import Network
from cpln_flows.emulator.serving.wanted import serves
from cpln_flows.emulator.store import Record


class Gateway:
    """Opens and closes the listeners of one platform.

    Args:
        network: Decides where requests go.
        proxy: Listens and passes requests on.
        endpoints: Takes the canonical endpoint of each workload that has one, by link.
    """

    def __init__(self, network: Network, proxy: Proxy, endpoints: dict[str, str]) -> None:
        self._network = network
        self._proxy = proxy
        self._endpoints = endpoints

    def open(self, host: str, workloads: Iterable[Record]) -> None:
        """Begin to listen, also for the workloads that exist already.

        Args:
            host: The address of this machine.
            workloads: The workloads that exist already.
        """
        self._network.proxy = self._proxy.start(host)
        for workload in workloads:
            self.publish(workload)

    def publish(self, workload: Record) -> None:
        """Open the canonical endpoint of a workload that serves on a port, and close any other."""
        if not self._network.proxy:
            return
        spec = workload.document["spec"]
        containers = spec.get("containers") or ()
        if serves(spec) and any(first_port(each) is not None for each in containers):
            self._endpoints[workload.link] = self._proxy.open_edge(workload.link)
        else:
            self.withdraw(workload)

    def withdraw(self, workload: Record) -> None:
        """Close the canonical endpoint of a workload, if it has one."""
        self._endpoints.pop(workload.link, None)
        self._proxy.close_edge(workload.link)

    async def aclose(self) -> None:
        """Close every listener and every connection."""
        self._network.proxy = ""
        self._endpoints.clear()
        await self._proxy.aclose()
