"""Runs the command `planner` as a process that an interrupt ends without a message, whenever it comes.

The handler is installed before anything else is imported, including `signal`, whose import takes milliseconds. Programs
that import the library keep their handlers, since only `main` changes them.
"""

import _signal  # type: ignore[import-not-found]  # what `signal` is made of; typeshed leaves it out
import atexit
import gc
import os
import sys

INTERRUPTED = 128 + 2
"""Exit code that shells report for a process that SIGINT ended."""

_runs = False
"""Whether a command is running. An interrupt then raises an exception, so that the command can clean up.

Before and after that there is nothing to clean up, and the code that the exception would pass through would print
messages of its own."""
_interrupted = False
"""Whether an interrupt came while a command was running."""


def main() -> None:
    """Runs the command, which ends with `sys.exit`."""
    global _runs
    # A process that is started with interrupts ignored, as by `nohup` or `&`, is meant to survive them.
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _interrupt)
        sys.unraisablehook = _unraisable
        # This is registered first and called last, so that no handler of ours is called during the rest of the exit.
        atexit.register(_signal.signal, _signal.SIGINT, _signal.SIG_IGN)
    _start_lightly()
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
        # sys.exit is not used: it would wait for threads, and Python kills itself by SIGINT if the interrupt came in
        # code that `exec` ran, as every dataclass does.
        atexit._run_exitfuncs()
        os._exit(INTERRUPTED)


def _start_lightly() -> None:
    """Configures the process for commands that mostly live for less than a second, before anything large is imported.

    The garbage collector looks for reference cycles very rarely, because commands make few. Pydantic's plugins are
    disabled, because the search for them reads the metadata of every installed package. Even so, pydantic would import
    the module that searches, and with it `importlib.metadata`, `email` and `zipfile`, which takes longer than all of
    its validation. A module that finds no plugins takes its place; `get_plugins` is all that pydantic takes from it
    (pydantic/plugin/_schema_validator.py).
    """
    gc.set_threshold(100_000)
    if os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__") == "__all__":
        loader = type(sys)("pydantic.plugin._loader")
        vars(loader)["get_plugins"] = tuple
        sys.modules[loader.__name__] = loader


def was_interrupted() -> bool:
    """Returns whether an interrupt came.

    A later error may be its consequence: Python raises a RuntimeError for an interrupt that comes while a class is
    created.
    """
    return _interrupted


def _interrupt(_: int, __: object) -> None:
    """Handles SIGINT: raises KeyboardInterrupt the first time while a command runs, else ends the process at once."""
    global _interrupted
    if _interrupted or not _runs:
        os._exit(INTERRUPTED)
    _interrupted = True
    raise KeyboardInterrupt


def _unraisable(lost: "sys.UnraisableHookArgs") -> None:
    """Handles exceptions that Python cannot pass on, instead of the default handler, which prints them.

    Python cannot pass on what is raised in a callback, and every import has callbacks. An interrupt in one ends the
    process. After an interrupt, errors are ignored, since objects that were left incomplete raise them.
    """
    if issubclass(lost.exc_type, KeyboardInterrupt):
        os._exit(INTERRUPTED)
    if not _interrupted:
        sys.__unraisablehook__(lost)
