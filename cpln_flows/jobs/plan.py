"""What a job will be, before anything is sent: its workload, its command and who owns it. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from cpln_flows.manifest.limits import workload_name
from cpln_flows.manifest.manifest import JobManifest, spec_hash
from cpln_flows.model import identifiers
from cpln_flows.model.identifiers import Owner, Role, Submission
from cpln_flows.model.links import GvcRef, WorkloadRef

_HASH_LENGTH = 12


@dataclass(frozen=True)
class Grant:
    """An identity that is created for a job, and the policy of the same name.

    Attributes:
        name: Name of both.
        gvc: Where the identity lives.
        secrets: What it may reveal.
    """

    name: str
    gvc: GvcRef
    secrets: frozenset[str]

    @property
    def identity(self) -> str:
        """Link of the identity."""
        return f"{self.gvc.path}/identity/{self.name}"


@dataclass(frozen=True)
class JobPlan:
    """One intended job.

    If ``private`` is set, the workload is created for this job alone and deleted after it.
    Otherwise, jobs of the same specification and the same ``shared_name`` share a workload.
    ``labels`` are further tags of the command.
    """

    gvc: GvcRef
    location: str
    manifest: JobManifest
    submission: Submission
    owner: Owner
    role: Role = Role.JOB
    private: bool = True
    shared_name: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def grant(self) -> Grant | None:
        """The identity that the job gets; ``None`` if it uses no secret, or names an identity.

        It is named after the workload if that is private, else after the set of secrets.
        """
        used = self.manifest.secrets
        if not used or self.manifest.identity is not None:
            return None
        if self.private:
            return Grant(self.workload_of(self.submission.attempt).name, self.gvc, used)
        digest = hashlib.sha256("\n".join((self.gvc.path, *sorted(used))).encode()).hexdigest()
        return Grant(f"job-secrets-{digest[:_HASH_LENGTH]}", self.gvc, used)

    @property
    def granted(self) -> JobManifest:
        """The manifest with the identity that the job runs as."""
        grant = self.grant
        return self.manifest if grant is None else replace(self.manifest, identity=grant.identity)

    @property
    def spec_hash(self) -> str:
        """What jobs with interchangeable workloads share."""
        return spec_hash(self.granted)

    def workload_of(self, attempt: int, generation: int = 0) -> WorkloadRef:
        """Return the workload that this attempt runs on.

        It is always the same one, so that whoever repeats the attempt finds it.

        Args:
            attempt: Which attempt of the submission; matters only for private workloads.
            generation: Which successor of a shared workload that was idle for too long.
        """
        if self.private:
            suffix = Submission(self.submission.id, attempt).suffix
            return self.gvc.workload(workload_name(self.manifest.name, suffix))
        # Named after what the hash covers, or as the user chose: one specification cannot end up
        # with two names by chance.
        suffix = self.spec_hash[:_HASH_LENGTH] + (f"g{generation}" if generation else "")
        return self.gvc.workload(workload_name(self.shared_name or self.manifest.main.name, suffix))

    def workload_body(self, workload: WorkloadRef) -> dict[str, Any]:
        """Return the workload's manifest."""
        tags = identifiers.workload_tags(spec_hash=self.spec_hash, job_type=self.manifest.job_type)
        return self.granted.workload(name=workload.name, tags=tags, shared=not self.private)

    @property
    def command_tags(self) -> dict[str, str]:
        """Tags of the command: who owns it and which submission it is."""
        return dict(self.labels) | self.owner.tags(self.role) | self.submission.tags

    @property
    def search_tags(self) -> Mapping[str, str]:
        """Tags that find every command of this submission.

        For the container of a flow run, they find the commands of this attempt only: what an
        earlier attempt left behind runs that attempt's code.
        """
        tags = {identifiers.SUBMISSION: str(self.submission.id), identifiers.ROLE: str(self.role)}
        return tags | self.submission.tags if self.role is Role.CONTAINER else tags
