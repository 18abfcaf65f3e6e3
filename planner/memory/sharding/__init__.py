"""What each rank keeps of parameters, gradients and optimizer states, and when more of it is gathered."""
