"""Lists the targets of an export."""

from __future__ import annotations

from collections.abc import Mapping

from planner.exporting.launch import Target
from planner.exporting.targets import axolotl, deepspeed, llama_factory, pytorch, transformers, trl

_ALL = (
    transformers.TARGET,
    pytorch.TARGET,
    trl.TARGET,
    axolotl.TARGET,
    llama_factory.TARGET,
    deepspeed.TARGET,
)
TARGETS: Mapping[str, Target] = {target.name: target for target in _ALL}
DEFAULT = transformers.TARGET.name
"""The framework whose script a launcher starts unless told otherwise."""
