"""What a server holds that was migrated from Prefect 2.

Block documents with the schemas of that time, agent pools, and deployments.
"""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate

CONFIG, CREDENTIALS, JOB = "control-plane-configuration", "control-plane-credentials", "cpln-job"
INFRASTRUCTURE, INFRASTRUCTURE_CONFIG = (
    "control-plane-infrastructure",
    "control-plane-infrastructure-config",
)
NAMES = {
    CONFIG: "Control Plane Configuration",
    CREDENTIALS: "Control Plane Credentials",
    JOB: "Control Plane Job",
    INFRASTRUCTURE: "Control Plane Infrastructure",
    INFRASTRUCTURE_CONFIG: "Control Plane Infrastructure Config",
}
NESTED = {
    CREDENTIALS: ("config", CONFIG),
    JOB: ("credentials", CREDENTIALS),
    INFRASTRUCTURE: ("config", INFRASTRUCTURE_CONFIG),
}
PREFECT_2 = "docker.io/prefecthq/prefect:2-latest"
UI_VARIABLES = (
    "org",
    "namespace",
    "location",
    "name",
    "command",
    "labels",
    "env",
    "image",
    "service_account_name",
    "job_watch_timeout_seconds",
    "pod_watch_timeout_seconds",
    "stream_output",
    "config",
)


def fork_template(**defaults: Any) -> dict[str, Any]:
    """The template of a pool that was made on the fork's pages."""
    pod = {
        "parallelism": 1,
        "completions": 1,
        "restartPolicy": "Never",
        "serviceAccountName": "{{ service_account_name }}",
        "containers": [
            {
                "name": "prefect-job",
                "env": "{{ env }}",
                "image": "{{ image }}",
                "args": "{{ command }}",
            }
        ],
    }
    manifest = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "labels": "{{ labels }}",
            "namespace": "{{ namespace }}",
            "generateName": "{{ name }}-",
        },
        "spec": {"backoffLimit": 0, "template": {"spec": pod}},
    }
    configuration = {
        name: f"{{{{ {name} }}}}"
        for name in UI_VARIABLES
        if name not in {"image", "service_account_name"}
    }
    properties: dict[str, Any] = {name: {"title": name, "type": "string"} for name in UI_VARIABLES}
    properties["labels"] = properties["env"] = {
        "type": "object",
        "additionalProperties": {"type": "string"},
    }
    properties["job_watch_timeout_seconds"] = {"type": "integer"}
    properties["pod_watch_timeout_seconds"] = {"type": "integer", "default": 60}
    properties["stream_output"] = {"type": "boolean", "default": True}
    properties["image"] = {"type": "string", "default": PREFECT_2}
    properties["config"] = {"allOf": [{"$ref": "#/definitions/ControlPlaneConfiguration"}]}
    definition = {
        "title": "Control Plane Configuration",
        "type": "object",
        "properties": {"token": {"title": "Token", "type": "string"}},
        "block_type_slug": CONFIG,
        "secret_fields": [],
        "block_schema_references": {},
    }
    properties = copy.deepcopy(properties)
    for name, value in defaults.items():
        properties[name]["default"] = value
    return {
        "job_configuration": {**configuration, "job_manifest": manifest},
        "variables": {
            "type": "object",
            "properties": properties,
            "definitions": {"ControlPlaneConfiguration": definition},
        },
    }


def infrastructure(**fields: Any) -> dict[str, Any]:
    """Return an infrastructure block's fields as the fork stored them without ``CPLN_*`` set."""
    pod = {
        "parallelism": 1,
        "completions": 1,
        "restartPolicy": "Never",
        "containers": [{"name": "prefect-job", "env": []}],
    }
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"labels": {}},
        "spec": {"template": {"spec": pod}},
    }
    return {
        "type": "cpln-infrastructure",
        "env": {},
        "labels": {},
        "name": None,
        "command": None,
        "org": None,
        "namespace": None,
        "location": "",
        "service_account_name": None,
        "job": job,
        "customizations": [],
        "image": PREFECT_2,
        "job_watch_timeout_seconds": None,
        "pod_watch_timeout_seconds": 60,
        "stream_output": True,
        **fields,
    }


class Prefect2:
    """Makes what Prefect 2 has left on a server.

    Args:
        client: A client of the server.
    """

    def __init__(self, client: SyncPrefectClient) -> None:
        self._client = client
        self._schemas: dict[str, tuple[str, str, str]] = {}

    def document(self, slug: str, name: str, data: dict[str, Any], **references: UUID) -> UUID:
        """Save a block document with the schema that its type had then."""
        type_id, schema_id, _ = self._schema(slug)
        fields = data | {
            field: {"$ref": {"block_document_id": str(found)}}
            for field, found in references.items()
        }
        body = {
            "name": name,
            "data": fields,
            "block_schema_id": schema_id,
            "block_type_id": type_id,
        }
        return UUID(self._post("/block_documents/", body)["id"])

    def pool(
        self,
        name: str,
        kind: str = "prefect-agent",
        template: dict[str, Any] | None = None,
        **fields: Any,
    ) -> None:
        """Make a work pool."""
        self._client.create_work_pool(
            WorkPoolCreate(name=name, type=kind, base_job_template=template or {}, **fields)
        )

    def deployment(self, flow: str, name: str, pool: str, **fields: Any) -> UUID:
        """Make a deployment that runs every hour, and has missed two of these."""
        body = {
            "name": name,
            "flow_id": str(self._client.create_flow_from_name(flow)),
            "work_pool_name": pool,
            "schedules": [
                {
                    "schedule": {"interval": 3600, "anchor_date": "2026-01-01T00:00:00Z"},
                    "active": True,
                }
            ],
            **{
                key: str(value) if isinstance(value, UUID) else value
                for key, value in fields.items()
            },
        }
        made = UUID(self._post("/deployments/", body)["id"])
        now = datetime.now(UTC)
        times = {"start_time": (now - timedelta(hours=2)).isoformat(), "end_time": now.isoformat()}
        self._post(f"/deployments/{made}/schedule", times)
        return made

    def _schema(self, slug: str) -> tuple[str, str, str]:
        if slug not in self._schemas:
            self._schemas[slug] = self._made_schema(slug)
        return self._schemas[slug]

    def _made_schema(self, slug: str) -> tuple[str, str, str]:
        fields: dict[str, Any] = {
            "title": NAMES[slug],
            "type": "object",
            "properties": {"of_prefect_2": {"type": "string"}},
            "block_type_slug": slug,
            "block_schema_references": {},
            "secret_fields": [],
        }
        if slug in NESTED:
            field, inner = NESTED[slug]
            self._schema(inner)
            fields["block_schema_references"] = {
                field: {"block_type_slug": inner, "block_schema_checksum": self._schemas[inner][2]}
            }
        type_id = self._type(slug)
        body = {
            "fields": fields,
            "block_type_id": type_id,
            "capabilities": [],
            "version": "2.20.25",
        }
        schema = self._post("/block_schemas/", body)
        return type_id, schema["id"], schema["checksum"]

    def _type(self, slug: str) -> str:
        found = self._client._client.get(f"/block_types/slug/{slug}") if self._knows(slug) else None
        made = (
            self._post("/block_types/", {"name": NAMES[slug], "slug": slug})
            if found is None
            else found.json()
        )
        return str(made["id"])

    def _knows(self, slug: str) -> bool:
        return any(
            found["slug"] == slug for found in self._post("/block_types/filter", {"limit": 200})
        )

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        response = self._client._client.post(path, json=body)
        response.raise_for_status()
        return response.json()
