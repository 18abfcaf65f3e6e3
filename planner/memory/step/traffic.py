"""Counts what a rank exchanges with others and with the host, and what its optimizer step moves."""

from collections.abc import Sequence
from typing import NamedTuple

from hardware import Cluster
from planner.memory.sharding.account import Unit
from strategies import DataParallel, Fsdp1, Fsdp2, FullySharded, GradientSync, Zero
from strategies.sharding import ALL_RANKS


class Moved(NamedTuple):
    """Bytes that each rank sends in collectives, by the link that limits them, and what they wait for."""

    within_node: int = 0
    """Between the GPUs of a node."""
    across_nodes: int = 0
    """Over all GPUs of several nodes: NCCL's rings enter and leave a node by every NIC that it has."""
    between_peers: int = 0
    """Between one GPU of each node and its peers, while the others do the same: each has its own NIC alone."""
    hops: int = 0
    """Ranks that collectives pass through one after another, summed: each waits for the one before it."""

    def plus(self, other: "Moved") -> "Moved":
        """Returns the sum of both."""
        return Moved(*(a + b for a, b in zip(self, other, strict=True)))

    def times(self, n: int) -> "Moved":
        """Returns `n` times this."""
        return Moved(*(n * a for a in self))


class Traffic(NamedTuple):
    """What one rank exchanges, and the work of its optimizer step."""

    micro: Moved = Moved()
    """Collectives of every micro-batch."""
    waited_for: Moved = Moved()
    """Collectives of every micro-batch during which the GPU has nothing to compute."""
    step: Moved = Moved()
    """Collectives once per optimizer step."""
    optimizer_bytes: int = 0
    """Bytes of GPU memory that the optimizer step reads and writes."""
    with_host: int = 0
    """Bytes exchanged with the host per micro-batch, in the direction with more of them."""
    host_optimizer_bytes: int = 0
    """Bytes of host memory that an optimizer step on the host reads and writes."""
    step_with_host: int = 0
    """Bytes that the optimizer step moves between GPU and host."""
    optimizer_flops: int = 0
    """FLOPs of the optimizer step's matrix products, in half precision."""
    gradient_bytes: int = 0
    """Bytes of the gradients to which a further micro-batch of a step adds its own."""
    units: int = 0
    """Units that FSDP gathers and frees in Python."""
    modules: int = 0
    """Modules around which ZeRO-3 has hooks in Python."""
    lockstep: bool = False
    """Whether the host waits for the GPU again and again, and is never far ahead of it."""

    def stepped(self, moved: tuple[int, int], passes: float) -> "Traffic":
        """Returns this with the work of an optimizer step.

        Args:
            moved: (bytes between GPU and host, FLOPs) of the step.
            passes: How often it reads and writes what it has to, as `OptimizerRule.passes_over_memory` says.
        """
        with_host, flops = moved
        read = round(self.optimizer_bytes * passes)
        return self._replace(step_with_host=with_host, optimizer_flops=flops, optimizer_bytes=read)

    def waiting(self) -> "Traffic":
        """Returns this where the host waits for the GPU in every block, as a loop over experts makes it.

        The loop asks `torch.where` for the tokens of each expert, and the host has to know how many they are. It comes
        to FSDP1's next unit, and gathers it, when this one is computed: nothing is exchanged beside computation.
        """
        if not (self.lockstep and self.units):
            return self
        return self._replace(micro=Moved(), waited_for=self.micro.plus(self.waited_for))

    @classmethod
    def of(
        cls,
        units: Sequence[Unit],
        sharding: DataParallel,
        cluster: Cluster,
        state_bytes: int,
        *,
        recomputes_units: bool = False,
    ) -> "Traffic":
        """Returns the traffic of one rank, without `step_with_host` and `optimizer_flops`, which the optimizer decides.

        DDP all-reduces gradients once per step, which moves each twice. The optimizer reads and writes trained
        parameters and states, and reads gradients.

        Args:
            units: One rank's parameters, by part.
            sharding: How the model is replicated or sharded.
            cluster: The cluster.
            state_bytes: Bytes of one rank's optimizer states.
            recomputes_units: Whether checkpoints are around FSDP1's units: the recomputation, which knows of no next
                unit, gathers each when it needs it.
        """
        gradients, world_size = sum(u.gradient_bytes for u in units), cluster.world_size
        optimizer = 3 * gradients + 2 * state_bytes
        if isinstance(sharding, FullySharded):
            return _sharded(units, sharding, cluster, optimizer, recomputes_units)
        if isinstance(sharding, Zero):
            return _by_deepspeed(units, sharding, cluster, state_bytes)
        reduced = _collective(gradients, world_size, cluster, len(units)).times(2)
        if sharding.divides_states:  # each rank sends its updated parameters to the others
            reduced = reduced.plus(_collective(gradients, world_size, cluster, len(units)))
            optimizer = 3 * gradients // world_size + 2 * state_bytes
        return cls(step=reduced, optimizer_bytes=optimizer, gradient_bytes=gradients)


