"""Reads axolotl's plugins, which replace kernels and the loss."""

from __future__ import annotations

from collections.abc import Collection

from planner.readers.documents.keys import Keys
from planner.readers.tables.axolotl import LIGER, OLD_SWIGLU
from planner.readers.trainer.precision import MIXED
from strategies import Finetuning, Kernels, Loss, Precision

_SPELLED = {"liger_glu_activation": ("liger_glu_activation", OLD_SWIGLU)}
_PLUGINS = ("LigerPlugin", "CutCrossEntropyPlugin", "KernelsPlugin", "SwanLabPlugin", "LMEvalPlugin")
"""Plugins that are read by their keys, or that do nothing in a step."""


def read_plugins(keys: Keys) -> None:
    """Says the kernels and the loss that plugins put in place of transformers' own."""
    reading = keys.reading
    plugins, place = keys.names("plugins") or (), keys.place("plugins")
    reading.say("kernels", Kernels.EAGER, why="no Liger plugin")
    reading.say("loss", Loss.FULL, why="no plugin with a loss")
    others = [name.rpartition(".")[2] for name in plugins if not name.endswith(_PLUGINS)]
    if others:
        reading.refuse(f"axolotl's {', '.join(others)}", place)
    if any(name.endswith("LigerPlugin") for name in plugins):
        _read_liger(keys)
    _read_cut_cross_entropy(keys, plugins)


def _read_liger(keys: Keys) -> None:
    reading = keys.reading
    switched = [name for name in LIGER if keys.flag(*_SPELLED.get(name, (name,)))]
    if len(switched) == len(LIGER):
        reading.say("kernels", Kernels.LIGER, keys.place(LIGER[0]))
    elif switched:
        reading.refuse(f"Liger's kernels in part: {', '.join(switched)}", keys.place(switched[0]))
    if keys.flag("liger_fused_linear_cross_entropy"):
        reading.say("loss", Loss.LIGER_FUSED_LINEAR, keys.place("liger_fused_linear_cross_entropy"))
    elif keys.flag("liger_cross_entropy"):
        reading.say("loss", Loss.LIGER_CROSS_ENTROPY, keys.place("liger_cross_entropy"))


def _read_cut_cross_entropy(keys: Keys, plugins: Collection[str]) -> None:
    """Says cut cross-entropy, which its plugin switches on: integrations/cut_cross_entropy/__init__.py, args.py."""
    reading, place = keys.reading, keys.place("cut_cross_entropy") or keys.place("plugins")
    has_plugin = any(name.endswith("CutCrossEntropyPlugin") for name in plugins)
    if not keys.flag("cut_cross_entropy", otherwise=has_plugin):
        return
    if not has_plugin:
        reading.refuse("cut_cross_entropy without its plugin, which alone replaces the loss", place)
        return
    if reading.value("loss") is not Loss.FULL:
        reading.refuse("cut cross-entropy together with a loss of Liger's", place)
    reading.say("loss", Loss.CUT_CROSS_ENTROPY, place)
    precision: Precision | None = reading.value("precision")
    if precision is not None and precision.facts.matmul_dtype not in MIXED:
        reading.refuse("cut cross-entropy without bf16 or fp16, which axolotl refuses", place)
    if precision is Precision.FP16_MIXED and reading.value("finetuning") is Finetuning.FULL:
        # loaders/model.py: "CCE requires embedding layers to be in fp16/bf16"; GradScaler unscales no such gradients
        reading.refuse(
            "cut cross-entropy under fp16: the head trains in fp16, and its gradients are not unscaled", place
        )
