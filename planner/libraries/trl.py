"""The tiles of TRL's chunked loss (of version 1.16)."""

TILE_TOKENS, TILE_WORDS = 4096, 32768
"""trl/kernels/chunked_logprob.py, `TOKEN_CHUNK_SIZE`; trl/trainer/utils.py, `_CHUNKED_LOGPROB_CHUNK_SIZE`."""
