"""Asks the planner how fast a measured run is."""

from __future__ import annotations

from typing import NamedTuple

from published.libraries.kernels import IMPLEMENTATIONS
from published.throughput.step_times import Timed

from hardware import GPU, Cluster, Link, load_catalog
from planner.memory import MemoryModel, Traffic, Work
from planner.memory.step.traffic import hooked_modules
from planner.memory.tracing.implementations import TODAY
from planner.problem.resolve import resolve_one
from planner.time import Rates, StepTime, seconds_between, step_time
from strategies import Strategy

WORKLOAD = ("gpus", "nodes", "sequence_length", "task")
"""Arguments of a request that are no technique."""
ANY_WITH_BF16 = "A100-80GB-SXM"
"""A GPU on which runs in fp16 are planned as such in bf16; their work does not depend on it."""
SLOW_LAUNCH = 46e-6
"""Seconds in which a slow host launches a kernel: LoRA of Llama-3.1-8B at 512 tokens on one GPU takes 0.25 s for 5,538
of them in LLMFineTuningBench, whose jobs have two processors for each GPU (github.com/IBM/ado at 1c62218,
sfttrainer/actuators.py, `number_cpus`)."""


class Speed(NamedTuple):
    """A measured run, and what the planner says of it."""

    run: Timed
    time: StepTime
    between: tuple[float, float]
    """Seconds between which the planner puts the step."""

    @property
    def predicted(self) -> float:
        """Tokens per second of one GPU."""
        return self.run.tokens / self.time.total

    @property
    def error(self) -> float:
        """The signed error, as a share of the measurement."""
        return self.predicted / self.run.tokens_per_second - 1

    @property
    def is_inside(self) -> bool:
        """Whether the measured step is within the range that the planner says."""
        low, high = self.between
        return low <= self.run.tokens / self.run.tokens_per_second <= high


class Asked(NamedTuple):
    """A run with what the planner derives of it before it looks at rates."""

    run: Timed
    cluster: Cluster
    strategy: Strategy
    work: Work
    again: Work
    traffic: Traffic

    def speed(self) -> Speed:
        """Returns what the planner says with the rates of this moment."""
        rates, request = Rates.of(self.cluster, self.strategy, self.run.kernel), self.run.request
        if self.run.slow_host:
            rates = rates._replace(launch=SLOW_LAUNCH)
        size, steps = request["micro_batch_size"], request["gradient_accumulation_steps"]
        time = step_time(self.work, self.again, self.traffic, rates, size, steps)
        time = time._replace(total=time.total + self.run.idle, launch=time.launch + self.run.idle)
        return Speed(self.run, time, seconds_between(time, measured=self.cluster.gpu.sustained.measured))


def ask(run: Timed) -> Asked:
    """Asks the planner about a run."""
    axes = dict(run.request)
    size, steps = axes.pop("micro_batch_size"), axes.pop("gradient_accumulation_steps")
    gpu = load_catalog().get(axes.pop("gpu"))
    if run.link is not None:
        slot = Link(kind="pcie", bytes_per_second=run.link)
        gpu = gpu.model_copy(update={"gpu_link": slot, "host_link": slot})
    if run.network is not None:
        share = run.network // axes.get("gpus", 1)
        kind = "roce" if run.rdma else "ethernet"
        gpu = gpu.model_copy(update={"network_link": Link(kind=kind, bytes_per_second=share)})
    workload = {name: axes.pop(name) for name in WORKLOAD if name in axes}
    planned = load_catalog().get(ANY_WITH_BF16) if run.fp16 else gpu
    problem, _, candidate = resolve_one(run.model, planned, None, axes, workload, size, steps)
    strategy, memory = candidate.strategy, problem.memory
    if run.kernel in IMPLEMENTATIONS and isinstance(memory, MemoryModel):
        memory = memory.by(IMPLEMENTATIONS[run.kernel](TODAY))
    work, traffic = memory.work(strategy), memory.traffic(strategy)
    work = work._replace(kernels=work.kernels + run.launched)
    if run.waits:
        traffic = traffic.waiting()
    if run.hooked and isinstance(memory, MemoryModel):
        modules = hooked_modules(memory.units(memory.setting(strategy), strategy.sharding))
        traffic = traffic._replace(modules=modules, lockstep=True)
    if run.replicated_adapters and isinstance(memory, MemoryModel):
        traffic = traffic._replace(units=len(memory.units(memory.setting(strategy), strategy.sharding)))
    return Asked(
        run,
        _computing_fp16(gpu, problem.cluster) if run.fp16 else problem.cluster,
        strategy,
        work,
        memory.recomputation(strategy),
        traffic,
    )


def _computing_fp16(gpu: GPU, cluster: Cluster) -> Cluster:
    """Returns a cluster of GPUs whose rate in bf16 is that in fp16."""
    peaks = gpu.peak_flops.model_copy(update={"bf16": gpu.peak_flops.fp16})
    return Cluster(gpu.model_copy(update={"peak_flops": peaks}), cluster.gpus_per_node, cluster.nodes)
