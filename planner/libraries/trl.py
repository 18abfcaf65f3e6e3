"""Sizes the tiles of the chunked loss of TRL (version 1.16)."""

TILE_TOKENS, TILE_WORDS = 4096, 32768
"""Tokens and words whose logits exist at once.

Sources: trl/kernels/chunked_logprob.py, `TOKEN_CHUNK_SIZE`; trl/trainer/utils.py, `_CHUNKED_LOGPROB_CHUNK_SIZE`.
"""
