"""A flow that needs nothing but Prefect: it shows how many stars some repositories have."""

import httpx
from prefect import flow, task


@task(log_prints=True)
def fetch_stars(repository: str, api_url: str) -> int:
    """Fetch the stars of one repository."""
    answer = httpx.get(f"{api_url}/repos/{repository}", timeout=60)
    answer.raise_for_status()
    stars: int = answer.json()["stargazers_count"]
    print(f"{repository} has {stars} stars")
    return stars


@flow(name="show-stars")
def show_stars(github_repos: list[str], api_url: str = "https://api.github.com") -> dict[str, int]:
    """Show the stars of repositories."""
    return {repository: fetch_stars(repository, api_url) for repository in github_repos}
