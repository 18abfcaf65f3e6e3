"""Holds how long a run over a number of samples may take, and what it may cost."""

from typing import NamedTuple

TOO_SLOW = "takes longer than the deadline"
"""Reason of a strategy that fits, with which no run ends before the deadline."""
TOO_DEAR = "costs more than the budget"
"""Reason of one whose runs cost too much."""


class RunLimits(NamedTuple):
    """Bounds the time and the price of a run.

    Attributes:
        samples: Samples of the run, all epochs together; None if no run is asked for.
        seconds: Most seconds; None for any number.
        usd: Most US dollars; None for any number.
        usd_per_second: Price of all GPUs; None if it is not known.
    """

    samples: float | None = None
    seconds: float | None = None
    usd: float | None = None
    usd_per_second: float | None = None

    @property
    def bind(self) -> bool:
        """Returns whether there is a limit."""
        return self.samples is not None and (self.seconds is not None or self.usd is not None)

    def exceeded(self, seconds_per_sample: float) -> str | None:
        """Returns the reason why a run is over a limit, or None if it is not.

        Args:
            seconds_per_sample: Seconds of a step over the samples of a step.
        """
        takes = (self.samples or 0) * seconds_per_sample
        if self.seconds is not None and takes > self.seconds:
            return TOO_SLOW
        if self.usd is not None and takes * (self.usd_per_second or 0) > self.usd:
            return TOO_DEAR
        return None


NO_LIMITS = RunLimits()
