"""Sets up the model, its optimizer and its ranks as a training script does."""
