"""Symbolic tensors, the nodes that make them, the trace that finds shapes, and the order in which graphs run."""
