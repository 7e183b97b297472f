"""Embedded services: a Postgres and a Prefect server that start on demand where none is configured.

with open_services(load_settings(), prefect=False) as endpoints:
    engine = create_engine(endpoints.database_url)
"""

from nightreel.services.endpoints import Endpoints, ServiceStatus, down, open_services, status, up

__all__ = ["Endpoints", "ServiceStatus", "down", "open_services", "status", "up"]
