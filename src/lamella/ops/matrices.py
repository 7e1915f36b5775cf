"""Ops of linear algebra: products, decompositions, solutions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from lamella.core.settings import epsilon as default_epsilon
from lamella.ops.dispatch import array, as_axis, binary, op, operand, unary

__all__ = [
    "cdist",
    "cholesky",
    "cholesky_inverse",
    "cross",
    "det",
    "dot",
    "eig",
    "eigh",
    "einsum",
    "inner",
    "inv",
    "kron",
    "logdet",
    "lstsq",
    "lu_factor",
    "matmul",
    "matrix_rank",
    "norm",
    "normalize",
    "outer",
    "pinv",
    "qr",
    "slogdet",
    "solve",
    "solve_triangular",
    "svd",
    "tensordot",
    "trace",
    "vdot",
]


def _accumulated(function: Callable[..., Any]) -> Callable[..., Any]:
    """Sum products of int8 in int32: in eight bits they overflow."""

    def call(x1: Any, x2: Any, *args: Any, **kwargs: Any) -> Any:
        x1, x2 = jnp.asarray(x1), jnp.asarray(x2)
        wide = "int32" if x1.dtype == x2.dtype == jnp.int8 else None
        return function(x1, x2, *args, preferred_element_type=wide, **kwargs)

    return call


dot = binary(jnp.dot, "(..., n), (..., n, m) -> products over x1's last and x2's last but one axis.")
inner = binary(jnp.inner, "(..., n), (..., n) -> products over the last axes.")
kron = binary(jnp.kron, "Return the Kronecker product.")
matmul = binary(_accumulated(jnp.matmul), "(..., n, k), (..., k, m) -> (..., n, m) matrix products.", "matmul")
outer = binary(jnp.outer, "Return all products of an element of x1, flattened, with one of x2.")
vdot = binary(jnp.vdot, "Return the product of two arrays as flat vectors, x1 conjugated.")

det = unary(jnp.linalg.det, "(..., n, n) -> (...) determinants.")
inv = unary(jnp.linalg.inv, "(..., n, n) -> (..., n, n) inverses.")
slogdet = unary(lambda x: tuple(jnp.linalg.slogdet(x)), "Return sign and log of the determinants.", "slogdet")
logdet = unary(
    lambda x: jnp.linalg.slogdet(x)[1], "(..., n, n) -> (...) logs of the determinants' magnitudes.", "logdet"
)
eig = unary(lambda x: tuple(jnp.linalg.eig(x)), "Return eigenvalues and eigenvectors, complex.", "eig")
eigh = unary(jnp.linalg.eigh, "Return eigenvalues and eigenvectors of symmetric matrices.", "eigh")


@op
def tensordot(x1: Any, x2: Any, axes: Any = 2) -> Any:
    """Return the products summed over pairs of axes, or over x1's last and x2's first so many."""
    axes = tuple(tuple(a) if isinstance(a, list) else a for a in axes) if isinstance(axes, (list, tuple)) else axes
    return jnp.tensordot(array(x1), array(x2), axes)


@op
def einsum(subscripts: str, *operands: Any, **kwargs: Any) -> Any:
    """Return the sum of products that the subscripts say: "bij,bjk->bik"."""
    xs = [array(x) for x in operands]
    if all(x.dtype == jnp.int8 for x in xs):
        kwargs.setdefault("preferred_element_type", "int32")
    return jnp.einsum(subscripts, *xs, **kwargs)


@op
def cross(x1: Any, x2: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None) -> Any:
    """Return the cross products of vectors of 3 (or 2) elements."""
    return jnp.cross(array(x1), array(x2), axisa, axisb, axisc, axis)


@op
def trace(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """Return the sums of the diagonals of two axes."""
    x = array(x)
    return jnp.trace(x.astype("int32") if x.dtype == bool else x, offset, axis1, axis2)


@op
def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    """Return the norm of vectors (one axis) or matrices (two); None is the Euclidean of all elements."""
    x = array(x)
    x = x if jnp.issubdtype(x.dtype, jnp.inexact) else x.astype("float32")
    return jnp.linalg.norm(x, ord, as_axis(axis), keepdims)


@op
def normalize(x: Any, axis: Any = -1, order: Any = 2, epsilon: float | None = None) -> Any:
    """Return the vectors along an axis divided by their norm, which is taken as `epsilon` at least."""
    x = array(x)
    x = x if jnp.issubdtype(x.dtype, jnp.inexact) else x.astype("float32")
    least = default_epsilon() if epsilon is None else epsilon
    if order == 2:
        # Clipping the square keeps the gradient at zero finite.
        total = jnp.sum(jnp.square(x), axis=as_axis(axis), keepdims=True)
        return x * jax.lax.rsqrt(jnp.maximum(total, least**2))
    length = jnp.linalg.norm(x, order, as_axis(axis), keepdims=True)
    return x / jnp.maximum(length, least)


@op
def cholesky(x: Any, upper: bool = False) -> Any:
    """(..., n, n) positive definite -> the triangular factors L of L Lᵀ, or U of Uᵀ U."""
    return jnp.linalg.cholesky(array(x), upper=upper)


@op
def cholesky_inverse(x: Any, upper: bool = False) -> Any:
    """Return the inverse of a matrix from its Cholesky factor."""
    x = array(x)
    identity = jnp.broadcast_to(jnp.eye(x.shape[-1], dtype=x.dtype), x.shape)
    half = jax.scipy.linalg.solve_triangular(x, identity, lower=not upper)
    other = jnp.swapaxes(half, -1, -2)
    return half @ other if upper else other @ half


@op
def lu_factor(x: Any) -> Any:
    """Return the LU decomposition with its pivots."""
    return jax.scipy.linalg.lu_factor(array(x))


@op
def qr(x: Any, mode: str = "reduced") -> Any:
    """(..., n, m) -> orthogonal and triangular factors."""
    return jnp.linalg.qr(array(x), mode)


@op
def svd(x: Any, full_matrices: bool = True, compute_uv: bool = True) -> Any:
    """(..., n, m) -> U, singular values, Vᵀ; the singular values alone without `compute_uv`."""
    return jnp.linalg.svd(array(x), full_matrices, compute_uv)


@op
def solve(a: Any, b: Any) -> Any:
    """Return the x of `a @ x = b`."""
    a, b = array(a), array(b)
    if b.ndim == a.ndim - 1:
        return jnp.linalg.solve(a, b[..., None])[..., 0]
    return jnp.linalg.solve(a, b)


@op
def solve_triangular(a: Any, b: Any, lower: bool = False) -> Any:
    """Return the x of `a @ x = b` for a triangular a."""
    a, b = array(a), array(b)
    if b.ndim == a.ndim - 1:
        return jax.scipy.linalg.solve_triangular(a, b[..., None], lower=lower)[..., 0]
    return jax.scipy.linalg.solve_triangular(a, b, lower=lower)


@op
def lstsq(a: Any, b: Any, rcond: float | None = None) -> Any:
    """Return the x for which `a @ x` is nearest to b."""
    return jnp.linalg.lstsq(array(a), array(b), rcond)[0]


@op
def pinv(x: Any, rcond: Any = None) -> Any:
    """Return the Moore-Penrose inverse."""
    return jnp.linalg.pinv(array(x), rtol=rcond)


@op
def matrix_rank(x: Any, tol: Any = None) -> Any:
    """Return the number of singular values above `tol`."""
    x = array(x)
    if tol is None:
        return jnp.linalg.matrix_rank(x)
    return jnp.sum(jnp.linalg.svd(x, compute_uv=False) > operand(tol), axis=-1)


@op
def cdist(x: Any, y: Any) -> Any:
    """(..., n, f), (..., m, f) -> (..., n, m) Euclidean distances."""
    difference = array(x)[..., :, None, :] - array(y)[..., None, :, :]
    return jnp.sqrt(jnp.sum(jnp.square(difference), axis=-1))
