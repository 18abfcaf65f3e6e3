"""Silences what libraries log when they are imported: it is about GPUs' libraries, or about other libraries.

torchao warns of its CUDA libraries, which a CPU cannot load, and torch of how torchao registers its enums.
"""

import logging

for name in ("torchao", "torch.utils._pytree"):
    logging.getLogger(name).setLevel(logging.ERROR)
