"""Says which packages a launch needs, with the versions that the estimate assumes."""

from __future__ import annotations

from planner.exporting.launch import Launch
from strategies import Finetuning, Optimizer, Quantization, ShardingBackend

TORCH, TRANSFORMERS, ACCELERATE, PEFT, TRL = (
    "torch==2.13.0",
    "transformers==5.24.0",
    "accelerate==1.15.0",
    "peft==0.21.2",
    "trl==1.16.0",
)
DATASETS = "datasets"
"""Reads data of the Hub and, by its pyarrow, Parquet; any version does."""
_OF_OPTIMIZERS = {
    **dict.fromkeys(
        (
            Optimizer.ADAMW_8BIT,
            Optimizer.PAGED_ADAMW_8BIT,
            Optimizer.PAGED_ADAMW_32BIT,
            Optimizer.LION,
            Optimizer.LION_8BIT,
        ),
        "bitsandbytes==0.50.2",
    ),
    **dict.fromkeys((Optimizer.ADAMW_8BIT_TORCHAO, Optimizer.ADAMW_4BIT, Optimizer.ADAMW_OFFLOAD), "torchao>=0.18"),
    Optimizer.GALORE: "galore-torch==1.0",
    **dict.fromkeys((Optimizer.APOLLO, Optimizer.APOLLO_MINI), "apollo-torch==1.0.3"),
    Optimizer.ADAM_MINI: "adam-mini==1.1.1",
}


def requirements(launch: Launch, *own: str) -> str:
    """Returns the text of requirements.txt: what the target always needs, then what choices of the plan need."""
    strategy = launch.strategy
    needed = [*own]
    if strategy.finetuning in (Finetuning.LORA, Finetuning.QLORA) and TRANSFORMERS in own and PEFT not in own:
        needed.append(PEFT)
    if strategy.quantization is not Quantization.NONE:
        needed.append("bitsandbytes==0.50.2")
    if (package := _OF_OPTIMIZERS.get(strategy.optimizer)) is not None:
        needed.append(package)
    if strategy.kernels == "liger" or strategy.loss.startswith("liger"):
        needed.append("liger-kernel==0.8.5")
    if strategy.attention.startswith("flash-attention"):
        needed.append("flash-attn")
    if launch.backend is ShardingBackend.DEEPSPEED:
        needed.append("deepspeed==0.19.8")
    remark = "" if launch.vendor == "nvidia" else "# torch for these GPUs is not PyPI's: see https://pytorch.org\n"
    return launch.comment() + remark + "".join(f"{name}\n" for name in dict.fromkeys(needed))