def _collective(num_bytes: int, ranks: int, cluster: Cluster, number: int, *, peers: bool = False) -> Moved:
    """Returns what each rank sends in ring all-gathers or reduce-scatters of tensors: `n (r - 1) / r` bytes.

    An all-reduce is one of each.

    Args:
        num_bytes: Bytes of the tensors, together.
        ranks: Ranks that take part.
        cluster: The cluster.
        number: Number of collectives.
        peers: Whether the ranks are one of each node.
    """
    if ranks == 1:
        return Moved()
    sent, hops = num_bytes * (ranks - 1) // ranks, number * (ranks - 1)
    if cluster.nodes == 1 or (ranks <= cluster.gpus_per_node and not peers):
        return Moved(within_node=sent, hops=hops)
    return Moved(between_peers=sent, hops=hops) if peers else Moved(across_nodes=sent, hops=hops)


def _sharded(
    units: Sequence[Unit], sharding: FullySharded, cluster: Cluster, optimizer_bytes: int, recomputes_units: bool
) -> Traffic:
    """Returns the traffic of FSDP1 or FSDP2 on one rank.

    In every micro-batch parameters are gathered in forward, and again in backward unless they stay gathered. Gradients
    are reduce-scattered, and their shards all-reduced over the replicas, in every micro-batch or once per step. With
    CPU offload the host sends what is gathered and receives what is scattered.
    """
    ranks, replicas = sharding.ranks(cluster.world_size), sharding.replicas(cluster.world_size)
    gathered, gradients = sum(u.gathered_bytes for u in units), sum(u.gathered_gradient_bytes for u in units)
    # Adapters that PEFT's policy wraps are units of their own (peft/utils/other.py, `fsdp_auto_wrap_policy`).
    apart = sum(len(u.trained) for u in units if not u.gathered_gradient_bytes)
    trained, number = sum(bool(u.gathered_gradient_bytes) for u in units) + apart, len(units) + apart
    once = gathers = _collective(gathered, ranks, cluster, number)
    if sharding.reshards:
        gathers = gathers.plus(_collective(gathered, _resharded_over(sharding) or ranks, cluster, number))
    reduces = _collective(gradients, ranks, cluster, trained)
    if replicas > 1:
        peers = cluster.nodes > 1
        reduces = reduces.plus(_collective(gradients // ranks, replicas, cluster, trained, peers=peers).times(2))
    each = sharding.gradient_sync is GradientSync.EACH
    traffic = Traffic(
        gathers.plus(reduces) if each else gathers,
        once if recomputes_units and sharding.reshards else Moved(),
        Moved() if each else reduces,
        gradient_bytes=sum(u.gradient_bytes if each else u.whole_gradient_bytes for u in units),
        units=number,
        lockstep=isinstance(sharding, Fsdp1),
    )
    if not sharding.on_host:
        return traffic._replace(optimizer_bytes=optimizer_bytes)
    times = 2 if sharding.reshards and not _resharded_over(sharding) else 1
    sent = times * sum(u.stored_bytes - u.buffer_bytes for u in units)
    taken = sum(u.gradient_bytes for u in units)
    return traffic._replace(with_host=max(sent, taken), host_optimizer_bytes=optimizer_bytes)


def _by_deepspeed(units: Sequence[Unit], sharding: Zero, cluster: Cluster, state_bytes: int) -> Traffic:
    """Returns the traffic of DeepSpeed's ZeRO on one rank.

    Stages 1 and 2 all-reduce gradients, once per step or in every micro-batch (stage_1_and_2.py,
    `allreduce_and_scatter`), and gather the updated weights after the step. Stage 3 gathers weights in forward and in
    backward, and reduce-scatters gradients, in every micro-batch. An optimizer on the host gets this rank's gradients.
    """
    ranks = cluster.world_size
    weights, gradients = sum(u.gathered_bytes for u in units), sum(u.gradient_bytes for u in units)
    reduced = _collective(gradients, ranks, cluster, len(units))
    gathered = _collective(weights, ranks, cluster, len(units))
    micro, step = {
        1: (Moved(), reduced.times(3)),
        2: (reduced.times(2), reduced),
        3: (gathered.times(2).plus(reduced), Moved()),
    }[sharding.stage]
    hooked = hooked_modules(units) if sharding.stage == 3 else 0
    kept = gradients // (1 if sharding.stage == 1 else ranks)
    found = Traffic(micro, step=step, gradient_bytes=kept, modules=hooked, lockstep=bool(hooked))
    optimizer = 2 * state_bytes + gradients // ranks
    if not sharding.steps_on_host:
        return found._replace(optimizer_bytes=optimizer)
    sent = 2 * weights // ranks if sharding.on_host else 0
    return found._replace(host_optimizer_bytes=optimizer, with_host=max(sent, gradients // ranks))


def hooked_modules(units: Sequence[Unit]) -> int:
    """Returns the modules that ZeRO-3 fetches parameters for, with hooks around each: those of the model, and adapters.

    Args:
        units: One rank's parameters, by part.
    """
    names = [{p.name for p in u.parameters} | {p.name for p in u.trained} for u in units]
    return sum(len(set(map(_module, of_unit))) for of_unit in names)


def _module(parameter: str) -> str:
    """Returns the name of the module that has a parameter; the factors of an adapter are modules themselves."""
    module, _, last = parameter.rpartition(".")
    return parameter if last.startswith("lora_") else module


def _resharded_over(sharding: FullySharded) -> int:
    """Returns the ranks that parameters are resharded over after forward; FSDP1 has no choice: `ALL_RANKS`."""
    return sharding.reshard_size if isinstance(sharding, Fsdp2) else ALL_RANKS
