"""Training: data in batches, one compiled step, the loop around it, callbacks and progress."""
