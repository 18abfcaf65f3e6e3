"""Says what the files of each framework around transformers mean, and of accelerate and DeepSpeed under them."""
