"""Makes the requests of FSDP1's wrapping as torch made them before 2.8: what NCCL has sent waits for the GPU.

Until then a broadcast recorded its stream on its tensor (ProcessGroupNCCL.cpp, `collective`, unless
TORCH_NCCL_AVOID_RECORD_STREAMS was set; pytorch pull request 148590 ended it), so that the bucket's block serves nobody
before the GPU has passed the broadcast. How far Python is ahead of it depends on where the parameters come from:

- From the host, each copy waits until the GPU has done everything. So it is on the first rank, and on the others, too,
  where the base is not quantized: transformers makes empty parameters there on the host (modeling_utils.py 4.45 to
  4.48, `_load_pretrained_model`).
- From the meta device, where a quantized base is on all ranks but the first (`_load_state_dict_into_meta_model`, and
  fms_acceleration_peft's loader of GPTQ): nothing waits, while the first broadcast waits for the first rank's weights.
  Python stops when a stream has `LAUNCHES` kernels and copies to do.

Where memory runs out the allocator waits for the GPU and goes on (CUDACachingAllocator.cpp, `release_cached_blocks`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from planner.memory.requests.fsdp1_loading import Wrapping, WrappingFactory
from planner.memory.requests.requests import Requests
from planner.memory.sharding.account import Unit
from strategies import Fsdp1, Loading, Quantization

LAUNCHES = 1024
"""Kernels and copies that wait on a stream before a launch waits, too: "about 1000", measured in
stackoverflow.com/questions/53970187, whose streams have a queue of this power of two."""


class Recorded(Wrapping):
    """Wraps units where blocks that NCCL has sent wait for the GPU.

    Args:
        requests: Takes the requests.
        groups: The parts of each unit in the order in which they are wrapped.
        ranks: The number of ranks that divide each flat parameter.
        on_host: Whether shards are moved to the host's memory.
        wraps: How the run wraps its units.
        ahead: Whether this rank runs ahead of the GPU.
    """

    def __init__(
        self,
        requests: Requests,
        groups: Sequence[Sequence[Unit]],
        ranks: int,
        *,
        on_host: bool,
        wraps: Wraps,
        ahead: bool,
    ) -> None:
        super().__init__(requests, groups, ranks, on_host=on_host)
        self._wraps, self._ahead = wraps, ahead
        self._waiting: list[tuple[int, int]] = []
        """What was retired and waits for the GPU, each with the number of launches before its end."""
        self._launched = 0
        self._joins = False
        """Whether what is sent now is a bucket, which was joined, and no parameter alone, which is sent as it is."""

    def prepare(self) -> None:
        """Makes the requests of the first forward, when the GPU has passed all broadcasts."""
        self._pass(self._launched)
        super().prepare()

    def _keep(self, shard: int) -> None:
        super()._keep(shard)
        if self._on_host:  # the copy to the host waits for the GPU
            self._pass(self._launched)

    def _flatten(self, sizes: Sequence[int], whole: int) -> int:
        before = self._launched
        shard = super()._flatten(sizes, whole)
        self._launched += 2  # the join, and the copy of the share
        if len(sizes) == 1 and not self._wraps.adapters:
            self._launched = before
        self._pass(self._launched - LAUNCHES)
        return shard

    def _move(self, num_bytes: int) -> int:
        storage = super()._move(num_bytes)
        if not self._ahead:
            self._pass(self._launched)
        return storage

    def _send(self, sizes: Sequence[int]) -> set[int]:
        alone, self._joins = set[int](), True
        buffers = self._wraps.buffers * len(sizes) if len(sizes) > 1 else 0  # an adapter has none
        for _ in range(self._wraps.broadcasts):
            alone = super()._send(sizes)
            # what a bucket received is copied back; a copy of a parameter to itself is none (Copy.cu, `src != dst`)
            self._launched += len(sizes) - len(alone) + buffers
        self._joins = False
        return alone

    def _sent(self, storage: int) -> None:
        self._launched += self._joins
        self._waiting.append((self._launched, self._requests.retire(storage)))

    def _pass(self, launches: int) -> None:
        """Lets what the GPU has passed serve others when it has done so many launches."""
        while self._waiting and self._waiting[0][0] <= launches:
            self._requests.passed(self._waiting.pop(0)[1])


class Wraps(NamedTuple):
    """Says how a run wraps its units.

    Attributes:
        ahead: Whether all ranks but the first take parameters from the meta device.
        broadcasts: Groups of ranks that a unit is sent to: one, or two under HYBRID_SHARD, of which the second is that
            of the replicas (_init_utils.py, `_init_param_handle_from_module`).
        buffers: Buffers that are sent with each parameter: 1 of GPTQ, whose weight and zeros have scales and group
            numbers beside them.
        adapters: Whether adapters are units. FSDP1 ignores those of fused LoRA (fms_acceleration_foak, utils.py), which
            no choice says.
    """

    ahead: bool = False
    broadcasts: int = 1
    buffers: int = 0
    adapters: bool = True

    @classmethod
    def of(cls, sharding: Fsdp1, quantization: Quantization, loading: Loading, world_size: int) -> Wraps:
        """Returns how units are wrapped, as choices say.

        Args:
            sharding: How the model is sharded.
            quantization: That of the base.
            loading: Which ranks of a node have the whole model; where all do, none takes it from the meta device.
            world_size: The number of ranks.
        """
        quantizes = quantization is not Quantization.NONE
        return cls(
            ahead=quantizes and loading is not Loading.EVERY_RANK,
            broadcasts=2 if sharding.replicas(world_size) > 1 else 1,
            buffers=int(quantization.is_gptq),
        )

    @property
    def of_ranks(self) -> tuple[WrappingFactory, ...]:
        """What makes the requests of the first rank, and of the others where these differ."""
        kinds = (False, True) if self.ahead else (False,)
        return tuple(partial(Recorded, wraps=self, ahead=ahead) for ahead in kinds)
