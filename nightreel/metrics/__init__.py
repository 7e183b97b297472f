"""Metrics for Prometheus: counters of a run, the backlog in Postgres, the devices' memory, and the endpoint.

Runs serve them while they last; `nightreel metrics` serves them between runs too. Labels are Nightreel's own words:
they contain no names, answers or files.
"""

from nightreel.metrics.backlog import BacklogCollector
from nightreel.metrics.devices import DeviceCollector
from nightreel.metrics.endpoint import metrics_text, serve_metrics
from nightreel.metrics.run import RunMetrics

__all__ = ["BacklogCollector", "DeviceCollector", "RunMetrics", "metrics_text", "serve_metrics"]
