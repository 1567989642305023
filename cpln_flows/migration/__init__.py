"""Move what Prefect 2 saved over to Prefect 3 and this package.

That covers blocks, work pools, deployments, programs and settings.
"""
