"""Counts and times, in Prometheus' text format.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping

__all__ = ["Metrics"]

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)  # seconds


class Metrics:
    """Requests by path, method and status; their times by path; those that are open now."""

    def __init__(self) -> None:
        self.open = 0
        self.connections = self.dropped_connections = 0
        self.wrong_tokens = 0
        self.body_bytes = 0  # of requests that have no answer yet
        self.requests: Counter[tuple[str, str, int]] = Counter()
        self._times: dict[str, list[int]] = {}
        self._sums: dict[str, float] = {}

    def record(self, path: str, method: str, status: int, seconds: float) -> None:
        """Count a request.

        Args:
            path: The route's template, not the path with ids: there are few of them.
            method: Such as "GET".
            status: Of the answer; 499, as nginx says it, if the client left before.
            seconds: From the first byte to the last.
        """
        self.requests[path, method, status] += 1
        counts = self._times.setdefault(path, [0] * (len(BUCKETS) + 1))
        counts[bisect_left(BUCKETS, seconds)] += 1
        self._sums[path] = self._sums.get(path, 0.0) + seconds

    def text(self, gauges: Mapping[str, tuple[str, float]]) -> str:
        """Everything, with what is measured now.

        Args:
            gauges: Name -> (what it is, its value).
        """
        lines = _head("lavallama_requests_total", "counter", "Requests that were answered.")
        lines += [
            f'lavallama_requests_total{{path="{path}",method="{method}",status="{status}"}} {count}'
            for (path, method, status), count in sorted(self.requests.items())
        ]
        name = "lavallama_request_seconds"
        lines += _head(name, "histogram", "Time from a request's first byte to its answer's last.")
        for path, counts in sorted(self._times.items()):
            total = 0
            for bound, count in zip((*map(str, BUCKETS), "+Inf"), counts, strict=True):
                total += count
                lines.append(f'{name}_bucket{{path="{path}",le="{bound}"}} {total}')
            lines.append(f'{name}_sum{{path="{path}"}} {self._sums[path]:.6f}')
            lines.append(f'{name}_count{{path="{path}"}} {total}')
        for gauge, (what, value) in gauges.items():
            kind = "counter" if gauge.endswith("_total") else "gauge"
            lines += [*_head(gauge, kind, what), f"{gauge} {value:g}"]
        return "\n".join(lines) + "\n"


def _head(name: str, kind: str, what: str) -> list[str]:
    return [f"# HELP {name} {what}", f"# TYPE {name} {kind}"]
