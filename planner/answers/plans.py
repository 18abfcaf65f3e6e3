"""Turns solved candidates into plans, and finds out what is missing and what would help if nothing fits.

Pydantic models are made with `model_construct`, without validation: the values are the planner's own, and validating
them would take as long as the search.
"""

from __future__ import annotations

from collections.abc import Iterator

from hardware import GPU, Cluster
from planner.answers.times import time_of
from planner.memory import StepMemory
from planner.problem.problem import Problem, budget_bytes
from planner.records.plan import Components, Memory, Plan, StrategyChoice
from planner.records.result import Shortfall, Way
from planner.search import Candidate, Solver, TooManyStrategiesError, search, smallest
from strategies import Loss, Offload, Space

MAX_GPUS_SUGGESTED = 1024
"""GPUs of the largest cluster that is suggested."""
SHORTEST_SUGGESTED_SEQUENCE = 256
"""Tokens of the shortest sequence that is suggested."""
MOST_LOOKED_THROUGH = 1_000
"""Most strategies of a space that is searched again after each change of the request, up to twenty times at about a
millisecond per strategy. For a larger space, only the smallest plan is tried with each change."""


def plan_of(candidate: Candidate, solver: Solver) -> Plan:
    """Returns a candidate as users see it: its strategy, sizes, memory and time.

    Args:
        candidate: The candidate.
        solver: The solver that found it, with the budget.
    """
    ranks = solver.cluster.world_size
    return Plan.model_construct(
        strategy=StrategyChoice.of(candidate.strategy),
        micro_batch_size=candidate.micro_batch_size,
        gradient_accumulation_steps=candidate.gradient_accumulation_steps,
        data_parallel_size=ranks,
        global_batch_size=candidate.global_batch_size,
        memory=memory_of(candidate, solver.budget_bytes),
        time=time_of(candidate, solver),
    )


def memory_of(candidate: Candidate, budget: int) -> Memory:
    """Returns the memory of a candidate, with the bytes of each category at the peak, which add up to the process's.

    Args:
        candidate: The candidate.
        budget: Bytes that a process may take on one GPU.
    """
    footprint, size = candidate.footprint, candidate.micro_batch_size
    peak, persistent = footprint.peak(size), footprint.persistent
    line = peak.line
    activations = line.activations_fixed + line.activations_per_sample * size
    communication = persistent.communication + line.communication
    kept = persistent.parameters + persistent.optimizer_states + communication + line.gradients + line.unsharded
    allocated = footprint.allocated_bytes(size)
    process = footprint.process_bytes(size)
    return Memory.model_construct(
        allocated_bytes=allocated,
        reserved_bytes=footprint.reserved_bytes(size),
        process_bytes=process,
        budget_bytes=budget,
        fits=process <= budget,
        moment=peak.moment.value,
        moments={moment.value: num_bytes for moment, num_bytes in footprint.moments(size).items()},
        components=Components.model_construct(
            parameters=persistent.parameters,
            gradients=line.gradients,
            optimizer_states=persistent.optimizer_states,
            activations=activations,
            temporary=peak.tensor_bytes - kept - activations,
            unsharded_parameters=line.unsharded,
            communication=communication,
            overhead=process - peak.tensor_bytes,
        ),
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
        ways=tuple(_ways(problem, space, solver)),
    )


def _ways(problem: Problem, space: Space, solver: Solver) -> Iterator[Way]:
    """Yields single changes after which something fits, cheapest first.

    They are a loss without logits, shards in the host's memory, another fine-tuning method, a shorter sequence, more
    GPUs of the same kind, and a larger GPU; of each kind the first that fits.
    """

    def fits(memory: StepMemory, searched: Space, gpu: GPU) -> bool:
        budget = budget_bytes(gpu, problem.request.headroom)
        return bool(search(searched, Solver(memory, budget, solver.accumulation, solver.allowed)).ranking)

    request, cluster, memory = problem.request, problem.cluster, problem.memory
    fused = Loss.LIGER_FUSED_LINEAR
    has_fused = not request.loss and problem.model.unsupported(fused) is None
    if has_fused and fits(memory, space._replace(loss=(fused,)), cluster.gpu):
        yield Way.model_construct(change="liger-kernel's fused loss, without logits", options={"loss": fused.value})
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
            other = Cluster(gpu, cluster.gpus_per_node, cluster.nodes)
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
        yield Cluster(cluster.gpu, per_node, nodes)
