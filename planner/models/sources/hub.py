"""Downloads the config.json of a model on the Hugging Face Hub."""

from __future__ import annotations

from typing import Final

from hardware.errors import PlannerError
from planner.extras import install_hint
from planner.models.sources.config_json import Source, parse_config
from planner.models.sources.document import read_bytes

PATIENCE_SECONDS: Final = 3
"""Seconds within which the Hub has to begin to answer; the client alone asks six times, over 24 seconds."""


def download_config(repository: str, *, instead: str | None = None, from_cache: bool = False) -> Source:
    """Returns the architecture of a model on the Hugging Face Hub.

    Args:
        repository: `org/name`.
        instead: A name of the registry that needs no download, for the hint of an error.
        from_cache: Whether the local cache alone is read, without use of the network.

    Raises:
        PlannerError: The model is not there, cannot be downloaded, or its config.json cannot be used.
    """
    hint = f"{instead} of the built-in registry has the same architecture" if instead else None
    try:
        from huggingface_hub import errors, hf_hub_download, try_to_load_from_cache
    except ImportError:
        hint = f"{install_hint('hub')}; {hint}" if hint else install_hint("hub")
        raise PlannerError(f"hf:{repository} needs the package huggingface_hub", hint) from None
    page = f"https://huggingface.co/{repository}"
    advice: tuple[tuple[type[Exception], str, str], ...] = (
        (errors.HFValidationError, "is not the name of a model on the Hub", "write it as in hf:org/name"),
        (errors.GatedRepoError, "is gated", f"accept its terms on {page}, then log in with: hf auth login"),
        (errors.RepositoryNotFoundError, "does not exist, or is private", "if it is private: hf auth login"),
        (errors.LocalEntryNotFoundError, *_absent(repository, from_cache)),
        (errors.EntryNotFoundError, "has no config.json", f"see the files on {page}"),
    )
    try:
        # hf_hub_download(local_files_only=True) asks the Hub as well if the file is not there (huggingface_hub 2.4).
        path = try_to_load_from_cache(repository, "config.json")
        try:
            if not from_cache:
                _check_that_it_answers(repository)
                path = hf_hub_download(repository, "config.json")
        except errors.LocalEntryNotFoundError:
            if not isinstance(path, str):
                raise
        if not isinstance(path, str):
            raise errors.LocalEntryNotFoundError(repository)
    except Exception as error:  # anything that the client or its HTTP library raises
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        what, way_out = next(
            ((what, way_out) for kind, what, way_out in advice if isinstance(error, kind)),
            (f"cannot be downloaded: {reason}", "give the path of a config.json instead"),
        )
        raise PlannerError(f"hf:{repository} {what}", f"{way_out}; {hint}" if hint else way_out) from error
    name = f"hf:{repository}/config.json"
    return parse_config(name, read_bytes(path, name))


def _check_that_it_answers(repository: str) -> None:
    """Asks for a config.json once; raises what the Hub says of it, and LocalEntryNotFoundError if it says nothing."""
    from huggingface_hub import errors, get_hf_file_metadata, hf_hub_url

    try:
        get_hf_file_metadata(hf_hub_url(repository, "config.json"), timeout=PATIENCE_SECONDS)
    except (errors.HfHubHTTPError, errors.HFValidationError):
        raise
    except Exception as error:  # anything that the HTTP library raises
        raise errors.LocalEntryNotFoundError(repository) from error


def _absent(repository: str, from_cache: bool) -> tuple[str, str]:
    """Returns what an error says of a model that is not in the local cache, and the way out."""
    if from_cache:
        return "is named by a file and not in the local cache", f"--model hf:{repository} downloads it"
    return (
        "is not in the local cache, and the Hub is out of reach",
        "check the connection and HF_HUB_OFFLINE, or give the path of a config.json",
    )
