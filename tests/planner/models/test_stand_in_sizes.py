"""A size alone is a model: a stand-in with as many parameters, shaped like known models."""

import math
import random

import pytest

from hardware.errors import PlannerError
from planner.models import find_model


def stand_in_shape(size: str) -> tuple[int, int]:
    architecture = find_model(size).architecture
    return architecture.num_hidden_layers, architecture.hidden_size


def test_one_billion_gives_a_llama_of_one_billion() -> None:
    model = find_model("1B")
    assert (model.name, model.approximate, model.hf) == ("1B", True, None)
    assert model.num_parameters == 1_006_475_328
    assert model.notes == (
        "a Llama-shaped stand-in of 1,006,475,328 parameters: 25 layers, hidden size 1728, 27 heads of 64, "
        "feed-forward 4608, vocabulary 32000",
    )


@pytest.mark.parametrize(
    ("size", "shape"),
    [
        ("125M", (11, 768)),  # GPT-3 small and OPT: 12 x 768
        ("350M", (19, 1088)),  # 24 x 1024
        ("1.3b", (28, 1856)),  # 24 x 2048
        ("7B", (33, 4096)),  # Llama: 32 x 4096, which is 6.74 B
        ("13B", (40, 5120)),  # Llama: the same
        ("65B", (69, 8832)),  # Llama: 80 x 8192
        ("175B", (96, 12288)),  # GPT-3: the same
        ("405b", (127, 16256)),  # Llama 3.1: 126 x 16384
    ],
)
def test_a_stand_in_is_shaped_like_known_models_of_its_size(size: str, shape: tuple[int, int]) -> None:
    assert stand_in_shape(size) == shape


def test_a_stand_in_has_the_size_asked_for_within_3_percent_and_a_plausible_shape() -> None:
    sizes = random.Random(0)
    for number in [10**7, 2 * 10**12, *(int(10 ** sizes.uniform(7, math.log10(2e12))) for _ in range(300))]:
        model = find_model(f"{number / 10**6}M")
        layers, hidden = model.architecture.num_hidden_layers, model.architecture.hidden_size
        assert abs(model.num_parameters / number - 1) <= 0.03
        assert f"{model.num_parameters:,} parameters" in model.notes[0]
        assert (40 < hidden / layers < 160) or number < 10**8  # below, the embeddings leave little room


@pytest.mark.parametrize("spelling", ["1.5B", "1.5b", "1500M", "1.5 b", "0.0015T"])
def test_a_size_may_be_written_in_every_usual_way(spelling: str) -> None:
    model = find_model(spelling)
    assert stand_in_shape(spelling) == stand_in_shape("1.5B")
    assert find_model(model.name) == model


@pytest.mark.parametrize("size", ["0B", "9M", "2.1T", "99999999999999999999T", "9" * 400 + "B"])
def test_a_size_out_of_range_is_refused(size: str) -> None:
    with pytest.raises(PlannerError) as caught:
        find_model(size)
    assert "parameters" in caught.value.message
    assert caught.value.hint == "sizes from 10M to 2T are known"
