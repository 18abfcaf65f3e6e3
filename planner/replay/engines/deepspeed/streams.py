"""Makes stages 1 and 2 reduce gradients on a stream of their own where `overlap_comm` asks for it, as on a GPU.

Source: deepspeed/runtime/zero/stage_1_and_2.py, `average_tensor` and `reduce_ipg_grads`. What is allocated there, a
bucket's slices in one tensor and this rank's part of the gradients, comes from a pool of that stream.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch

from planner.allocator.streams import Stream
from planner.replay.recording.streams import name_stream, share


class Event:
    """Stands for an event of a GPU, for which the CPU never waits."""

    def record(self, stream: Any) -> None:
        """Does nothing."""

    def synchronize(self) -> None:
        """Does nothing."""


@contextmanager
def with_streams() -> Iterator[None]:
    """Gives DeepSpeed's accelerator of the CPU the streams that torch keeps for it."""
    from deepspeed.accelerator import get_accelerator

    accelerator = get_accelerator()
    found = {
        "resolves_data_dependency": lambda: False,
        "stream": torch.cpu.stream,
        "current_stream": lambda device_index=None: torch.cpu.current_stream(),
    }
    with ExitStack() as stack:
        for name, function in found.items():
            stack.enter_context(mock.patch.object(accelerator, name, function))
        stack.enter_context(mock.patch.object(type(accelerator), "Event", Event))
        stack.enter_context(mock.patch.object(torch.Tensor, "record_stream", share))
        yield


def reduction_stream() -> Any:
    """Returns a stream for the reduction of gradients."""
    stream = torch.cpu.Stream()
    name_stream(stream, Stream.REDUCE)
    return stream
