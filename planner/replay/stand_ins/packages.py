"""Lists the kernels of other packages that transformers calls if they are there, and that are planned."""

from __future__ import annotations

from typing import Final

from planner.replay.stand_ins.fused import Fused
from planner.replay.stand_ins.gated_delta_rule import RULE
from planner.replay.stand_ins.mamba import BLOCK

FUSED: Final[tuple[Fused, ...]] = (RULE, BLOCK)
