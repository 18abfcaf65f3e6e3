"""The process of the command `planner`: an interrupt ends it without a word, at whatever moment it comes.

The handler is there before anything is imported, `signal` included, which takes milliseconds of its own. Programs that
import the library keep their handlers: only `main` changes them.
"""

import _signal  # type: ignore[import-not-found]  # what `signal` is made of; typeshed leaves it out
import atexit
import os
import sys

INTERRUPTED = 128 + 2
"""As shells report a process that SIGINT ended."""

_runs = False
"""A command is at work: it gets an exception, after which it tidies up. Before and after that there is nothing to tidy,
and code that an exception would go through with words of its own."""
_interrupted = False


def main() -> None:
    """Runs the command; sys.exit ends it."""
    global _runs
    # Whoever starts a process with interrupts ignored, as `nohup` and `&` do, wants it to live.
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _interrupt)
        sys.unraisablehook = _unraisable
        # Registered first, called last: what is left after that calls no handler of ours.
        atexit.register(_signal.signal, _signal.SIGINT, _signal.SIG_IGN)
    try:
        from planner.neighbours import stranger

        if in_the_way := stranger():
            sys.stderr.write(f"error: {in_the_way}\n")
            sys.exit(2)
        from planner.cli import main as command

        try:
            _runs = True
            command()
        finally:
            _runs = False
    except BaseException:
        if not _interrupted:
            raise
        # Not sys.exit: Python ends itself by SIGINT if the interrupt came in code that `exec` ran, as each dataclass
        # has. Nor are threads waited for.
        atexit._run_exitfuncs()
        os._exit(INTERRUPTED)


def was_interrupted() -> bool:
    """Whether an interrupt came: an error after it may be its consequence, as Python makes a RuntimeError of one that
    comes while a class is made.
    """
    return _interrupted


def _interrupt(_: int, __: object) -> None:
    global _interrupted
    if _interrupted or not _runs:
        os._exit(INTERRUPTED)
    _interrupted = True
    raise KeyboardInterrupt


def _unraisable(lost: "sys.UnraisableHookArgs") -> None:
    """Python drops what is raised in a callback, of which each import has some, and prints it. After an interrupt,
    objects that were left half made raise there, too.
    """
    if issubclass(lost.exc_type, KeyboardInterrupt):
        os._exit(INTERRUPTED)
    if not _interrupted:
        sys.__unraisablehook__(lost)
