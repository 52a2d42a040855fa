"""Counters and a histogram in Prometheus' text format. No names, no addresses, nothing of a picture."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Mapping
from time import monotonic, time

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)  # seconds


class Metrics:
    """What is counted from the start of the process on. Several threads may count at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._start = time()
        self._begun = monotonic()
        self._requests: Counter[tuple[str, int]] = Counter()
        self._pictures: Counter[str] = Counter({"answered": 0, "refused": 0})
        self._buckets: dict[str, list[int]] = {}
        self._seconds: defaultdict[str, float] = defaultdict(float)

    def request(self, route: str, code: int, seconds: float) -> None:
        """One that was answered.

        Args:
            route: As it is declared, never as it was asked for.
            code: The HTTP status.
            seconds: From its arrival as a whole to its answer.
        """
        with self._lock:
            self._requests[route, code] += 1
            self._buckets.setdefault(route, [0] * (len(_BOUNDS) + 1))[bisect_left(_BOUNDS, seconds)] += 1
            self._seconds[route] += seconds

    def picture(self, answered: bool) -> None:
        """One that was answered, or that could not be assessed."""
        with self._lock:
            self._pictures["answered" if answered else "refused"] += 1

    def text(self, gauges: Mapping[str, tuple[str, float]]) -> str:
        """All of it as Prometheus reads it.

        Args:
            gauges: Name -> (what it is, value), of what is measured now.
        """
        with self._lock:
            lines = _head("skin_edge_requests_total", "counter", "Requests by route and HTTP status.")
            for (route, code), count in sorted(self._requests.items()):
                lines.append(f'skin_edge_requests_total{{route="{route}",code="{code}"}} {count}')
            lines += _head("skin_edge_pictures_total", "counter", "Pictures that were answered, or not assessed.")
            lines += [f'skin_edge_pictures_total{{outcome="{name}"}} {n}' for name, n in self._pictures.items()]
            name = "skin_edge_request_seconds"
            lines += _head(name, "histogram", "Time from a request's arrival as a whole to its answer.")
            for route, counts in sorted(self._buckets.items()):
                total = 0
                for bound, count in zip((*map(str, _BOUNDS), "+Inf"), counts, strict=True):
                    total += count
                    lines.append(f'{name}_bucket{{route="{route}",le="{bound}"}} {total}')
                lines.append(f'{name}_sum{{route="{route}"}} {self._seconds[route]:.6f}')
                lines.append(f'{name}_count{{route="{route}"}} {total}')
        now = {
            **gauges,
            "skin_edge_uptime_seconds": ("Since the start.", round(monotonic() - self._begun, 3)),
            "process_start_time_seconds": ("Unix time of the start.", round(self._start, 3)),
        }
        for gauge, (described, value) in now.items():
            lines += [*_head(gauge, "gauge", described), f"{gauge} {value:g}" if value < 1e6 else f"{gauge} {value}"]
        return "\n".join(lines) + "\n"


def _head(name: str, kind: str, described: str) -> list[str]:
    return [f"# HELP {name} {described}", f"# TYPE {name} {kind}"]
