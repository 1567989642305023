"""The parts of one platform, each made once and given to those that need it. No behavior."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cpln_flows.emulator.admission import Admission
from cpln_flows.emulator.authentication import Authentication
from cpln_flows.emulator.clock import Clock
from cpln_flows.emulator.commands import Commands
from cpln_flows.emulator.config import PlatformConfig
from cpln_flows.emulator.containers import ContainerBuilder
from cpln_flows.emulator.control import Control
from cpln_flows.emulator.deployments import Deployments
from cpln_flows.emulator.executors.base import Executor
from cpln_flows.emulator.executors.process import ProcessExecutor
from cpln_flows.emulator.faults import Faults
from cpln_flows.emulator.first_objects import restore
from cpln_flows.emulator.http_app import HttpApp
from cpln_flows.emulator.job_runner import JobRunner
from cpln_flows.emulator.lifecycle import Lifecycle
from cpln_flows.emulator.links import collection_link, org_link
from cpln_flows.emulator.logs import Logs
from cpln_flows.emulator.overview import RunningReplica
from cpln_flows.emulator.permissions import Permissions
from cpln_flows.emulator.proxy.server import Proxy
from cpln_flows.emulator.rate import RequestRate
from cpln_flows.emulator.recorder import Recorder
from cpln_flows.emulator.resources import Resources
from cpln_flows.emulator.routes.log_service import LogService
from cpln_flows.emulator.routes.objects import ObjectRoutes
from cpln_flows.emulator.routes.paths import Paths
from cpln_flows.emulator.routes.workloads import WorkloadRoutes
from cpln_flows.emulator.saved import SavedState
from cpln_flows.emulator.serving.gateway import Gateway
from cpln_flows.emulator.serving.network import Network
from cpln_flows.emulator.serving.replica import Replicas
from cpln_flows.emulator.serving.runner import ReplicaRunner
from cpln_flows.emulator.serving.services import Services
from cpln_flows.emulator.store import Record, Store
from cpln_flows.emulator.tail import Tails
from cpln_flows.emulator.terminal import Terminals


class Parts:
    """The parts of one platform.

    Args:
        config: Its configuration.
        clock: Its time.
        executor: What runs its containers.
        saved: The state that it goes on with, if it has one.
    """

    def __init__(
        self, config: PlatformConfig, clock: Clock, executor: Executor, saved: SavedState | None
    ) -> None:
        self.config = config
        self.clock = clock
        self.executor = executor
        self.faults: Faults = Faults(config.seed)
        self.recorder: Recorder = Recorder()
        self.store: Store = Store()
        self.permissions: Permissions = Permissions(self.store, config.org)
        self.authentication: Authentication = Authentication(
            config, None if saved is None else saved.token
        )
        if saved is not None:
            self.authentication.restore_keys(saved.keys)
            restore(self.store, saved)
        self.builder: ContainerBuilder = ContainerBuilder(config, self.store, self.permissions)
        self.logs: Logs = Logs(config, clock, self._log_retention_days)
        self.replicas: Replicas = Replicas()
        self.network: Network = Network(config, self.store, self.replicas)
        self.deployments: Deployments = Deployments(
            config, clock, self.store, self.builder, self.replicas
        )
        self.commands: Commands = Commands(config, clock, self.store)
        proxy = Proxy(self.network, websocket_timeout=lambda: config.websocket_timeout)
        self.gateway: Gateway = Gateway(self.network, proxy, self.deployments.endpoints)
        self.job_runner: JobRunner = self._job_runner()
        self.lifecycle: Lifecycle = self._lifecycle(self._services())
        self.resources: Resources = self._resources()

    def app(self, running: Callable[[], Sequence[RunningReplica]]) -> HttpApp:
        """Return the application that answers the platform's requests.

        Args:
            running: Returns what runs.
        """
        config, clock, resources = self.config, self.clock, self.resources
        service = LogService(config, clock, self.logs, resources)
        return HttpApp(
            config=config,
            clock=clock,
            faults=self.faults,
            recorder=self.recorder,
            admission=Admission(config, self.authentication, RequestRate(config, clock)),
            paths=self._paths(service),
            tails=Tails(config, clock, self.logs, service),
            terminals=Terminals(
                config,
                self.authentication,
                resources,
                lambda: [*self.replicas, *self.deployments.active_runs()],
            ),
            control=Control(
                config=config,
                clock=clock,
                faults=self.faults,
                recorder=self.recorder,
                logs=self.logs,
                running=running,
            ),
        )

    def workload_records(self) -> list[Record]:
        """Return every workload, oldest first."""
        return self.store.in_scope(collection_link(self.config.org, "workload"))

    def _services(self) -> Services:
        runner = ReplicaRunner(
            config=self.config,
            clock=self.clock,
            builder=self.builder,
            authentication=self.authentication,
            logs=self.logs,
            executor=self.executor,
            network=self.network,
            replicas=self.replicas,
        )
        return Services(
            config=self.config,
            clock=self.clock,
            deployments=self.deployments,
            commands=self.commands,
            replicas=self.replicas,
            runner=runner,
            gateway=self.gateway,
        )

    def _lifecycle(self, services: Services) -> Lifecycle:
        return Lifecycle(
            config=self.config,
            clock=self.clock,
            deployments=self.deployments,
            commands=self.commands,
            runner=self.job_runner,
            services=services,
            network=self.network,
        )

    def _job_runner(self) -> JobRunner:
        return JobRunner(
            config=self.config,
            clock=self.clock,
            deployments=self.deployments,
            commands=self.commands,
            builder=self.builder,
            authentication=self.authentication,
            logs=self.logs,
            executor=self.executor,
            network=self.network,
        )

    def _resources(self) -> Resources:
        executor = self.executor
        return Resources(
            config=self.config,
            clock=self.clock,
            store=self.store,
            permissions=self.permissions,
            authentication=self.authentication,
            deployments=self.deployments,
            lifecycle=self.lifecycle,
            volumesets=executor.volumesets if isinstance(executor, ProcessExecutor) else None,
        )

    def _paths(self, service: LogService) -> Paths:
        objects = ObjectRoutes(self.config, self.resources)
        workloads = WorkloadRoutes(
            config=self.config,
            store=self.store,
            resources=self.resources,
            deployments=self.deployments,
            lifecycle=self.lifecycle,
            objects=objects,
        )
        return Paths(self.config, objects, workloads, service)

    def _log_retention_days(self) -> float:
        org = self.store.get(org_link(self.config.org))
        observability = (org.document.get("spec") or {}).get("observability") if org else None
        days = (observability or {}).get("logsRetentionDays", self.config.log_retention_days)
        return float(days)
