"""From the last hidden states to the loss."""
