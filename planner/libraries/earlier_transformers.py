"""Says which models had which loss in earlier versions of transformers.

Until 4.45 a model's forward casts its logits to fp32 and computes the loss (models/*/modeling_*.py). From 4.46 on
`ForCausalLMLoss` casts them, beside those of the model (loss/loss_utils.py). Both compute the loss of
`logits[..., :-1, :].contiguous()`, until 4.49 pads the labels instead, without a copy of the logits.
"""

from __future__ import annotations

_DECODERS = "cohere gemma gemma2 granite llama mistral mixtral nemotron olmo olmoe phi phi3 qwen2 qwen2_moe starcoder2"
_BOTH = tuple(_DECODERS.split())

CASTS_LOGITS = (*_BOTH, "granitemoe")
"""Types of models whose forward has `logits = logits.float()` in 4.45.2."""

CALLS_LOSS = (*_BOTH, "olmo2")
"""Types of models whose forward calls `self.loss_function` in 4.48.1."""
