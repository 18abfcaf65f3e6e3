"""Rewrites the loading phase of a trace for a model in NF4, as transformers, bitsandbytes and PEFT load it.

Weights are quantized one by one while they are loaded, in transformers 5.0 to 5.2 in a random order (see
benchmarks/measured/loading_orders.py). A packed weight therefore often gets a block that is cut from a larger free
one, and keeps the remainder if that is at most 1 MiB. Then everything that is not quantized is cast to fp32, and the
adapters are added. Sources: transformers, modeling_utils.py `caching_allocator_warmup` and core_model_loading.py
`convert_and_load_state_dict_in_model`; bitsandbytes, functional.py `quantize_4bit` and `quantize_blockwise`; PEFT,
utils/other.py `prepare_model_for_kbit_training`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch

from planner.memory.settings.dtypes import FP32
from planner.replay.extension.blocks import BlockRun, repeats_of
from planner.replay.recording.recorder import LiveBytes
from planner.replay.recording.trace import Event, Label, Scope
from planner.replay.setup.build import is_nf4, stored
from planner.replay.stand_ins.quantized.nf4 import Linear4bit
from strategies import Strategy

_WITHIN_PEFT = "base_model.model."
"""Prefix that PEFT's wrapper adds to the names of the model's parameters."""

LOADED = ", loaded"
"""Suffix of a weight's name in the trace as it is loaded, before it is quantized or cast."""

_TABLE = 16 * FP32
"""Bytes of the table of NF4's 16 values (`get_4bit_type`)."""

_SCALE_TABLE = 256 * FP32
"""Bytes of the table that decodes scales in 8 bits (`create_dynamic_map`)."""


class Placed(NamedTuple):
    """A parameter or buffer of the model, adapters included."""

    name: str
    tensor: torch.Tensor
    scope: Scope | None
    """Block that it belongs to; None outside the runs of blocks."""

    @property
    def is_adapter(self) -> bool:
        """Whether PEFT added it as part of a LoRA adapter."""
        return "lora_" in self.name

    @property
    def checkpoint_name(self) -> str:
        """Its name in the base model's checkpoint."""
        return self.name.removeprefix(_WITHIN_PEFT).replace(".base_layer.", ".")


