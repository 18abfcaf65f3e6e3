"""What `hf:org/name` gives, with a client that is told what to answer."""

import builtins
import json
import socket
import time
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import errors

from hardware.errors import PlannerError
from planner.models import find_model
from planner.models.sources.document import ModelConfigError

GPT2 = json.dumps(
    {"model_type": "gpt2", "n_embd": 768, "n_layer": 12, "n_head": 12, "vocab_size": 50257, "n_positions": 1024}
)


def hub_gives(monkeypatch: pytest.MonkeyPatch, outcome: Path | Exception) -> None:
    def download(repository: str, file: str) -> str:
        assert file == "config.json"
        if isinstance(outcome, Exception):
            raise outcome
        return str(outcome)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", lambda *_, **__: None)


def test_a_model_of_the_hub_is_read_under_its_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.json").write_text(GPT2)
    hub_gives(monkeypatch, tmp_path / "config.json")
    model = find_model("hf:me/mine")
    assert (model.name, model.hf) == ("hf:me/mine", "me/mine")
    assert model.architecture == find_model("gpt2").architecture
    assert find_model(model.name) == model


def test_a_wrong_configuration_on_the_hub_is_reported_under_its_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_bytes(b"{}")
    hub_gives(monkeypatch, tmp_path / "config.json")
    with pytest.raises(ModelConfigError, match=r"hf:me/mine/config\.json: model_type: this field is required"):
        find_model("hf:me/mine")


def without_init(kind: type[Exception]) -> Exception:
    """An error of the Hub's client, some of which want a response to be made."""
    return kind.__new__(kind)


@pytest.mark.parametrize(
    ("outcome", "message", "hint"),
    [
        (errors.HFValidationError("x"), "is not the name of a model on the Hub", "write it as in hf:org/name"),
        (
            without_init(errors.GatedRepoError),
            "is gated",
            "accept its terms on https://huggingface.co/me/mine, then log in with: hf auth login",
        ),
        (
            without_init(errors.RepositoryNotFoundError),
            "does not exist, or is private",
            "if it is private: hf auth login",
        ),
        (
            errors.LocalEntryNotFoundError("x"),
            "is not in the local cache, and the Hub is out of reach",
            "check the connection and HF_HUB_OFFLINE, or give the path of a config.json",
        ),
        (errors.EntryNotFoundError("x"), "has no config.json", "see the files on https://huggingface.co/me/mine"),
        (RuntimeError("odd\nerror"), "cannot be downloaded: odd error", "give the path of a config.json instead"),
    ],
)
def test_a_failed_download_says_why_and_the_way_out(
    outcome: Exception, message: str, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub_gives(monkeypatch, outcome)
    with pytest.raises(PlannerError) as caught:
        find_model("hf:me/mine")
    assert (caught.value.message, caught.value.hint) == (f"hf:me/mine {message}", hint)


def test_a_failed_download_names_the_registry_model_of_the_same_id(monkeypatch: pytest.MonkeyPatch) -> None:
    hub_gives(monkeypatch, errors.EntryNotFoundError("x"))
    with pytest.raises(PlannerError, match="; gpt2 of the built-in registry has the same architecture"):
        find_model("hf:openai-community/gpt2")


def test_without_the_hub_package_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def without_hub(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("huggingface_hub"):
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_hub)
    with pytest.raises(PlannerError) as caught:
        find_model("hf:me/mine")
    assert (
        str(caught.value) == "hf:me/mine needs the package huggingface_hub\nhint: pip install 'huggingface-hub>=0.30'"
    )


def test_an_offline_hub_answers_without_the_network_and_without_waiting(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("the network is asked"))
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("somebody waits"))
    with pytest.raises(PlannerError, match="is not in the local cache"):
        find_model("hf:me/surely-not-there")


def test_a_hub_that_is_out_of_reach_is_asked_once_and_nobody_waits(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = []

    def unreachable(url: str, *, timeout: float) -> None:
        asked.append((url, timeout))
        raise ConnectionError("Name or service not known")

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", unreachable)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *_: pytest.fail("it is asked again"))
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("somebody waits"))
    with pytest.raises(PlannerError, match="is not in the local cache, and the Hub is out of reach"):
        find_model("hf:me/mine")
    assert asked == [("https://huggingface.co/me/mine/resolve/main/config.json", 3)]


def test_a_model_in_the_cache_is_read_where_the_hub_is_out_of_reach(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def unreachable(url: str, *, timeout: float) -> None:
        raise ConnectionError("Name or service not known")

    (tmp_path / "config.json").write_text(GPT2)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: str(tmp_path / "config.json"))
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", unreachable)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *_: pytest.fail("it is asked again"))
    assert find_model("hf:me/mine").architecture == find_model("gpt2").architecture


def test_what_the_hub_says_of_a_model_is_said_by_the_first_request(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def gated(url: str, *, timeout: float) -> None:
        raise without_init(errors.GatedRepoError)

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", gated)
    with pytest.raises(PlannerError, match="is gated"):
        find_model("hf:me/mine")
