"""Turns solved candidates into plans, and finds out what is missing and what would help if nothing fits.

Pydantic models are made with `model_construct`, without validation: the values are the planner's own, and validating
them would take as long as the search.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from hardware import GPU, Cluster
from planner.answers.memory import memory_of
from planner.answers.runs import run_of, usd_per_million_tokens
from planner.answers.times import time_of
from planner.memory import StepMemory
from planner.memory.reserved import requests_of
from planner.problem.problem import Problem, budget_bytes, step_memory_of
from planner.records.plan import Plan, StrategyChoice
from planner.records.result import Shortfall, Way
from planner.search import Candidate, Solver, TooManyStrategiesError, search, smallest
from strategies import Allocator, Loading, Loss, Offload, Space

MAX_GPUS_SUGGESTED = 1024
"""GPUs of the largest cluster that is suggested."""
SHORTEST_SUGGESTED_SEQUENCE = 256
"""Tokens of the shortest sequence that is suggested."""
MOST_LOOKED_THROUGH = 1_000
"""Most strategies of a space that is searched again after each change of the request, up to twenty times at about a
millisecond per strategy. For a larger space, only the smallest plan is tried with each change."""


def plan_of(candidate: Candidate, solver: Solver, *, serves: bool | None = None) -> Plan:
    """Returns a candidate as users see it: its strategy, sizes, memory and time.

    Args:
        candidate: The candidate.
        solver: The solver that found it, with the budget.
        serves: Whether the allocator's model serves all requests of the steps, which takes about 0.1 s. If None, that
            of native segments does so: no closed form says what these need.
    """
    requests = None
    undecided = candidate.strategy.allocator is Allocator.NATIVE and candidate.served is None
    if serves or (serves is None and undecided):
        requests = requests_of(
            solver.model, candidate.strategy, candidate.micro_batch_size, candidate.gradient_accumulation_steps
        )
    ranks = solver.cluster.world_size
    return Plan.model_construct(
        strategy=StrategyChoice.of(candidate.strategy),
        micro_batch_size=candidate.micro_batch_size,
        gradient_accumulation_steps=candidate.gradient_accumulation_steps,
        data_parallel_size=ranks,
        global_batch_size=candidate.global_batch_size,
        memory=memory_of(candidate, solver.budget_bytes, requests),
        time=time_of(candidate, solver),
        usd_per_million_tokens=usd_per_million_tokens(candidate, solver),
        run=run_of(candidate, solver),
    )


def shortfall_of(problem: Problem, space: Space, solver: Solver) -> Shortfall | None:
    """Says why nothing fits: the smallest plan, its largest category, and the changes that would fit.

    Args:
        problem: The resolved request.
        space: The space that was searched.
        solver: The solver that found nothing.

    Returns:
        The shortfall, or None if nothing can run, or if the space is too large to search exhaustively, as that of a
        sampler may be.
    """
    try:
        least = smallest(space, solver)
    except TooManyStrategiesError:
        return None
    if least is None:
        return None
    if space.least.num_divisible(solver.cluster) > MOST_LOOKED_THROUGH:
        space = space._replace(**{option: (value,) for option, value in least.strategy.to_options().items()})
    plan = plan_of(least, solver)
    components = plan.memory.components.model_dump()
    return Shortfall.model_construct(
        smallest=plan,
        moment=plan.memory.moment,
        term=max(components, key=lambda name: components[name]),
        over_bytes=max(0, plan.memory.process_bytes - plan.memory.budget_bytes),
        ways=tuple(_ways(problem, space, solver, least)),
    )


def _ways(problem: Problem, space: Space, solver: Solver, least: Candidate) -> Iterator[Way]:
    """Yields single changes after which something fits, cheapest first.

    They are a loss without logits, more host memory, shards in the host's memory, another fine-tuning method, a shorter
    sequence, more GPUs of the same kind, and a larger GPU; of each kind the first that fits. `least` is the candidate
    with the smallest peak.
    """

    def fits(memory: StepMemory, searched: Space, gpu: GPU) -> bool:
        budget = budget_bytes(gpu, problem.request.headroom)
        return bool(search(searched, Solver(memory, budget, solver.accumulation, solver.allowed)).ranking)

    request, cluster, memory = problem.request, problem.cluster, problem.memory
    fused = Loss.LIGER_FUSED_LINEAR
    has_fused = not request.loss and problem.model.unsupported(fused) is None
    if has_fused and fits(memory, space._replace(loss=(fused,)), cluster.gpu):
        yield Way.model_construct(change="liger-kernel's fused loss, without logits", options={"loss": fused.value})
    on_host = least.footprint.host
    if not on_host.fits(least.micro_batch_size):
        by_one = request.model_copy(update={"loading": Loading.RANK_0})
        if memory.is_cheap and fits(step_memory_of(problem.model, by_one, cluster), space, cluster.gpu):
            yield Way.model_construct(
                change="one rank of a node that loads the model for all", options={"loading": Loading.RANK_0.value}
            )
        more = -(-on_host.node_bytes(least.micro_batch_size) // 10**9)
        roomy = memory.on(replace(cluster, host_bytes=more * 10**9))
        if memory.is_cheap and fits(roomy, space, cluster.gpu):
            yield Way.model_construct(
                change=f"nodes with {more:,} GB of host memory", options={"host-memory": f"{more}GB"}
            )
    offloaded = space._replace(offload=(Offload.CPU,))
    if memory.is_cheap and cluster.world_size > 1 and not request.offload and fits(memory, offloaded, cluster.gpu):
        yield Way.model_construct(
            change="shards and the optimizer step in the host's memory, a slower step",
            options={"offload": Offload.CPU.value},
        )
    for method in Space.default(cluster).finetuning:
        if method not in space.finetuning and fits(
            memory,
            space._replace(finetuning=(method,), quantization=Space.default(cluster, problem.framework).quantization),
            cluster.gpu,
        ):
            yield Way.model_construct(change=f"{method.value} fine-tuning", options={"finetuning": method.value})
            break
    length = request.sequence_length // 2
    while memory.is_cheap and length >= max(SHORTEST_SUGGESTED_SEQUENCE, request.mean_length or 0):
        if fits(memory.at(length), space, cluster.gpu):
            yield Way.model_construct(change=f"sequences of {length} tokens", options={"sequence-length": length})
            break
        length //= 2
    for larger in _larger(cluster) if memory.is_cheap else ():
        wider = space if request.sharding else space._replace(sharding=Space.default(larger).sharding)
        if fits(memory.on(larger), wider, cluster.gpu):
            options: dict[str, str | int] = {"gpus": larger.gpus_per_node}
            if larger.nodes > 1:
                options["nodes"] = larger.nodes
            yield Way.model_construct(change=f"{larger.world_size} x {cluster.gpu.name}", options=options)
            break
    for gpu in sorted(problem.catalog, key=lambda g: (g.memory_bytes, g.name)):
        if gpu.memory_bytes > cluster.gpu.memory_bytes:
            other = replace(cluster, gpu=gpu)
            if fits(memory.on(other), space, gpu):
                count = f"{cluster.world_size} x " if cluster.world_size > 1 else ""
                yield Way.model_construct(change=f"{count}{gpu.name}", options={"gpu": gpu.name})
                break


def _larger(cluster: Cluster) -> Iterator[Cluster]:
    """Yields larger clusters, each with twice the GPUs of the one before; a node is filled before nodes are added."""
    per_node, nodes = cluster.gpus_per_node, cluster.nodes
    while per_node * nodes < MAX_GPUS_SUGGESTED:
        if nodes == 1 and per_node * 2 <= max(cluster.gpu.gpus_per_node, per_node):
            per_node *= 2
        else:
            nodes *= 2
        yield replace(cluster, gpus_per_node=per_node, nodes=nodes)
