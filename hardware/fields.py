"""Defines the fields of catalog entries: numbers within bounds that catch wrong units, names and texts."""

import math
from datetime import date, datetime
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from hardware.sizes import PATTERN, size_of

MIB = 2**20
"""Bytes of a MiB."""
GIB = 2**30
"""Bytes of a GiB."""


def _whole_number(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int):
        raise PydanticCustomError("whole_number", "must be a whole number without quotes or exponent")
    return value


def _size(value: object) -> object:
    """Accepts sizes with their unit, such as `48GB` or `47.5GiB`, besides whole numbers of bytes."""
    if isinstance(value, str) and (size := size_of(value)) is not None:
        return size
    if isinstance(value, bool) or not isinstance(value, int):
        raise PydanticCustomError("size", "must be a number of bytes, or a size such as 48GB")
    return value


def _rate(value: object) -> object:
    """Accepts numbers in strings too: YAML 1.1 reads `1555e9` as a string (a number would be `1.555e+12`)."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise PydanticCustomError("rate", "must be a number such as 1555e9")
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise PydanticCustomError("rate", "must be a number such as 1555e9") from None
    if not math.isfinite(number):
        raise PydanticCustomError("rate", "must be finite")
    return value if isinstance(value, int) else round(number)


def _printable(text: str) -> str:
    """Refuses control characters, which would reach the terminal that shows the entry."""
    if not text.isprintable():
        raise PydanticCustomError("printable", "must be one line without control characters")
    return text


def _day(value: object) -> object:
    """Refuses numbers, which pydantic would take for seconds since 1970, and times of a day."""
    if isinstance(value, datetime) or not isinstance(value, date | str):
        raise PydanticCustomError("day", "must be a day such as 2026-11-09")
    return value


_WHOLE: Final = {"type": "integer"}
_SIZE: Final = {"type": ["integer", "string"], "pattern": f"^{PATTERN}$"}
_NUMBER: Final = {"type": ["number", "string"], "pattern": r"^[0-9][0-9_]*(\.[0-9]*)?([eE][+-]?[0-9]+)?$"}


def _within(least: int, most: int, kind: dict[str, Any] = _WHOLE) -> tuple[Any, ...]:
    """Returns what bounds a number, for pydantic and in JSON Schemas, where a function hides the bounds."""
    return Field(ge=least, le=most), WithJsonSchema({**kind, "minimum": least, "maximum": most})


# The bounds catch wrong units: they allow ten times the largest part on sale in 2025, and no number in GB or TFLOPS.
MemoryBytes = Annotated[int, BeforeValidator(_size), *_within(16 * MIB, 4096 * GIB, _SIZE)]
HostMemoryBytes = Annotated[int, BeforeValidator(_size), *_within(16 * MIB, 65536 * GIB, _SIZE)]
BytesPerSecond = Annotated[int, BeforeValidator(_rate), *_within(10**6, 10**14, _NUMBER)]
FlopsPerSecond = Annotated[int, BeforeValidator(_rate), *_within(10**6, 10**18, _NUMBER)]
Usd = Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False, strict=True)]
Day = Annotated[date, BeforeValidator(_day)]
Count = Annotated[int, BeforeValidator(_whole_number), *_within(1, 1024)]
Text = Annotated[str, Field(strict=True, min_length=1, max_length=1000, pattern=r"\S"), AfterValidator(_printable)]
Name = Annotated[str, Field(strict=True, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._+-]*$")]


class Frozen(BaseModel):
    """Makes models immutable, and refuses unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)  # most commands ask for one of them