class Loading:
    """Rewrites the events of the loading phase, which so far allocate only what the model keeps.

    Args:
        live: The recorder, whose last section is the loading phase.
        model: The model with its adapters and the stand-ins of its quantized layers.
        itemsize: Bytes per element of the weights as they are loaded.
        runs: The runs of replayed blocks, which say how many blocks of the model were left out.
    """

    def __init__(self, live: LiveBytes, model: torch.nn.Module, itemsize: int, runs: list[BlockRun]) -> None:
        self.live, self.itemsize, self.runs = live, itemsize, runs
        self.quantized = {id(m.weight): m for m in model.modules() if isinstance(m, Linear4bit)}
        self.events = live.trace.sections[-1].events
        self.kept = {event.storage: event.size for event in self.events}

    def rewrite(self, parameters: list[Placed], buffers: list[Placed], *, empties_cache: bool) -> None:
        """Replaces the events of the loading phase.

        Args:
            parameters: All parameters of the model.
            buffers: All buffers of the model.
            empties_cache: Whether PEFT empties the allocator's cache after its casts, as it does from version 0.20 on
                (huggingface/peft pull request 3293).
        """
        self.events.clear()
        base = [p for p in parameters if not p.is_adapter]
        self._warm_up(base)
        loaded = self._load(base)
        scales = {id(buffer) for m in self.quantized.values() for buffer in m.buffers(recurse=False)}
        self._place(b for b in buffers if id(b.tensor) not in scales)
        for weight in base:
            if id(weight.tensor) in loaded:
                self._place([weight])
                self._free(loaded[id(weight.tensor)], self._half(weight), weight.scope)
        if empties_cache and loaded:
            self.live.empty_cache()
        self._place(p for p in parameters if p.is_adapter)

    def _warm_up(self, base: list[Placed]) -> None:
        """Allocates the bytes of all weights of the model as one block and frees it again, as transformers does."""
        size = 0
        for weight in base:
            packed = id(weight.tensor) in self.quantized
            size += repeats_of(weight.scope, self.runs) * (weight.tensor.numel() if packed else self._half(weight))
        self._free(self._hold(size, "reserved for loading", None), size, None)

    def _load(self, base: list[Placed]) -> dict[int, int]:
        """Loads the weights in the order of the checkpoint's names, and quantizes those that are.

        Returns:
            The storages of the weights that are not quantized, by the `id` of the tensor.
        """
        from transformers.core_model_loading import dot_natural_key

        loaded, tables = {}, False
        for weight in sorted(base, key=lambda p: dot_natural_key(p.checkpoint_name)):
            layer = self.quantized.get(id(weight.tensor))
            if layer is None and weight.tensor.itemsize == self.itemsize:  # nothing is cast: it stays where it is
                self._place([weight])
                continue
            storage = self._hold(self._half(weight), f"{weight.name}{LOADED}", weight.scope)
            if layer is None:
                loaded[id(weight.tensor)] = storage
                continue
            self._quantize(weight, layer, shared_table=tables or not layer.quantized_scales)
            self._free(storage, self._half(weight), weight.scope)
            tables = True
        return loaded

    def _quantize(self, weight: Placed, layer: Linear4bit, *, shared_table: bool) -> None:
        """Writes the allocations and frees of `quantize_4bit` for a weight.

        With double quantization the table that decodes scales is made once for the process (`shared_table`: whether it
        exists already), and copied for each weight.
        """
        scope, scales_bytes = weight.scope, layer.scales * FP32
        if not layer.quantized_scales:
            self._place([weight._replace(tensor=layer.absmax), weight])
            self._hold(_TABLE, "NF4's values", scope, "parameters")
            return
        scales = self._hold(scales_bytes, "scales", scope)
        self._place([weight])
        self._hold(_TABLE, "NF4's values", scope, "parameters")
        self._hold(FP32, "mean of the scales", scope, "parameters")
        centred = self._hold(scales_bytes, "scales less their mean", scope)
        if not shared_table:
            self._hold(_SCALE_TABLE, "values of scales", None, "parameters")
        self._place(weight._replace(tensor=tensor) for tensor in (layer.absmax_of_absmax, layer.absmax))
        self._hold(_SCALE_TABLE, "values of scales", scope, "parameters")
        self._free(centred, scales_bytes, scope)
        self._free(scales, scales_bytes, scope)

    def _half(self, weight: Placed) -> int:
        """Returns the bytes of a weight as it is loaded, before it is quantized or cast."""
        layer = self.quantized.get(id(weight.tensor))
        elements = layer.in_features * layer.out_features if layer is not None else weight.tensor.numel()
        return elements * self.itemsize

    def _place(self, tensors: Iterable[Placed]) -> None:
        """Writes the allocations of tensors that the model keeps."""
        for _, tensor, scope in tensors:
            if storage := self.live.number(tensor):
                self.events.append(Event(storage, self.kept[storage], scope))

    def _hold(self, size: int, name: str, scope: Scope | None, category: str | None = None) -> int:
        """Writes an allocation of `size` bytes that no tensor of the model shows, and returns its storage."""
        storage = self.live.invent(Label(category, name))
        self.events.append(Event(storage, self.live.rounded(size), scope))
        return storage

    def _free(self, storage: int, size: int, scope: Scope | None) -> None:
        """Writes the free of a storage of `size` bytes."""
        self.events.append(Event(storage, -self.live.rounded(size), scope))


def load(
    model: torch.nn.Module,
    strategy: Strategy,
    live: LiveBytes,
    runs: list[BlockRun],
    empties_cache: bool,
    parameters: Sequence[tuple[str, Any, Scope | None]],
    buffers: Sequence[tuple[str, Any, Scope | None]],
) -> None:
    """Rewrites the loading phase of an NF4 model, whose weights are quantized one by one while they are loaded.

    This leaves the weights in another order and in other blocks of the allocator. For int8, GPTQ and AWQ only what
    stays after loading is replayed, and of what FSDP2 shards.
    """
    if is_nf4(strategy) and not strategy.sharding.shards:
        placed = [[Placed(*entry) for entry in entries] for entries in (parameters, buffers)]
        loading = Loading(live, model, stored(strategy.precision, trains=False).itemsize, runs)
        loading.rewrite(*placed, empties_cache=empties_cache)
