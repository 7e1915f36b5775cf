"""Attention with several heads: projections of query, key and value, a mean for each head, a projection of all."""

from __future__ import annotations

import string
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp

from lamella import kernels
from lamella.core.axes import Shape
from lamella.core.errors import ArgumentError, ShapeError
from lamella.core.masked import with_mask
from lamella.core.settings import is_flash_attention_enabled
from lamella.layers.activation import masked_softmax
from lamella.layers.dropout import Dropout, check_rate
from lamella.layers.einsum import EinsumDense
from lamella.layers.layer import Layer
from lamella.parts.constraints import ConstraintLike
from lamella.parts.initializers import Initializer, InitializerLike
from lamella.parts.regularizers import RegularizerLike


class HeadsOfAttention(Layer):
    """What MultiHeadAttention and GroupQueryAttention share: all but the numbers of heads and their sizes."""

    dropout: float = 0.0
    use_bias: bool = True
    sliding_window: int | None = None
    flash_attention: bool | None = None
    kernel_initializer: InitializerLike = "glorot_uniform"
    bias_initializer: InitializerLike = "zeros"
    kernel_regularizer: RegularizerLike = None
    bias_regularizer: RegularizerLike = None
    activity_regularizer: RegularizerLike = None
    kernel_constraint: ConstraintLike = None
    bias_constraint: ConstraintLike = None
    use_gate: bool = False
    seed: Any = None

    supports_masking = True
    axis_names = ("batch", "time", "features")
    if TYPE_CHECKING:
        _query_heads: int
        _key_heads: int
        _key_size: int
        _value_size: int
        _output_sizes: tuple[int, ...] | None
        _axes: tuple[int, ...] | None

    def __post_init__(self) -> None:
        owner = type(self).__name__
        check_rate(owner, self.dropout)
        if self.sliding_window is not None and self.sliding_window < 1:
            raise ArgumentError(f"{owner}: sliding_window must be a positive integer, got {self.sliding_window!r}.")
        if self.flash_attention and self.dropout > 0:
            raise ArgumentError(f"{owner}: flash_attention and dropout exclude each other.", mend="dropout=0.0")

    # -- the projections ------------------------------------------------------------------------------------------

    def build(self, query_shape: Any, value_shape: Any, key_shape: Any = None) -> None:
        key_shape = value_shape if key_shape is None else key_shape
        if tuple(value_shape[1:-1]) != tuple(key_shape[1:-1]):
            raise ShapeError(
                f"{type(self).__name__}: key and value differ in the features only; they are {tuple(key_shape)} and "
                f"{tuple(value_shape)}."
            )
        heads, key_heads = self._query_heads, self._key_heads
        key_size, size = self._key_size, self._value_size
        self._query_dense = self._projection("query", query_shape, (heads, key_size))
        self._key_dense = self._projection("key", key_shape, (key_heads, key_size))
        self._gate_dense = self._projection("gate", query_shape, (heads, size), "sigmoid") if self.use_gate else None
        self._value_dense = self._projection("value", value_shape, (key_heads, size))
        self._dropout_layer = Dropout(self.dropout, seed=self.seed, dtype=self.dtype_policy)
        found = (*query_shape[:-1], heads, size)
        sizes = self._output_sizes or (query_shape[-1],)
        self._output_dense = self._projection("attention_output", found, sizes, summed=2)

    def _projection(
        self, name: str, shape: Shape, sizes: tuple[int, ...], activation: Any = None, summed: int = 1
    ) -> EinsumDense:
        """(batch, ..., features) -> (batch, ..., *sizes): `summed` axes at the end are the features."""
        rank, letters = len(shape), string.ascii_lowercase
        kept, over, made = letters[: rank - summed], letters[rank - summed : rank], letters[rank : rank + len(sizes)]
        layer = EinsumDense(
            f"{kept}{over},{over}{made}->{kept}{made}",
            (*(None,) * (len(kept) - 1), *sizes),
            activation,
            made if self.use_bias else None,
            kernel_initializer=_another(self.kernel_initializer),
            bias_initializer=_another(self.bias_initializer),
            kernel_regularizer=self.kernel_regularizer,
            bias_regularizer=self.bias_regularizer,
            activity_regularizer=self.activity_regularizer,
            kernel_constraint=self.kernel_constraint,
            bias_constraint=self.bias_constraint,
            name=name,
            dtype=self.dtype_policy,
        )
        layer.build(shape)
        return layer

    def _regularize_activity(self, outputs: Any) -> None:
        """The projections are penalized, as in Keras."""

    @property
    def query_dense(self) -> EinsumDense:
        """The projection of queries."""
        return self._query_dense

    @property
    def key_dense(self) -> EinsumDense:
        """The projection of keys."""
        return self._key_dense

    @property
    def value_dense(self) -> EinsumDense:
        """The projection of values."""
        return self._value_dense

    @property
    def output_dense(self) -> EinsumDense:
        """The projection of what all heads found."""
        return self._output_dense

    # -- the call -------------------------------------------------------------------------------------------------

    def call(
        self,
        query: Any,
        value: Any,
        key: Any = None,
        query_mask: Any = None,
        value_mask: Any = None,
        key_mask: Any = None,
        attention_mask: Any = None,
        return_attention_scores: bool = False,
        training: Any = None,
        use_causal_mask: bool = False,
    ) -> Any:
        if self.flash_attention and return_attention_scores:
            raise ArgumentError(
                f"{type(self).__name__}: flash_attention makes no scores that could be returned.",
                mend="flash_attention=None",
            )
        mask = self._mask(query, value, query_mask, value_mask, key_mask, attention_mask)
        heads = self._query_dense(query), self._key_dense(value if key is None else key), self._value_dense(value)
        out, scores = self._attend(*heads, mask, use_causal_mask, training, return_attention_scores)
        if self._gate_dense is not None:
            out = out * self._gate_dense(query)
        out = with_mask(self._output_dense(out), query_mask)
        return (out, scores) if return_attention_scores else out

    def _mask(self, query: Any, value: Any, query_mask: Any, value_mask: Any, key_mask: Any, mask: Any) -> Any:
        """Return where a query may look, (batch or 1, time, keys), or None where it may look everywhere."""
        masks = [None if query_mask is None else query_mask[..., :, None]]
        masks += [None if m is None else m[..., None, :] for m in (value_mask, key_mask)]
        if self.sliding_window is not None:
            places, keys = jnp.arange(query.shape[1]), jnp.arange(value.shape[1])
            masks.append((jnp.abs(places[:, None] - keys) < self.sliding_window)[None])
        return _all_of(*masks, mask)

    def _attend(
        self, query: Any, key: Any, value: Any, mask: Any, is_causal: bool, training: Any, wanted: bool
    ) -> tuple[Any, Any]:
        """Return (batch, time, heads, size), and the weights where they are asked for."""
        scale = self._key_size**-0.5
        axes = self._axes or tuple(range(1, query.ndim - 2))
        together = _all_of(mask, _past(query, key)) if is_causal else mask
        dropping = bool(training) and self.dropout > 0
        if query.ndim == 4 and not wanted and not dropping:
            spread = _spread(mask, 4, 1)
            flash = bool(self.flash_attention) and is_flash_attention_enabled() is not False
            out = kernels.attention(query, key, value, scale=scale, mask=spread, is_causal=is_causal, flash=flash)
            if self.dropout > 0 and together is not None:
                # Keras: a query that may look at nothing gets 0, but the mean of all values without dropout.
                out = jnp.where(_spread(together, 4, 1).any(-1)[:, 0, :, None, None], out, 0)
            return out, None
        key, value = (jnp.repeat(x, self._query_heads // self._key_heads, axis=-2) for x in (key, value))
        to_scores, to_mean = _equations(query.ndim, axes)
        scores = jnp.einsum(to_scores, key, query * jnp.asarray(scale, query.dtype))
        rank = query.ndim - 1 + len(axes)
        weights = masked_softmax(scores, _spread(together, rank, len(axes)), tuple(range(rank - len(axes), rank)))
        return jnp.einsum(to_mean, self._dropout_layer(weights, training=training), value), weights

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        """Return None: the query's mask comes out of `call`, beside its output."""
        return None


def _another(initializer: Any) -> Any:
    """Return an initializer of its own for one of several weights."""
    return initializer.clone() if isinstance(initializer, Initializer) else initializer


def _all_of(*masks: Any) -> Any:
    """Return where all masks are true; None stands for a mask that is true everywhere."""
    whole = None
    for mask in masks:
        if mask is not None:
            whole = mask.astype(bool) if whole is None else whole & mask.astype(bool)
    return whole


def _past(query: Any, key: Any) -> Any:
    return (jnp.arange(query.shape[1])[:, None] >= jnp.arange(key.shape[1]))[None]


def _spread(mask: Any, rank: int, count: int) -> Any:
    """Give a mask the axes before its queries and keys that scores of `rank` axes have; `count` axes are attended."""
    if mask is None:
        return None
    while mask.ndim < rank:
        mask = jnp.expand_dims(mask, -2 * count - 1)
    return mask


def _equations(rank: int, axes: tuple[int, ...]) -> tuple[str, str]:
    """Return the equations of scores (key, query -> scores) and of means (scores, value -> mean).

    >>> _equations(4, (1,))
    ('aecd,abcd->acbe', 'acbe,aecd->abcd')
    """
    letters = string.ascii_lowercase
    query = letters[:rank]
    other = dict(zip(axes, letters[rank:], strict=False))
    key = "".join(other.get(axis, letter) for axis, letter in enumerate(query))
    kept = [letter for axis, letter in enumerate(query[:-1]) if axis not in axes]
    scores = "".join([*kept, *(query[axis] for axis in axes), *(key[axis] for axis in axes)])
    return f"{key},{query}->{scores}", f"{scores},{key}->{query}"


class MultiHeadAttention(HeadsOfAttention):
    """Attention of several heads: (batch, time, features), (batch, keys, features) -> (batch, time, features).

    Called on query, value and key; the key is the value where none is given. Where a query may look is said by
    `attention_mask` (batch, time, keys), `use_causal_mask`, `sliding_window` and the masks that come with the
    arguments, all together. With `return_attention_scores` the weights are a second output, (batch, heads, time, keys).
    `attention_axes` are the axes attended over, all between batch and features by default. Vaswani et al., "Attention
    Is All You Need", 2017, https://arxiv.org/abs/1706.03762; `use_gate`: https://arxiv.org/abs/2505.06708.

    >>> import numpy as np
    >>> layer = MultiHeadAttention(num_heads=2, key_dim=4)
    >>> x = np.ones((3, 7, 16), "float32")
    >>> layer(x, x, use_causal_mask=True).shape
    (3, 7, 16)
    """

    arguments_first = (
        *("num_heads", "key_dim", "value_dim", "dropout", "use_bias", "output_shape", "attention_axes"),
        *("sliding_window", "flash_attention"),
    )
    num_heads: int
    key_dim: int
    value_dim: int | None = None
    output_shape: Any = None
    attention_axes: Any = None

    query_dense = property(lambda self: self._query_dense, doc="The projection of the query.")
    key_dense = property(lambda self: self._key_dense, doc="The projection of the key.")
    value_dense = property(lambda self: self._value_dense, doc="The projection of the value.")
    output_dense = property(lambda self: self._output_dense, doc="The projection of what the heads found.")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.value_dim = self.key_dim if self.value_dim is None else self.value_dim
        for name in ("num_heads", "key_dim", "value_dim"):
            positive(self, name)
        self._query_heads = self._key_heads = self.num_heads
        self._key_size, self._value_size = self.key_dim, self.value_dim
        sizes = self.output_shape
        self._output_sizes = (sizes,) if isinstance(sizes, int) else tuple(sizes or ()) or None
        if isinstance(self.attention_axes, int):
            self.attention_axes = (self.attention_axes,)
        self._axes = None if self.attention_axes is None else tuple(self.attention_axes)


class GroupedQueryAttention(HeadsOfAttention):
    """Attention in which a head of keys and values serves several of queries: shapes as in MultiHeadAttention.

    Ainslie et al., "GQA: Training Generalized Multi-Query Transformer Models from Multi-Head Checkpoints", 2023,
    https://arxiv.org/abs/2305.13245.

    >>> import numpy as np
    >>> layer = GroupQueryAttention(head_dim=4, num_query_heads=6, num_key_value_heads=2)
    >>> x = np.ones((3, 7, 16), "float32")
    >>> layer(x, x).shape, layer.key_dense.kernel.shape
    ((3, 7, 16), (16, 2, 4))
    """

    arguments_first = ("head_dim", "num_query_heads", "num_key_value_heads")
    config_name = "GroupQueryAttention"
    head_dim: int
    num_query_heads: int
    num_key_value_heads: int

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.arguments_first:
            positive(self, name)
        if self.num_query_heads % self.num_key_value_heads:
            raise ArgumentError(
                f"GroupQueryAttention: {self.num_query_heads} heads of queries cannot share {self.num_key_value_heads} "
                "heads of keys evenly.",
                mend="a num_query_heads that num_key_value_heads divides",
            )
        self._query_heads, self._key_heads = self.num_query_heads, self.num_key_value_heads
        self._key_size = self._value_size = self.head_dim
        self._output_sizes = self._axes = None


# Automatic names and files have the class's name, all else this one.
GroupQueryAttention = GroupedQueryAttention


def positive(layer: Layer, name: str) -> None:
    """Refuse a field that is not a positive integer."""
    value = getattr(layer, name)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ArgumentError(f"{type(layer).__name__}: {name} must be a positive integer, got {value!r}.")
