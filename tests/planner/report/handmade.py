"""Answers made by hand, so that what is drawn does not depend on the memory model, and how a terminal draws them."""

from __future__ import annotations

from io import StringIO
from typing import Any

from rich.console import Console, RenderableType

from hardware import GIB
from planner.records.advice import Cost, Shortfall, Way
from planner.records.asked.request import Request
from planner.records.plan import Components, Memory, Plan, Shares, StrategyChoice, Time
from planner.records.result import EstimateResult, FitResult, Searched

BUDGET_BYTES = round(37.4 * GIB)

FULL = {"parameters": 12.55, "gradients": 12.55, "optimizer_states": 0.02, "activations": 5.14, "temporary": 4.4}
LORA = {"parameters": 13.1, "gradients": 0.1, "optimizer_states": 0.31, "activations": 19.8, "temporary": 2.7}
QLORA = {"parameters": 3.9, "gradients": 0.1, "optimizer_states": 0.31, "activations": 24.8, "temporary": 6.9}
SHARDED = {"unsharded_parameters": 0.4, "communication": 0.7}


def _memory(sizes: dict[str, float], budget_bytes: int) -> Memory:
    filled = {**dict.fromkeys(Components.model_fields, 0.0), "overhead": 1.31, **sizes}
    components = Components(**{name: round(size * GIB) for name, size in filled.items()})
    process = sum(components.model_dump().values())
    allocated = process - components.overhead
    return Memory(
        allocated_bytes=allocated,
        reserved_bytes=allocated + components.overhead // 2,
        process_bytes=process,
        budget_bytes=budget_bytes,
        fits=process <= budget_bytes,
        moment="start_of_backward",
        moments={
            "forward": allocated // 2,
            "end_of_forward": allocated * 9 // 10,
            "start_of_backward": allocated,
            "optimizer_step": allocated * 2 // 3,
        },
        components=components,
    )


def make_plan(
    finetuning: str = "full",
    micro: int = 4,
    ranks: int = 1,
    sizes: dict[str, float] | None = None,
    budget_bytes: int = BUDGET_BYTES,
    **choices: Any,
) -> Plan:
    adapters = {} if finetuning == "full" else {"lora_rank": 16, "lora_targets": "all-linear"}
    usual = {
        "precision": "bf16-mixed",
        "optimizer": "adamw",
        "checkpointing": "full",
        "sharding": "no_shard",
        "attention": "sdpa",
        "loss": "full",
        "kernels": "eager",
        "framework": "transformers",
        "allocator": "expandable",
    }
    return Plan(
        strategy=StrategyChoice.model_validate({"finetuning": finetuning, **adapters, **usual, **choices}),
        micro_batch_size=micro,
        gradient_accumulation_steps=16,
        data_parallel_size=ranks,
        global_batch_size=micro * 16 * ranks,
        memory=_memory(sizes or FULL, budget_bytes),
        time=Time(
            step_seconds=22.3,
            tokens_per_second=2900.0 * ranks,
            tokens_per_second_per_gpu=2900.0,
            step_seconds_low=19.4,
            step_seconds_high=27.0,
            model_flops_utilization=0.43,
            shares=Shares(
                compute=0.6, memory_bound=0.15, recomputation=0.2, launch=0.0, communication=0.04, optimizer=0.01
            ),
        ),
    )


def make_request(gpus: int = 1, **changes: Any) -> Request:
    return Request(
        model="llama-2-7b",
        num_parameters=6_738_415_616,
        gpu="A100-40GB-SXM",
        gpu_memory_bytes=42_405_855_232,
        gpus=gpus,
        **changes,
    )


def make_fit(ranks: int = 1) -> FitResult:
    sharded = {"ranks": ranks, "sharding": "full_shard" if ranks > 1 else "no_shard"}
    extra = SHARDED if ranks > 1 else {}
    full = make_plan(precision="bf16-true", optimizer="adafactor", sizes={**FULL, **extra}, **sharded)
    lora = make_plan("lora", 14, sizes={**LORA, **extra, "activations": 18.7}, **sharded)
    qlora = make_plan("qlora", 21, ranks, QLORA, quantization="nf4-double")
    others = (
        make_plan("qlora", 21, ranks, QLORA, quantization="nf4", optimizer="adamw-8bit"),
        make_plan(micro=3, sizes=FULL, checkpointing="none", **sharded),
    )
    return FitResult(
        request=make_request(ranks),
        plans=(qlora, others[0], lora, others[1]),
        best_by_method=(qlora, lora, full),
        searched=Searched(strategies=216, feasible=112, seconds=0.043),
        rejected={"does not fit into memory": 32, "one GPU has nothing to shard over": 72},
        notes=(
            "AdamW on bf16 weights keeps its states in bf16, too: 4 bytes per parameter, not 8. Choose bf16-mixed for "
            "states in fp32.",
            "Speeds are predicted.",
        ),
    )


def make_single_method() -> FitResult:
    plan = make_plan()
    return make_fit().model_copy(update={"plans": (plan,), "best_by_method": (plan,), "rejected": {}, "notes": ()})


def make_shortfall(budget: float = 25.3) -> FitResult:
    smallest = make_plan("qlora", 1, sizes=LORA, budget_bytes=round(budget * GIB), quantization="nf4-double")
    ways = (
        Way(
            change="liger-kernel's fused loss, without logits",
            options={"loss": "liger-fused-linear"},
            cost=Cost.PACKAGE,
            price="needs liger-kernel; a token takes 3% less time",
            command="planner fit llama-2-7b --gpu A100-40GB-SXM --sequence-length 2048 --loss liger-fused-linear",
            plan=make_plan("qlora", 2, quantization="nf4-double"),
            relative_time=0.97,
        ),
        Way(change="16 x A100-40GB-SXM", options={"gpus": 8, "nodes": 2}),
    )
    shortfall = Shortfall(
        smallest=smallest,
        moment=smallest.memory.moment,
        term="activations",
        over_bytes=max(0, smallest.memory.process_bytes - smallest.memory.budget_bytes),
        ways=ways,
    )
    searched = Searched(strategies=216, feasible=0, seconds=0.02)
    return make_fit().model_copy(
        update={"plans": (), "best_by_method": (), "searched": searched, "notes": (), "shortfall": shortfall}
    )


def make_estimate(ranks: int = 1, **arguments: Any) -> EstimateResult:
    plan = make_plan(ranks=ranks, **arguments)
    return EstimateResult(**dict(plan), request=make_request(ranks), notes=("Reserved bytes are an estimate.",))


def rendered(report: RenderableType, width: int, *, encoding: str = "utf-8", **options: Any) -> str:
    """What a terminal of that width shows."""
    file: StringIO = type("Terminal", (StringIO,), {"encoding": encoding})()
    Console(file=file, width=width, highlight=False, markup=False, emoji=False, **options).print(report, crop=False)
    return file.getvalue()
