"""Prefect: memory leases, runs, shards, nights, deployments and workers. No package below this one imports Prefect."""
