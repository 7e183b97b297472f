"""Embedded services: a Postgres and a Prefect server of one's own, for those who have configured neither.

with open_services(load_settings(), prefect=False) as endpoints:
    engine = create_engine(endpoints.database_url)
"""

from nightreel.services.endpoints import Endpoints, ServiceStatus, down, open_services, status, up

__all__ = ["Endpoints", "ServiceStatus", "down", "open_services", "status", "up"]
