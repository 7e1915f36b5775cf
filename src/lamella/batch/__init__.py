"""The batch axis: what is written for one sample, on a whole batch."""

from lamella.batch.per_sample import per_sample

__all__ = ["per_sample"]
