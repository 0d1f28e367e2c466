"""From readings to what prometheus-client exports. Everything is read at the scrape; nothing is kept."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Generic

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    UnknownMetricFamily,
)
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector
from typing_extensions import override

from engine.telemetry.table import Kind, Metric, Reader, Reading, Scaled, V

_FAMILIES = {
    Kind.COUNTER: CounterMetricFamily,
    Kind.GAUGE: GaugeMetricFamily,
    Kind.UNTYPED: UnknownMetricFamily,
}


class TableCollector(Collector, Generic[V]):
    """The metrics of one table; none while there is nothing to be viewed."""

    def __init__(
        self, table: Sequence[Metric], readers: Mapping[str, Reader[V]], view: Callable[[], V | None]
    ) -> None:
        self._table = table
        self._readers = readers
        self._view = view

    @override
    def collect(self) -> Iterator[Family]:
        """All metrics of the table, those without a value too."""
        view = self._view()
        if view is None:
            return
        for metric in self._table:
            readings = self._readers[metric.name](view)
            if metric.kind is Kind.HISTOGRAM:
                yield _histogram(metric.name, metric.help, metric.labels, readings)
            else:
                family = _FAMILIES[metric.kind](metric.name, metric.help, labels=metric.labels)
                for labels, value in readings:
                    assert not isinstance(value, Scaled), f"{metric.name} is no histogram"
                    family.add_metric(labels, value)
                yield family


def _histogram(name: str, text: str, labels: tuple[str, ...], readings: Iterator[Reading]) -> Family:
    family = HistogramMetricFamily(name, text, labels=labels)
    for values, scaled in readings:
        assert isinstance(scaled, Scaled), f"{name} is a histogram"
        buckets, total = _buckets(scaled)
        family.add_metric(values, buckets, total)
    return family


def _buckets(scaled: Scaled) -> tuple[list[tuple[str, float]], float]:
    histogram, units = scaled.histogram, scaled.units
    bounds = [*(repr(bound / units) for bound in histogram.bounds), "+Inf"]
    # One copy: counts that grow meanwhile would make buckets that shrink.
    total, count = histogram.total, 0
    buckets: list[tuple[str, float]] = []
    for bound, more in zip(bounds, list(histogram.counts), strict=True):
        count += more
        buckets.append((bound, count))
    return buckets, total / units
