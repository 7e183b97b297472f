"""Numbers for Prometheus: what a run counts, what waits in Postgres, what the devices have, and who serves them.

Runs serve them while they last, `nightreel metrics` for as long as one likes. Labels are words of our own alone:
nothing of names, answers or files.
"""

from nightreel.metrics.backlog import BacklogCollector
from nightreel.metrics.devices import DeviceCollector
from nightreel.metrics.endpoint import metrics_text, serve_metrics
from nightreel.metrics.run import RunMetrics

__all__ = ["BacklogCollector", "DeviceCollector", "RunMetrics", "metrics_text", "serve_metrics"]
