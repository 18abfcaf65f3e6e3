"""Describes a machine as clouds rent it: its GPUs, host memory, network, and what an hour costs."""

from datetime import date
from typing import Protocol

from pydantic import Field

from hardware.fields import BytesPerSecond, Count, Day, Frozen, HostMemoryBytes, Name, Text, Usd


class Priced(Protocol):
    """Describes what has a price: a machine, or a GPU that is rented alone; all is None where it is not known."""

    @property
    def price_per_hour_usd(self) -> float | None:
        """Returns US dollars, without taxes, storage and traffic."""
        ...

    @property
    def price_date(self) -> date | None:
        """Returns the day on which the price was read."""
        ...

    @property
    def price_source(self) -> str | None:
        """Returns where the price was read, and its tier."""
        ...


class Machine(Frozen):
    """Describes one node that is rented as a whole; its price is that of all its GPUs together."""

    name: Name
    aliases: tuple[Name, ...] = ()
    provider: Text
    gpu: Name
    """Name or alias of a GPU of the catalog."""
    gpus: Count = 1
    host_memory_bytes: HostMemoryBytes | None = None
    """Bytes of the whole machine; None where they are not known, which takes what is usual with its GPUs."""
    network_bytes_per_second: BytesPerSecond | None = None
    """Bandwidth of the whole machine to others, in one direction; None where it is not known."""
    price_per_hour_usd: Usd | None = None
    """US dollars for all its GPUs, without taxes, storage and traffic; None where no price is known."""
    price_date: Day | None = None
    """Day on which the price was read; None where nobody has written it down."""
    price_source: Text | None = None
    """Where the price was read, and its tier."""
    region: Text | None = None
    """Where the price holds."""
    spot: bool = Field(default=False, strict=True)
    """Whether the provider may take the machine back at any time, which the price then reflects."""
    source: Text

    @property
    def offer(self) -> str:
        """Returns provider, region and tier in words, such as `AWS, us-east-1` or `RunPod, spot`."""
        return ", ".join(part for part in (self.provider, self.region, "spot" if self.spot else None) if part)
