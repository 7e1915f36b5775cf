"""Quantizers and the configs of quantization, under Keras's names."""

from lamella.parts.quantizers import *  # noqa: F403
