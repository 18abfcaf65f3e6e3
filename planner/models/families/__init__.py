"""One file per `model_type` of a Hugging Face config.json; each hands out its class as `Architecture`."""
