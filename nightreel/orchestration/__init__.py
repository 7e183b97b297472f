"""Prefect: memory leases, runs, shards, nights, deployments and workers. Nothing below this package knows Prefect."""
