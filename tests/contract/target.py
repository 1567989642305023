"""The platform under test, as any client sees it: addresses, a token, and nothing of its inside."""

import itertools
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.patience import PATIENCE_SECONDS

IMAGE = "python:3.12-slim"


@dataclass
class Target:
    """A local platform, or an organisation on the real one.

    What a test creates through it is deleted at the end of the run.
    """

    url: str
    token: str
    org: str
    gvc: str
    location: str
    poll_seconds: float
    http: httpx.Client = field(init=False)
    _run: str = field(default_factory=lambda: secrets.token_hex(3))
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _created: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.http = self.client(self.token)

    def client(self, token: str | None) -> httpx.Client:
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=PATIENCE_SECONDS)

    def close(self) -> None:
        for link in reversed(self._created):
            self.http.delete(link)
        self.http.close()

    @property
    def org_link(self) -> str:
        return f"/org/{self.org}"

    @property
    def gvc_link(self) -> str:
        return f"{self.org_link}/gvc/{self.gvc}"

    @property
    def logs_url(self) -> str:
        endpoints = httpx.get(f"{self.url}/discovery", timeout=PATIENCE_SECONDS).json()["endpoints"]
        return str(endpoints["logs"]).replace("/org/{org}", "").rstrip("/")

    def name(self, stem: str = "contract") -> str:
        """A name that nobody else has."""
        return f"{stem}-{self._run}-{next(self._numbers)}"

    def remember(self, link: str) -> str:
        """Have an object deleted at the end."""
        self._created.append(link)
        return link

    def get(self, link: str) -> Any:
        answer = self.http.get(link)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def create(self, collection: str, body: dict[str, Any]) -> str:
        answer = self.http.post(collection, json=body)
        assert answer.status_code == 201, answer.text
        return self.remember(answer.headers["location"])

    def workload(
        self,
        script: str = "print('hello')",
        *,
        name: str | None = None,
        tags: Any = None,
        **spec: Any,
    ) -> str:
        """Create a suspended cron workload that runs a Python script; wait until it is ready."""
        document = self.workload_document(script, name=name, tags=tags, **spec)
        link = self.create(f"{self.gvc_link}/workload", document)
        self.until(lambda: self.deployment(link).get("ready"))
        return link

    def workload_document(
        self, script: str = "pass", *, name: str | None = None, tags: Any = None, **spec: Any
    ) -> dict[str, Any]:
        container = {
            "name": "main",
            "image": IMAGE,
            "command": "python",
            "args": ["-c", script],
            "cpu": "50m",
            "memory": "128Mi",
        }
        return {
            "name": name or self.name("job"),
            "tags": tags or {},
            "spec": {
                "type": "cron",
                "containers": [container],
                "job": {"schedule": "0 0 1 1 *"},
                "defaultOptions": {"suspend": True, "capacityAI": False},
                **spec,
            },
        }

    def deployment(self, link: str) -> dict[str, Any]:
        answer = self.http.get(f"{link}/deployment/{self.location}")
        return dict(answer.json()["status"]) if answer.status_code == 200 else {}

    def start(self, link: str, tags: Any = None, overrides: Any = (), **spec: Any) -> str:
        """Start a run; gives the command's link."""
        spec = {"location": self.location, "containerOverrides": list(overrides), **spec}
        answer = self.http.post(
            f"{link}/-command", json={"type": "runCronWorkload", "tags": tags or {}, "spec": spec}
        )
        assert answer.status_code == 201, answer.text
        return str(answer.headers["location"])

    def running(self, command: str) -> dict[str, Any]:
        """Wait until a command runs and has its replica."""
        return self.until(
            lambda: self._command(command, lambda found: found["status"].get("replica"))
        )

    def ended(self, command: str) -> dict[str, Any]:
        """Wait until a command has ended."""
        return self.until(
            lambda: self._command(
                command, lambda it: it["lifecycleStage"] in ("completed", "failed", "cancelled")
            )
        )

    def lines(self, query: str, **params: Any) -> list[str]:
        """The lines of a range query, oldest first."""
        given = {"query": query, "direction": "forward", "limit": 900, **params}
        answer = self.http.get(
            f"{self.logs_url}/logs/org/{self.org}/loki/api/v1/query_range", params=given
        )
        assert answer.status_code == 200, answer.text
        entries = [
            entry for stream in answer.json()["data"]["result"] for entry in stream["values"]
        ]
        return [line for _, line in sorted(entries, key=lambda entry: int(entry[0]))]

    def until(self, look: Callable[[], Any]) -> Any:
        """Wait for what a platform brings about in its own time."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            found = look()
            if found:
                return found
            assert time.monotonic() < deadline, "the platform did not come to it"
            time.sleep(self.poll_seconds)

    def member(self, *bindings: dict[str, Any]) -> httpx.Client:
        """A client with the key of ``key``; close it."""
        return self.client(self.key(*bindings))

    def key(self, *bindings: dict[str, Any]) -> str:
        """Return the key of a new service account.

        Args:
            bindings: A policy is created for each ``{targetKind, permissions, …}``.
        """
        account = self.create(f"{self.org_link}/serviceaccount", {"name": self.name("sa")})
        key = self.http.post(f"{account}/-addKey", json={"description": "contract"}).json()["key"]
        for binding in bindings:
            permissions = binding["permissions"]
            policy = {field: value for field, value in binding.items() if field != "permissions"}
            bound = [{"permissions": permissions, "principalLinks": [account]}]
            self.create(
                f"{self.org_link}/policy",
                {"name": self.name("policy"), **policy, "bindings": bound},
            )
        return str(key)

    def _command(self, link: str, wanted: Callable[[dict[str, Any]], Any]) -> dict[str, Any] | None:
        found = self.get(link)
        return found if wanted(found) else None
