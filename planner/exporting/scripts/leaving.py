"""Ends a run of several processes."""

import os
import sys

import torch.distributed as dist


def leave() -> None:
    """Leaves the other processes; one that had no GPU then ends at once, without what Python does at an exit.

    A thread of gloo's drops the tensors of the last collective whenever it runs next, which needs Python. If Python is
    ending by then, the thread aborts the process: "terminate called without an active exception", in about one run of
    ten on a busy machine. destroy_process_group() does not wait for it, since DTensor's caches keep the group alive
    (https://github.com/pytorch/pytorch/pull/179291).
    """
    if not dist.is_initialized():
        return
    by_gloo = dist.get_backend() == "gloo"
    dist.destroy_process_group()
    if by_gloo:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
