"""The model, its optimizer and its ranks as a training script sets them up."""
