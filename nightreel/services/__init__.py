"""Embedded services: a Postgres and a Prefect server that start on demand where none is configured.

with open_services(load_settings(), prefect=False) as endpoints:
    engine = create_engine(endpoints.database_url)
"""

from nightreel.services.endpoints import (
    Endpoints,
    ServiceStatus,
    down,
    login_page,
    open_services,
    prefect_api,
    running_database,
    status,
    up,
)
from nightreel.services.prefect_server import PrefectApi

__all__ = [
    "Endpoints",
    "PrefectApi",
    "ServiceStatus",
    "down",
    "login_page",
    "open_services",
    "prefect_api",
    "running_database",
    "status",
    "up",
]
