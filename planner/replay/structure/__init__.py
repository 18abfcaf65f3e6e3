"""What a model of transformers is made of, before anything is done to it."""
