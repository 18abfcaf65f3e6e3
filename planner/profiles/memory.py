"""Memory and time of strategies for a model that only replays know."""

from __future__ import annotations

from hardware import Cluster
from planner.memory.footprint import Footprint, Persistent, memoized
from planner.memory.process import Outside, Slack
from planner.memory.sharding import replication_buffers
from planner.memory.state import Unit, state_bytes, step_temporaries, table_bytes
from planner.memory.step import Line, Lines, Moment
from planner.memory.time import Traffic
from planner.memory.trace import Work
from planner.profiles.measure import profile, setting_of
from planner.profiles.model import ProfiledModel
from planner.profiles.records import Instant, Profile, Refusal
from strategies import Optimizer, Sharding, Strategy

MOMENTS = {"forward": Moment.FORWARD, "backward": Moment.BACKWARD}


class ProfiledMemory:
    """Answers what `MemoryModel` answers, from profiles. Optimizer states and allocator are derived as there."""

    def __init__(self, model: ProfiledModel, sequence_length: int, cluster: Cluster) -> None:
        self.model, self.cluster = model, cluster
        self._sequence_length = sequence_length
        self.outside = Outside.of(cluster)

    @property
    def asks_freely(self) -> bool:
        return False

    @property
    def sequence_length(self) -> int:
        return self._sequence_length

    def on(self, cluster: Cluster) -> ProfiledMemory:
        return ProfiledMemory(self.model, self.sequence_length, cluster)

    def at(self, sequence_length: int) -> ProfiledMemory:
        return ProfiledMemory(self.model, sequence_length, self.cluster)

    def obstacle(self, strategy: Strategy) -> str | None:
        """Why the model cannot be trained so."""
        found = self._found(setting_of(strategy))
        return found.reason if isinstance(found, Refusal) else None

    def footprint(self, strategy: Strategy, *, accumulates: bool) -> Footprint:
        found = self._profile(strategy)
        unit, ranks = self._unit(setting_of(strategy)), self._ranks(strategy.sharding)
        gradients = -(-unit.gradient_bytes // ranks)
        temporaries = -(-step_temporaries(strategy.optimizer, [(unit.trained, 1)]) // ranks)
        lines = dict(self._lines(setting_of(strategy), accumulates))
        lines[Moment.OPTIMIZER_STEP] = (Line(gradients + temporaries, found.inputs_bytes, 0, 0, gradients, 0, 0),)
        persistent = Persistent(
            found.parameters_bytes,
            self._states(strategy),
            replication_buffers([unit], strategy.sharding, self.cluster.world_size),
        )
        resident = persistent.total + self.outside.workspace_bytes
        return Footprint(persistent, lines, self.outside, Slack.of(strategy.allocator, strategy.attention, resident))

    def work(self, strategy: Strategy) -> Work:
        found = self._profile(strategy)
        flops = found.half_flops_per_sample, found.fp32_flops_per_sample
        return Work(*flops, found.bytes_per_sample, found.fixed_bytes)

    def traffic(self, strategy: Strategy) -> Traffic:
        unit = self._unit(setting_of(strategy))
        unit = unit._replace(gradient_bytes=-(-unit.gradient_bytes // self._ranks(strategy.sharding)))
        return Traffic.of([unit], strategy.sharding, self.cluster.world_size, self._states(strategy))

    def _profile(self, strategy: Strategy) -> Profile:
        found = self._found(setting_of(strategy))
        if isinstance(found, Refusal):
            raise ValueError(f"a strategy with an obstacle: {found.reason}")
        return found

    @memoized
    def _found(self, setting: Strategy) -> Profile | Refusal:
        return profile(
            self.model.foreign,
            setting,
            self.sequence_length,
            self.cluster.world_size,
            self.model.progress,
            has_flash=self.cluster.gpu.supports_flash_attention,
        )

    @memoized
    def _unit(self, setting: Strategy) -> Unit:
        return self._profile(setting).unit()

    @memoized
    def _lines(self, setting: Strategy, accumulates: bool) -> Lines:
        found = self._profile(setting)
        phases = found.later if accumulates else found.first
        return {MOMENTS[phase]: tuple(map(_line, instants)) for phase, instants in phases.items()}

    def _states(self, strategy: Strategy) -> int:
        states = self._whole_states(setting_of(strategy), strategy.optimizer)
        return -(-states // self._ranks(strategy.sharding))

    @memoized
    def _whole_states(self, setting: Strategy, optimizer: Optimizer) -> int:
        unit = self._unit(setting)
        return sum(state_bytes(optimizer, tensor) for tensor in unit.trained) + table_bytes(optimizer, [unit])

    def _ranks(self, sharding: Sharding) -> int:
        """Over how many ranks the model is divided."""
        return self.cluster.world_size if sharding.shards else 1


def _line(instant: Instant) -> Line:
    parts = (
        instant.activations,
        instant.temporary,
        instant.gradients,
        instant.unsharded_parameters,
        instant.communication,
    )
    return Line(
        sum(fixed for fixed, _ in parts),
        sum(per_sample for _, per_sample in parts),
        *instant.activations,
        instant.gradients[0],
        instant.unsharded_parameters[0],
        instant.communication[0],
    )
