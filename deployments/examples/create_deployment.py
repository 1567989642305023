"""Deploy a flow from a git repository to the work pool `cpln`.

Each run clones the repository into its container.

Usage: python create_deployment.py REPOSITORY [ENTRYPOINT]

REPOSITORY is the URL of a git repository, or the path of one that containers can reach.
"""

import sys

from prefect import flow
from prefect.runner.storage import GitRepository

REPOSITORIES = ["PrefectHQ/prefect", "pydantic/pydantic", "huggingface/transformers"]


def main(
    repository: str, entrypoint: str = "deployments/examples/show_stars.py:show_stars"
) -> None:
    """Create the deployment `show-stars/show-stars-deployment`."""
    flow.from_source(source=GitRepository(url=repository), entrypoint=entrypoint).deploy(
        name="show-stars-deployment",
        work_pool_name="cpln",
        parameters={"github_repos": REPOSITORIES},
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
