"""Replays one real training step without a GPU and prints the peak of each phase in bytes, as JSON.

The real transformers model, PEFT adapters, accelerate's autocast and fp32 outputs, FSDP2 on a fake process group and
the torch optimizer run under FakeTensorMode on the CPU device: nothing is allocated, and every live storage is counted.
Where a CPU step would differ from a CUDA step, the CUDA path is taken:

- attention calls the meta function of CUDA's flash kernel, in autocast's dtype, so no mask or score is materialized;
- autocast runs layer_norm, pow, rsqrt and softmax in fp32 (the CPU's list lacks them);
- gradients are added in place where a step without fake tensors would.

    python benchmarks/replay_step.py --model llama-2-7b --precision bf16-mixed --checkpointing full
"""

from __future__ import annotations

import argparse
import json
import warnings
import weakref
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from planner.models import find_model, registry_models

BLOCK = 512  # what CUDA's caching allocator rounds sizes to


TENSOR_AND_PYTHON = 2  # owners of a storage that only one tensor has, while Python looks at it


def rounded(num_bytes: int) -> int:
    return -(-num_bytes // BLOCK) * BLOCK


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of live storages; `peak` is the largest count since the last `mark`."""

    def __init__(self) -> None:
        super().__init__()
        self.live: dict[int, int] = {}
        self.now = self.peak = 0

    def __enter__(self) -> LiveBytes:
        self._resize = torch.UntypedStorage.resize_

        def resize_(storage: Any, size: int) -> Any:  # FSDP2 frees and refills gathered parameters by resizing
            result = self._resize(storage, size)
            if storage._cdata in self.live:
                self._move(rounded(size) - self.live[storage._cdata])
                self.live[storage._cdata] = rounded(size)
            return result

        torch.UntypedStorage.resize_ = resize_
        return super().__enter__()

    def __exit__(self, *exc: Any) -> None:
        torch.UntypedStorage.resize_ = self._resize
        super().__exit__(*exc)

    def mark(self) -> None:
        self.peak = self.now

    def _move(self, delta: int) -> None:
        self.now += delta
        self.peak = max(self.peak, self.now)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.add.Tensor and self._would_be_in_place(args[0]):
            self._drop(args[0].untyped_storage()._cdata)
        out = func(*args, **(kwargs or {}))
        for t in tree_leaves(out):
            if isinstance(t, torch.Tensor):
                self._add(t._local_tensor if isinstance(t, DTensor) else t)
        return out

    @staticmethod
    def _would_be_in_place(gathered: torch.Tensor) -> bool:
        """Under fake tensors autograd never adds gradients in place; a real step does when the buffer is no view and
        has no other owner (torch/csrc/autograd/input_buffer.cpp). Backward's own additions are all of that kind."""
        if torch._C._current_graph_task_id() == -1 or torch.is_grad_enabled() or gathered._is_view():
            return False
        return torch._C._storage_Use_Count(gathered.untyped_storage()._cdata) == TENSOR_AND_PYTHON

    def _add(self, tensor: torch.Tensor) -> None:
        if tensor.device.type != "cpu":
            return
        storage = tensor.untyped_storage()
        if storage._cdata not in self.live:
            self.live[storage._cdata] = rounded(storage.nbytes())
            self._move(self.live[storage._cdata])
            weakref.finalize(storage, self._drop, storage._cdata)

    def _drop(self, key: int) -> None:
        self.now -= self.live.pop(key, 0)


def flash_attention(module: Any, query: Any, key: Any, value: Any, mask: Any, scaling: Any = None, **_: Any) -> Any:
    if torch.is_autocast_enabled("cpu"):
        query, key, value = (x.to(torch.get_autocast_dtype("cpu")) for x in (query, key, value))
    out = torch.ops.aten._scaled_dot_product_flash_attention(query, key, value, 0.0, True, scale=scaling)[0]
    return out.transpose(1, 2).contiguous(), None


def take_cuda_path() -> None:
    """Attention and autocast as on CUDA."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    AttentionInterface.register("replay_sdpa", flash_attention)
    AttentionMaskInterface.register("replay_sdpa", lambda *args, **kwargs: None)

    def in_fp32(function: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            if torch.is_autocast_enabled("cpu"):
                args = tuple(a.float() if isinstance(a, torch.Tensor) and a.is_floating_point() else a for a in args)
            return function(*args, **kwargs)

        return call

    functional, tensor = torch.nn.functional, torch.Tensor
    for owner, names in (
        (functional, ("layer_norm", "softmax")),
        (torch, ("pow", "rsqrt")),
        (tensor, ("pow", "rsqrt")),
    ):
        for name in names:
            setattr(owner, name, in_fp32(getattr(owner, name)))


def build(options: argparse.Namespace) -> Any:
    """The model on the meta device, adapted and checkpointed. Dropout is off: a CPU's mask is not CUDA's."""
    import yaml
    from transformers import AutoConfig, AutoModelForCausalLM

    name = find_model(options.model).name
    entry = next(m for m in registry_models() if m.name == name)
    fields = yaml.safe_load(entry.config_yaml)
    fields.update({key: 0.0 for key in fields if "drop" in key})
    config = AutoConfig.for_model(fields.pop("model_type"), **fields)
    config.use_cache = False
    lora = options.finetuning == "lora"
    stored = (
        torch.float32
        if options.precision == "fp32" or (options.precision == "bf16-mixed" and not lora)
        else torch.bfloat16
    )
    attention = "replay_sdpa" if options.attention == "sdpa" else "eager"
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=stored, attn_implementation=attention)
    if lora:
        from peft import LoraConfig, get_peft_model

        targets = options.lora_targets if options.lora_targets == "all-linear" else options.lora_targets.split(",")
        model = get_peft_model(model, LoraConfig(r=16, target_modules=targets, task_type="CAUSAL_LM"))
    if options.checkpointing == "full":
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        if lora:
            model.enable_input_require_grads()
    return model


def ranks(world_size: int) -> Any:
    """A device mesh over a process group that only pretends to communicate."""
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.testing._internal.distributed.fake_pg import FakeStore

    dist.init_process_group("fake", rank=0, world_size=world_size, store=FakeStore())
    return init_device_mesh("cpu", (world_size,))


def shard(model: Any, mesh: Any, options: argparse.Namespace) -> None:
    """FSDP2 units as accelerate makes them (`fsdp2_prepare_model`)."""
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    dtype = torch.bfloat16 if options.precision == "bf16-mixed" else None
    policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=dtype)
    units: dict[str, Any] = {
        "mesh": mesh,
        "mp_policy": policy,
        "reshard_after_forward": options.sharding == "full_shard",
    }
    base = model.base_model.model if options.finetuning == "lora" else model
    layers = base.config.num_hidden_layers
    for block in next(m for m in base.modules() if isinstance(m, torch.nn.ModuleList) and len(m) == layers):
        fully_shard(block, **units)
    embedding, head = base.get_input_embeddings(), base.get_output_embeddings()
    outside = [(n, m) for n, m in base.named_modules() if not any(part.isdigit() for part in n.split("."))]
    norms = [m for n, m in outside if n.split(".")[-1] in ("norm", "ln_f", "final_layer_norm")]
    tied = embedding.weight is head.weight
    if not tied:
        fully_shard(embedding, **units)
    fully_shard([*norms, *([embedding] if tied else []), head], **{**units, "reshard_after_forward": False})
    fully_shard(model, mesh=mesh, mp_policy=policy)


def replay(options: argparse.Namespace) -> dict[str, int]:
    """Two steps, the second of which is steady; peaks of its forward, backward and optimizer phases."""
    take_cuda_path()
    model = build(options)
    mesh = ranks(options.gpus) if options.sharding != "no_shard" else None
    live = LiveBytes()
    peaks = {"forward": 0, "backward": 0, "optimizer": 0}
    with FakeTensorMode(allow_non_fake_inputs=True), live:
        if mesh is not None:
            shard(model, mesh, options)
        model = model.to_empty(device="cpu")
        if mesh is None:
            (model.base_model.model if options.finetuning == "lora" else model).tie_weights()
        model.train()
        foreach = options.optimizer == "adamw-foreach"
        trained = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=1e-4, foreach=foreach, fused=not foreach)
        ids = torch.randint(0, 100, (options.micro_batch_size, options.sequence_length))
        forward = model
        if options.precision == "bf16-mixed" and mesh is None:
            from accelerate.utils.operations import convert_outputs_to_fp32

            forward = convert_outputs_to_fp32(torch.autocast("cpu", dtype=torch.bfloat16)(model.forward))
        for _ in range(2):
            peaks = dict.fromkeys(peaks, 0)
            for _ in range(options.gradient_accumulation_steps):
                live.mark()
                out = forward(input_ids=ids, labels=ids)
                loss = out.loss / options.gradient_accumulation_steps
                peaks["forward"] = max(peaks["forward"], live.peak)
                del out
                live.mark()
                loss.backward()
                del loss
                peaks["backward"] = max(peaks["backward"], live.peak)
            live.mark()
            optimizer.step()
            peaks["optimizer"] = live.peak
            optimizer.zero_grad(set_to_none=True)
    return peaks


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a name of the registry")
    parser.add_argument("--precision", default="bf16-true", choices=["fp32", "bf16-true", "bf16-mixed"])
    parser.add_argument("--finetuning", default="full", choices=["full", "lora"], help="LoRA of rank 16")
    parser.add_argument("--lora-targets", default="all-linear")
    parser.add_argument("--checkpointing", default="none", choices=["none", "full"])
    parser.add_argument("--optimizer", default="adamw", choices=["adamw", "adamw-foreach"])
    parser.add_argument("--sharding", default="no_shard", choices=["no_shard", "shard_grad_op", "full_shard"])
    parser.add_argument("--attention", default="sdpa", choices=["sdpa", "eager"])
    parser.add_argument("--gpus", type=int, default=1)
    parser.add_argument("--micro-batch-size", type=int, default=2)
    parser.add_argument("--sequence-length", type=int, default=1024)
    parser.add_argument("--gradient-accumulation-steps", type=int, default=1)
    return parser


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    print(json.dumps(replay(arguments().parse_args())))
