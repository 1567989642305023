"""Keep the replicas of each serving workload as the workload wants them.

After every change of a workload, its GVC or a replica, what is wanted is compared with what is
there (``wanted``, ``rollout``), and the next steps are taken (``runner``).
"""

from __future__ import annotations

import asyncio
import random
import secrets
import string

from cpln_flows.emulator.clock import Clock
from cpln_flows.emulator.commands import Commands
from cpln_flows.emulator.config import PlatformConfig
from cpln_flows.emulator.deployments import Deployments
from cpln_flows.emulator.executors.base import Handle
from cpln_flows.emulator.serving.gateway import Gateway
from cpln_flows.emulator.serving.replica import Replica, Replicas
from cpln_flows.emulator.serving.rollout import Start, Stop, next_steps
from cpln_flows.emulator.serving.runner import ReplicaRunner
from cpln_flows.emulator.serving.wanted import Wanted, serves, wanted_in
from cpln_flows.emulator.store import Record

_SUFFIX = string.ascii_lowercase + string.digits


class Services:
    """The replicas of all serving workloads."""

    def __init__(
        self,
        *,
        config: PlatformConfig,
        clock: Clock,
        deployments: Deployments,
        commands: Commands,
        replicas: Replicas,
        runner: ReplicaRunner,
        gateway: Gateway,
    ) -> None:
        self._config = config
        self._clock = clock
        self._deployments = deployments
        self._commands = commands
        self._replicas = replicas
        self._runner = runner
        self._gateway = gateway
        self._runner.on_change = self._replica_changed
        self._random = random.Random(config.seed)  # noqa: S311 - a name's suffix, not a secret
        self._due: set[int] = set()
        self._closed = False

    def changed(self, workload: Record) -> None:
        """Note a workload's creation or change, or a change of its GVC."""
        if not serves(workload.document["spec"]):
            return
        self._gateway.publish(workload)
        self._settle_soon(workload)
        if self._config.ready_delay_seconds:
            # What was changed takes effect only when the locations have processed it.
            self._clock.call_later(
                self._config.ready_delay_seconds, lambda: self._settle_soon(workload)
            )

    def deleted(self, workload: Record) -> None:
        """Stop the replicas of a workload that is being deleted."""
        self._gateway.withdraw(workload)
        for replica in self._replicas.of(workload):
            self._runner.stop(replica)

    def stop(self, workload: Record, command: Record) -> None:
        """Carry out a command that stops one replica of a location, or all of them."""
        spec = command.document["spec"]
        location, name = spec["location"], spec.get("replica")
        found = [
            each
            for each in self._replicas.of(workload, location)
            if name in (None, each.replica) and not each.is_stopping
        ]
        if not found:
            reason = f"no replica {name or ''} is running in {location}"
            self._commands.update(command, "failed", reason)
            return
        self._commands.update(command, "running", podId=found[0].replica)
        for replica in found:
            replica.stops.append(command)
        for replica in found:
            self._runner.stop(replica)

    def names(self, workload: Record, location: str) -> list[str]:
        """Return the names of the replicas that exist in a location."""
        return [each.replica for each in self._replicas.of(workload, location)]

    async def aclose(self) -> None:
        """Kill every replica and wait until nothing of it is left."""
        self._closed = True
        handles: list[Handle] = []
        probing = []
        for replica in self._replicas:
            handles += replica.handles()
            probing += [each for one in replica.containers.values() for each in one.probing]
            self._runner.kill(replica)
        await asyncio.gather(
            *(handle.wait_gone() for handle in handles), *(each.wait_ended() for each in probing)
        )

    def _replica_changed(self, replica: Replica) -> None:
        if replica.is_gone:
            self._replicas.remove(replica)
            for command in replica.stops:
                if not any(command in each.stops for each in self._replicas.of(replica.workload)):
                    self._commands.update(command, "completed")
        self._settle_soon(replica.workload)

    def _settle_soon(self, workload: Record) -> None:
        """Compare what is wanted with what is there, after everything that happens now."""
        if workload.sequence in self._due or self._closed:
            return
        self._due.add(workload.sequence)
        self._clock.call_later(0, lambda: self._settle(workload))

    def _settle(self, workload: Record) -> None:
        self._due.discard(workload.sequence)
        if self._closed or workload.deleted:
            return
        if self._deployments.seconds_until_ready(workload) > 0:
            return
        _, spec = self._deployments.processed_spec(workload)
        placed = self._deployments.locations(workload)
        left = {each.location for each in self._replicas.of(workload)}
        for location in dict.fromkeys((*placed, *sorted(left))):
            wanted = wanted_in(spec, workload.document.get("tags") or {}, location)
            if location not in placed:
                wanted = Wanted(0, wanted.template, wanted.is_ordered, at_once=True)
            self._settle_location(workload, location, wanted)

    def _settle_location(self, workload: Record, location: str, wanted: Wanted) -> None:
        there = self._replicas.of(workload, location)
        for step in next_steps(wanted, [each.as_present() for each in there]):
            match step:
                case Start(index):
                    self._start(workload, location, wanted.template, index)
                case Stop(name):
                    self._runner.stop(next(each for each in there if each.replica == name))

    def _start(self, workload: Record, location: str, template: str, index: int | None) -> None:
        name = self._new_name(workload, template, index)
        version, spec = self._deployments.processed_spec(workload)
        replica = Replica(
            workload=workload,
            location=location,
            replica=name,
            index=index,
            version=version,
            template=template,
            spec=spec,
            key=f"{name}-{secrets.token_hex(4)}",
        )
        self._replicas.add(replica)
        self._runner.begin(replica)

    def _new_name(self, workload: Record, template: str, index: int | None) -> str:
        if index is not None:
            return f"{workload.name}-{index}"
        suffix = "".join(self._random.choices(_SUFFIX, k=5))
        return f"{workload.name}-{template}-{suffix}"
