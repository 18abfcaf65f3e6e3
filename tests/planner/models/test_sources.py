import json
import os
from pathlib import Path
from typing import Any

import pytest

from planner.models import find_model
from planner.models.sources.config_json import parse_config
from planner.models.sources.document import MAX_FILE_BYTES, ModelConfigError

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 1000,
    "max_position_embeddings": 512,
}


def config(**fields: Any) -> bytes:
    return json.dumps({**LLAMA, **fields}, indent=2).encode()


def problems_of(content: bytes) -> list[str]:
    with pytest.raises(ModelConfigError) as caught:
        parse_config("c.json", content)
    return caught.value.problems


# --- files ---


@pytest.mark.parametrize(
    "text", ["./here/config.json", "./here", "here", "here/config.json", "../work/here/", "~/here"]
)
def test_a_file_and_its_directory_are_read_under_every_spelling(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work/here").mkdir(parents=True)
    (tmp_path / "work/here/config.json").write_bytes(config())
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("HOME", str(tmp_path / "work"))
    model = find_model(text)
    assert (model.name, model.hf, model.approximate, model.notes) == (text, None, False, ())
    assert model.num_parameters == 2 * 64_000 + 2 * (4 * 64**2 + 3 * 64 * 128 + 2 * 64) + 64
    assert find_model(model.name) == model


def test_a_file_of_any_name_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my-model").write_bytes(config())
    assert find_model("my-model").num_parameters == find_model(f"{tmp_path}/my-model").num_parameters


def test_a_path_that_leads_nowhere_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def message(text: str) -> str:
        with pytest.raises(ModelConfigError) as caught:
            find_model(text)
        return caught.value.problems[0]

    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("odd/config.json").mkdir(parents=True)
    assert message("missing.json") == "missing.json: no such file"
    assert message("./missing") == "./missing: no such file"
    assert message("./empty") == "./empty: a directory without config.json"
    assert message("./odd") == "./odd/config.json: is a directory, not a file"
    assert message("./a\0b") == "./a\0b: cannot be read: embedded null byte"
    assert message("./" + "a" * 5000).endswith("cannot be read: File name too long")
    assert message("/dev/zero.json/../zero") == "/dev/zero.json/../zero: no such file"
    Path("device.json").symlink_to("/dev/zero")
    assert message("device.json") == "device.json: is a device, not a file"
    Path("large.json").write_bytes(b" " * (MAX_FILE_BYTES + 1))
    assert message("large.json") == "large.json: larger than 1048576 bytes"
    os.mkfifo("pipe.json")
    assert message("pipe.json") == "pipe.json: is empty"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_process_substitution_is_read() -> None:
    read_end, write_end = os.pipe()
    os.write(write_end, config())
    os.close(write_end)
    assert find_model(f"/dev/fd/{read_end}").num_parameters > 0
    os.close(read_end)


# --- contents ---


def test_all_problems_come_at_once_with_line_column_and_path() -> None:
    content = b"""{
  "model_type": "llama",
  "hidden_size": true,
  "intermediate_size": -1,
  "num_hidden_layers": "32", "num_attention_heads": 4.0,
  "vocab_size": NaN,
  "max_position_embeddings": 99999999999,
  "attention_dropout": Infinity,
  "tie_word_embeddings": "no",
  "head_dim": 1,
  "head_dim": [8]
}"""
    with pytest.raises(ModelConfigError) as caught:
        parse_config("c.json", content)
    assert str(caught.value) == (
        "10 problems in the model configuration\n"
        "  c.json:3:3: hidden_size: must be a valid integer, not True\n"
        "  c.json:4:3: intermediate_size: must be greater than 0, not -1\n"
        "  c.json:5:3: num_hidden_layers: must be a valid integer, not '32'\n"
        "  c.json:5:30: num_attention_heads: must be a valid integer, not 4.0\n"
        "  c.json:6:3: vocab_size: must be a valid integer, not nan\n"
        "  c.json:7:3: max_position_embeddings: must be less than or equal to 16777216, not 99999999999\n"
        "  c.json:8:3: attention_dropout: must be less than 1, not inf\n"
        "  c.json:9:3: tie_word_embeddings: must be a valid boolean, not 'no'\n"
        "  c.json:11:3: head_dim: duplicate key\n"
        "  c.json:11:3: head_dim: must be a valid integer, not (8,)\n"
        "hint: give a config.json as transformers' save_pretrained writes it"
    )


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "c.json: is empty"),
        (b" \n", "c.json: is empty"),
        (b'{\n  "a": \xff}', "c.json:2:8: not UTF-8 text (byte 0xff)"),
        (b'{\n  "a": 1,\n}', "c.json:3:1: not valid JSON: Expecting property name enclosed in double quotes"),
        (b"[1]", "c.json: must be an object in braces, not [1]"),
        (b"null", "c.json: must be an object in braces, not None"),
        (b"[" * 100_000, "c.json: nested deeper than 50 levels"),
        (b'{"a":' * 100_000, "c.json: nested deeper than 50 levels"),
        (b"[" * 51 + b"]" * 51, "c.json: nested deeper than 50 levels"),
        (b"[" * 50 + b"]" * 50, "c.json: must be an object in braces, not [[[["),
        (b"[" + b"{}," * 100_000 + b"{}]", "c.json: more than 100000 objects and lists"),
        (b"1" * 5000, "c.json: a number with more than 40 digits"),
        (b'{"model_type": "' + b"a" * 100_000 + b'"}', "c.json:1:2: model_type: must be a name, not 'aaaa"),
        (rb'{"model_type": "a\u001b[31m"}', "c.json:1:2: model_type: must be a name, not 'a\\x1b[31m'"),
        (config(architectures=[123]), "architectures.0: must be the name of a class, not 123"),
        (config(architectures=["__name__"]), "architectures.0: must be the name of a class, not '__name__'"),
        (config(architectures={"a": 1}), "architectures.0: must be the name of a class, not {'a': 1}"),
        (b"{}", "c.json: model_type: this field is required"),
        (b'{"model_type": 7}', "c.json:1:2: model_type: must be a name, not 7"),
        (config(attention_dropout=float("nan")), "c.json:9:3: attention_dropout: must be less than 1, not nan"),
        (config(num_key_value_heads=3), "num_attention_heads (4) is not a multiple of num_key_value_heads (3)"),
        (config(num_attention_heads=5), "hidden_size (64) is not a multiple of num_attention_heads (5)"),
        (
            config(model_type="smollm3", no_rope_layers=[1]),
            "no_rope_layers has 1 entries, one for each of 2 layers is needed",
        ),
        (
            config(model_type="smollm3", no_rope_layers=[1, "x"]),
            "c.json:9:3: no_rope_layers.1: must be a valid integer, not 'x'",
        ),
        (config(model_type="phi3", partial_rotary_factor=2), "must be less than or equal to 1, not 2"),
        (b'{"model_type": "llama", "\\u0061": 1, "a": 2}', "c.json:1:38: a: duplicate key"),
        (b'{"x y\\ud800": {"b": 1, "b": 2}, "model_type": "llama"}', "c.json:1:24: 'x y\\ud800'.b: duplicate key"),
    ],
)
def test_a_configuration_that_is_wrong_is_refused(content: bytes, problem: str) -> None:
    assert any(problem in found for found in problems_of(content))


