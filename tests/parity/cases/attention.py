"""Attention, and the layers that it is made of."""

from __future__ import annotations

from typing import Any

from tests.parity.cases.case import IMAGE, SEQUENCE, Case

PAIR, TRIPLE = [(3, 4, 5), (3, 6, 5)], [(3, 4, 5), (3, 6, 5), (3, 6, 5)]


def _heads(name: str, shape: Any = PAIR, **arguments: Any) -> Case:
    return Case(name, arguments, shape, apart=True)


MANY = {"num_heads": 2, "key_dim": 3}
GROUPS = {"head_dim": 3, "num_query_heads": 4, "num_key_value_heads": 2}

CASES = [
    Case("EinsumDense", {"equation": "abc,cd->abd", "output_shape": (None, 6), "bias_axes": "d"}, SEQUENCE),
    Case("EinsumDense", {"equation": "...x,xy->...y", "output_shape": 6, "activation": "relu"}, IMAGE),
    Case("EinsumDense", {"equation": "...x,xyz->...yz", "output_shape": (6, 2), "bias_axes": "z"}, SEQUENCE),
    Case("EinsumDense", {"equation": "abc...,ce->abe...", "output_shape": (None, 3), "bias_axes": "e"}, IMAGE),
    Case("EinsumDense", {"equation": "abc,bcd->abd", "output_shape": (7, 3), "bias_axes": "bd"}, SEQUENCE),
    Case("EinsumDense", {"equation": "abc,bc->ac", "output_shape": 4, "bias_axes": "c"}, SEQUENCE),
    Case("Attention", {}, PAIR),
    Case("Attention", {"use_scale": True, "dropout": 0.3}, TRIPLE),
    Case("Attention", {"score_mode": "concat"}, PAIR),
    Case("Attention", {"score_mode": "concat", "use_scale": True}, TRIPLE),
    Case("AdditiveAttention", {}, PAIR),
    Case("AdditiveAttention", {"use_scale": False, "dropout": 0.5}, TRIPLE),
    _heads("MultiHeadAttention", **MANY),
    _heads("MultiHeadAttention", TRIPLE, **MANY, value_dim=4, dropout=0.4, use_gate=True),
    _heads("MultiHeadAttention", **MANY, use_bias=False, output_shape=7, sliding_window=2),
    _heads("MultiHeadAttention", **MANY, output_shape=(2, 3), kernel_regularizer="l2", activity_regularizer="l2"),
    _heads("MultiHeadAttention", [(2, 3, 4, 5), (2, 2, 3, 5)], **MANY),
    _heads("MultiHeadAttention", [(2, 3, 4, 5), (2, 3, 2, 5)], **MANY, attention_axes=2),
    _heads("GroupQueryAttention", **GROUPS),
    _heads("GroupQueryAttention", TRIPLE, **GROUPS, dropout=0.4, use_gate=True, sliding_window=3),
    Case("ReversibleEmbedding", {"input_dim": 11, "output_dim": 4}, (3, 6), ids=11),
    Case("ReversibleEmbedding", {"input_dim": 11, "output_dim": 4, "tie_weights": False}, (3, 6), ids=11),
]
