"""The steps `build_image` and `push_image` of a `prefect.yaml`: images of the organization."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache

from cpln_flows.deploy import checks, command, machine, names, plan
from cpln_flows.deploy.checks import Build, GivenBuild, Push
from cpln_flows.deploy.names import Image
from cpln_flows.deploy.plan import Plan
from cpln_flows.deploy.run import run
from cpln_flows.errors import CplnError
from cpln_flows.settings import CplnSettings


def build_image(
    name: str,
    tag: str | None = None,
    org: str | None = None,
    *,
    dockerfile: str | None = None,
    context: str | None = None,
    builder: str | None = None,
    platform: str = names.PLATFORM,
    build_args: Mapping[str, str] | None = None,
    push: bool = False,
    **unknown: object,
) -> dict[str, str]:
    """Build an image for the registry of the organization.

    In `prefect deploy`, a step that several deployments have runs once.

    Args:
        name: Name of the image, such as ``flows``.
        tag: Its tag. Default: the commit, if the files are as committed, or else the time.
        org: The organization. Default: ``CPLN_ORG``.
        dockerfile: Path of the Dockerfile. Default: the one in the context.
        context: Folder that the Dockerfile copies from. Default: the current one.
        builder: ``cpln`` or ``docker``. Default: `cpln image build` where `cpln` is on PATH and has
            a token or a profile, and else `docker buildx build`.
        platform: The platform, of which workloads have a single one.
        build_args: Values of the Dockerfile's ``ARG``; these need docker.
        push: Whether the image is pushed as well.
        unknown: Refused.

    Returns:
        ``image`` for job variables (``//image/NAME:TAG``), ``image_name``, ``tag``, and
        ``registry_image``, by which docker knows it.

    Raises:
        ConfigurationError: Something is wrong; the message names every fault.
        ImageError: The build failed. `prefect deploy` prints the message of both alone, and exits
            with 1.

    Example:
        ```yaml
        build:
          - cpln_flows.deploy.build_image: {id: build-image, name: flows, push: true}
        ```
    """
    try:
        settings = CplnSettings.load()
        owner = settings.org if org is None else org
        build = checks.checked_build(
            GivenBuild(name, tag, owner, builder, platform, build_args, push, unknown),
            machine.source_of(context, dockerfile),
            machine.observe(settings),
            [*inspect.signature(build_image).parameters][:-1],
        )
        return dict(_built_once(build)) if command.is_deploying() else _built(build)
    except CplnError as error:
        raise command.failure(error) from None


def push_image(
    name: str,
    tag: str,
    org: str | None = None,
    builder: str | None = None,
) -> dict[str, str]:
    """Push an image that was built before to the registry of the organization.

    In `prefect deploy`, a step that several deployments have runs once.

    Args:
        name: Name of the image.
        tag: Its tag.
        org: The organization. Default: ``CPLN_ORG``.
        builder: What logs docker in: ``cpln`` or ``docker``. Default: `cpln image docker-login`
            where `cpln` has a token or a profile, and else `docker login` with ``CPLN_TOKEN``.

    Returns:
        The same as the step `build_image`.

    Raises:
        ConfigurationError: Something is wrong; the message names every fault.
        ImageError: The push failed. `prefect deploy` prints the message of both alone, and exits
            with 1.

    Example:
        ```yaml
        push:
          - cpln_flows.deploy.push_image:
              name: "{{ build-image.image_name }}"
              tag: "{{ build-image.tag }}"
        ```
    """
    try:
        settings = CplnSettings.load()
        owner = settings.org if org is None else org
        push = checks.checked_push(name, tag, owner, builder, machine.observe(settings))
        return dict(_pushed_once(push)) if command.is_deploying() else _pushed(push)
    except CplnError as error:
        raise command.failure(error) from None


def _built(build: Build) -> dict[str, str]:
    commit = machine.clean_commit(build.source.context) if build.tag is None else None
    tag = names.default_tag(commit, datetime.now(UTC)) if build.tag is None else build.tag
    image = Image(build.org, build.name, tag)
    return _run(plan.build_plan(build, image), image)


def _pushed(push: Push) -> dict[str, str]:
    image = Image(push.org, push.name, push.tag)
    return _run(plan.push_plan(push.login, image), image)


# One `prefect deploy` runs the steps of each deployment, and one image is meant for all of them.
_built_once = lru_cache(maxsize=64)(_built)
_pushed_once = lru_cache(maxsize=64)(_pushed)


def _run(steps: Plan, image: Image) -> dict[str, str]:
    settings = CplnSettings.load()
    run(steps, machine.command_environment(settings), machine.token_of(settings))
    return {
        "image": image.reference,
        "image_name": image.name,
        "tag": image.tag,
        "registry_image": image.registry_image,
    }
