"""What layers and models are given: activations, initializers, regularizers, constraints, losses, ..."""
