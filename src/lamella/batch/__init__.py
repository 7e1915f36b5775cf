"""The batch axis as a checked property: do samples mix, and what follows where they do not."""

from lamella.batch.check import assert_independent, check
from lamella.batch.gradients import clip_per_sample, norm_per_sample, per_sample_gradients
from lamella.batch.per_sample import per_sample
from lamella.batch.report import Place, Report

__all__ = [
    "Place",
    "Report",
    "assert_independent",
    "check",
    "clip_per_sample",
    "norm_per_sample",
    "per_sample",
    "per_sample_gradients",
]
