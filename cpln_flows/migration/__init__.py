"""What Prefect 2 saved, moved over to Prefect 3 and this package: blocks, work pools, deployments, programs and settings."""
