"""OpenTelemetry for all executions of an engine: `Engine(observers=[Telemetry()])`, with the extra `asfn[otel]`.

Off unless asked for; `import asfn` never loads opentelemetry. What is told stands in `spans.py` and `metrics.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from asfn.observe.metrics import Metrics
from asfn.observe.spans import Spans

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

    from asfn.runtime.handle import ExecutionInfo


class Telemetry(Spans, Metrics):
    """Spans and metrics in one observer; `Spans` or `Metrics` by themselves cost less.

    tracer_provider, meter_provider: the global ones by default.
    Raises ImportError, with what to install, when opentelemetry is missing.
    """

    def __init__(
        self, *, tracer_provider: TracerProvider | None = None, meter_provider: MeterProvider | None = None
    ) -> None:
        Spans.__init__(self, tracer_provider=tracer_provider)
        Metrics.__init__(self, meter_provider=meter_provider)

    def status_changed(self, execution: ExecutionInfo) -> None:
        """Begin or end the execution's span, and count."""
        Metrics.status_changed(self, execution)
        Spans.status_changed(self, execution)

    def execution_resumed(self, execution: ExecutionInfo, at: float) -> None:
        """Begin a span for the rest of the execution, and count it as open."""
        Metrics.execution_resumed(self, execution, at)
        Spans.execution_resumed(self, execution, at)

    def execution_parked(self, execution: ExecutionInfo, error: BaseException | None, at: float) -> None:
        """End the open spans, and do not count the execution as open any more."""
        Metrics.execution_parked(self, execution, error, at)
        Spans.execution_parked(self, execution, error, at)
