"""Builds the model that is trained, and finds its inputs, blocks and trainable parameters."""
