"""All speed lives here: pure array functions, which layers call without knowing of platforms."""

from lamella.kernels.attend import attention, weighted_mean
from lamella.kernels.convolve import convolve, convolve_transposed
from lamella.kernels.crossentropy import (
    sigmoid_cross_entropy,
    softmax_cross_entropy,
    sparse_softmax_cross_entropy,
)
from lamella.kernels.ctc import ctc_beam_search, ctc_greedy
from lamella.kernels.dense import dense, embed, finished
from lamella.kernels.noise import bernoulli
from lamella.kernels.normalize import batch_norm, batch_norm_in_training, group_norm, layer_norm
from lamella.kernels.pad import crop, upsample, zero_pad
from lamella.kernels.platform import loops_well, made_for, uncounted_bytes
from lamella.kernels.pool import (
    adaptive_average_pool,
    adaptive_max_pool,
    average_pool,
    global_average_pool,
    global_max_pool,
    max_pool,
)
from lamella.kernels.quantized import Axes, dequantized, laid_out, quantized_product
from lamella.kernels.recur import gru_step, lstm_gates, lstm_step, scan_steps, simple_rnn_step
from lamella.kernels.rows import Rows, looks_up, row_gradients
from lamella.kernels.sequence import Weights as RecurrentWeights
from lamella.kernels.sequence import gru, lstm, simple_rnn

__all__ = [
    "Axes",
    "RecurrentWeights",
    "Rows",
    "adaptive_average_pool",
    "adaptive_max_pool",
    "attention",
    "average_pool",
    "batch_norm",
    "batch_norm_in_training",
    "bernoulli",
    "convolve",
    "convolve_transposed",
    "crop",
    "ctc_beam_search",
    "ctc_greedy",
    "dense",
    "dequantized",
    "embed",
    "finished",
    "global_average_pool",
    "global_max_pool",
    "group_norm",
    "gru",
    "gru_step",
    "laid_out",
    "layer_norm",
    "looks_up",
    "loops_well",
    "lstm",
    "lstm_gates",
    "lstm_step",
    "made_for",
    "max_pool",
    "quantized_product",
    "row_gradients",
    "scan_steps",
    "sigmoid_cross_entropy",
    "simple_rnn",
    "simple_rnn_step",
    "softmax_cross_entropy",
    "sparse_softmax_cross_entropy",
    "uncounted_bytes",
    "upsample",
    "weighted_mean",
    "zero_pad",
]