def test_a_missing_field_is_named() -> None:
    assert problems_of(b'{"model_type": "gpt2", "n_embd": 64, "vocab_size": 100, "n_positions": 8}') == [
        "c.json: n_head: this field is required",
        "c.json: n_layer: this field is required",
    ]


def test_keys_that_do_not_decide_sizes_are_ignored() -> None:
    fields = {"rope_scaling": {"factor": 8.0}, "eos_token_id": [1, 2], "time": [0.0, float("inf")], "é": "\ud800"}
    assert parse_config("c.json", config(**fields)) == parse_config("c.json", b"\xef\xbb\xbf" + config())


def test_a_null_means_the_default_where_transformers_writes_one() -> None:
    fields = {"num_key_value_heads": None, "head_dim": None, "rope_parameters": None, "quantization_config": None}
    assert parse_config("c.json", config(**fields)) == parse_config("c.json", config())
    gemma = config(model_type="gemma", hidden_act="gelu", hidden_activation=None, num_key_value_heads=4, head_dim=16)
    assert parse_config("c.json", gemma).architecture.num_attention_heads == 4
    assert parse_config("c.json", config(model_type="phi3", rope_parameters=None)).notes == ()


def test_a_quantized_model_is_planned_for_without_its_quantization() -> None:
    quantized = parse_config("c.json", config(quantization_config={"quant_method": "awq", "bits": 4}))
    assert quantized.architecture == parse_config("c.json", config()).architecture
    assert quantized.notes == ("quantization_config is ignored: the weights are taken as not quantized",)


# --- multimodal models ---


def test_of_a_multimodal_model_the_text_part_counts() -> None:
    outer = {
        "model_type": "llava",
        "text_config": LLAMA,
        "vision_config": {"hidden_size": 7},
        "tie_word_embeddings": True,
    }
    architecture, notes = parse_config("c.json", json.dumps(outer).encode())
    assert architecture == parse_config("c.json", config(tie_word_embeddings=True)).architecture
    assert notes == (
        "only the text part of this llava model counts (llama), without its vision tower and the tokens of images",
    )


def test_problems_of_a_text_part_stand_where_it_does() -> None:
    part = {**LLAMA, "hidden_size": 0}
    del part["vocab_size"]
    outer = {"model_type": "llava", "vision_config": {"hidden_size": 7}, "text_config": part}
    assert problems_of(json.dumps(outer, indent=1).encode()) == [
        "c.json:6:2: text_config.vocab_size: this field is required",
        "c.json:8:3: text_config.hidden_size: must be greater than 0, not 0",
    ]


def test_what_no_family_describes_keeps_its_fields() -> None:
    outer = b'{"model_type": "gemma3", "text_config": {"model_type": "some_new_text", "width": 3}}'
    assert parse_config("c.json", outer) == (
        {"model_type": "some_new_text", "width": 3},
        ("only the text part of this gemma3 model counts (some_new_text)",),
    )
    assert parse_config("c.json", b'{"model_type": "clip", "text_config": {}}').architecture == {
        "model_type": "clip",
        "text_config": {},
    }


def test_a_known_family_under_another_head_keeps_its_fields() -> None:
    fields = json.loads(config(architectures=["LlamaForSequenceClassification"]))
    assert parse_config("c.json", json.dumps(fields).encode()).architecture == fields
