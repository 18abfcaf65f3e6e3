"""One file per `model_type` of a Hugging Face config.json; each hands out its class as `Architecture`."""

from typing import Final

SPELLED_WITH_DASHES: Final = {"deberta_v2": "deberta-v2", "xlm_roberta": "xlm-roberta"}
"""Model types that are no names of Python modules."""
