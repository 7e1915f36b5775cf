"""Ops that work element by element: arithmetic, comparison, rounding, exponentials, bits."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lamella.core.dtypes import standardize_dtype
from lamella.core.errors import ShapeError
from lamella.core.settings import floatx
from lamella.ops.dispatch import array, binary, finfo, iinfo, named, op, operand, unary

__all__ = [
    "abs",
    "absolute",
    "add",
    "allclose",
    "angle",
    "arccos",
    "arccosh",
    "arcsin",
    "arcsinh",
    "arctan",
    "arctan2",
    "arctanh",
    "bitwise_and",
    "bitwise_invert",
    "bitwise_left_shift",
    "bitwise_not",
    "bitwise_or",
    "bitwise_right_shift",
    "bitwise_xor",
    "cast",
    "cbrt",
    "ceil",
    "clip",
    "conj",
    "conjugate",
    "copy",
    "cos",
    "cosh",
    "deg2rad",
    "divide",
    "divide_no_nan",
    "equal",
    "erf",
    "erfc",
    "erfinv",
    "exp",
    "exp2",
    "expm1",
    "fabs",
    "floor",
    "floor_divide",
    "fmax",
    "fmin",
    "fmod",
    "gcd",
    "greater",
    "greater_equal",
    "heaviside",
    "hypot",
    "i0",
    "imag",
    "isclose",
    "isfinite",
    "isin",
    "isinf",
    "isnan",
    "isneginf",
    "isposinf",
    "isreal",
    "lcm",
    "ldexp",
    "left_shift",
    "less",
    "less_equal",
    "log",
    "log1p",
    "log2",
    "log10",
    "logaddexp",
    "logaddexp2",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "maximum",
    "minimum",
    "mod",
    "multiply",
    "nan_to_num",
    "negative",
    "nextafter",
    "not_equal",
    "polar",
    "power",
    "rad2deg",
    "real",
    "reciprocal",
    "right_shift",
    "round",
    "rsqrt",
    "saturate_cast",
    "sign",
    "signbit",
    "sin",
    "sinc",
    "sinh",
    "sqrt",
    "square",
    "subtract",
    "tan",
    "tanh",
    "true_divide",
    "trunc",
    "view_as_complex",
    "view_as_real",
    "where",
]


def _whole(x: Any) -> Any:
    """Return whole numbers as floats: rounding gives the same dtype whatever it is given."""
    return x if jnp.issubdtype(x.dtype, jnp.inexact) else x.astype(floatx())


def _of_arrays(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give numbers a dtype of their own: in these few ops Keras does not let them take the other's."""
    return functools.wraps(function)(lambda x1, x2: function(array(x1), array(x2)))


abs = absolute = unary(jnp.abs, "Return the magnitude of each element.", "abs")
angle = unary(jnp.angle, "Return the angle of each complex number, in radians.")
arccos = unary(jnp.arccos, "Return the inverse cosine, in radians.", "arccos")
arccosh = unary(jnp.arccosh, "Return the inverse hyperbolic cosine.", "arccosh")
arcsin = unary(jnp.arcsin, "Return the inverse sine, in radians.", "arcsin")
arcsinh = unary(jnp.arcsinh, "Return the inverse hyperbolic sine.", "arcsinh")
arctan = unary(jnp.arctan, "Return the inverse tangent, in radians.", "arctan")
arctanh = unary(jnp.arctanh, "Return the inverse hyperbolic tangent.", "arctanh")
bitwise_invert = bitwise_not = unary(jnp.bitwise_not, "Return each number with its bits flipped.")
cbrt = unary(jnp.cbrt, "Return the cube root.")
ceil = unary(lambda x: jnp.ceil(_whole(x)), "Return the least whole number not below each element.", "ceil")
conj = conjugate = unary(jnp.conj, "Return the complex conjugate.", "conj")
copy = unary(jnp.array, "Return the same values in an array of their own.", "copy")
cos = unary(jnp.cos, "Return the cosine of angles in radians.")
cosh = unary(jnp.cosh, "Return the hyperbolic cosine.")
deg2rad = unary(jnp.deg2rad, "Return degrees as radians.")
erf = unary(jax.scipy.special.erf, "Return the error function.")
erfc = unary(jax.scipy.special.erfc, "Return one minus the error function, exact where the latter is near one.")
erfinv = unary(jax.scipy.special.erfinv, "Return the inverse of the error function, for values in (-1, 1).")
exp = unary(jnp.exp, "Return e to the power of each element.")
exp2 = unary(jnp.exp2, "Return 2 to the power of each element.")
expm1 = unary(jnp.expm1, "Return `exp(x) - 1`, exact for small x.")
fabs = unary(jnp.fabs, "Return the magnitude of each element as a float.")
floor = unary(lambda x: jnp.floor(_whole(x)), "Return the greatest whole number not above each element.", "floor")
i0 = unary(jnp.i0, "Return the modified Bessel function of the first kind of order 0.")
imag = unary(jnp.imag, "Return the imaginary part.")
isfinite = unary(jnp.isfinite, "Tell which elements are neither infinite nor NaN.")
isinf = unary(jnp.isinf, "Tell which elements are infinite.")
isnan = unary(jnp.isnan, "Tell which elements are NaN.")
isneginf = unary(jnp.isneginf, "Tell which elements are minus infinity.")
isposinf = unary(jnp.isposinf, "Tell which elements are plus infinity.")
isreal = unary(jnp.isreal, "Tell which elements have no imaginary part.")
log = unary(jnp.log, "Return the natural logarithm.")
log10 = unary(jnp.log10, "Return the logarithm to base 10.")
log1p = unary(jnp.log1p, "Return `log(1 + x)`, exact for small x.")
log2 = unary(jnp.log2, "Return the logarithm to base 2.")
logical_not = unary(jnp.logical_not, "Return the negation of truth values.")
negative = unary(jnp.negative, "Return each element with its sign changed.")
rad2deg = unary(jnp.rad2deg, "Return radians as degrees.")
real = unary(jnp.real, "Return the real part.")
reciprocal = unary(jnp.reciprocal, "Return one over each element.")
rsqrt = unary(jax.lax.rsqrt, "Return one over the square root of each element.")
sign = unary(jnp.sign, "Return -1, 0 or 1 by the sign of each element.")
signbit = unary(jnp.signbit, "Tell which elements carry a minus sign, -0.0 included.")
sin = unary(jnp.sin, "Return the sine of angles in radians.")
sinc = unary(jnp.sinc, "Return `sin(pi x) / (pi x)`, 1 at 0.")
sinh = unary(jnp.sinh, "Return the hyperbolic sine.")
sqrt = unary(jnp.sqrt, "Return the square root.")
square = unary(jnp.square, "Return each element times itself.")
tan = unary(jnp.tan, "Return the tangent of angles in radians.")
tanh = unary(jnp.tanh, "Return the hyperbolic tangent.")
trunc = unary(jnp.trunc, "Return each element without its fraction.")

add = binary(jnp.add, "Return the sum, element by element.")
arctan2 = binary(_of_arrays(jnp.arctan2), "Return the angle of the points (x2, x1), in radians, in the right quadrant.")
divide = true_divide = binary(jnp.true_divide, "Return the quotient, element by element.", "divide")
equal = binary(jnp.equal, "Tell where the elements are equal.")
floor_divide = binary(jnp.floor_divide, "Return the quotient rounded down.")
fmax = binary(jnp.fmax, "Return the larger of two elements; a NaN gives way to a number.")
fmin = binary(jnp.fmin, "Return the smaller of two elements; a NaN gives way to a number.")
fmod = binary(jnp.fmod, "Return the remainder of the division, with the sign of x1.")
gcd = binary(jnp.gcd, "Return the greatest common divisor.")
greater = binary(jnp.greater, "Tell where x1 > x2.")
greater_equal = binary(jnp.greater_equal, "Tell where x1 >= x2.")
heaviside = binary(jnp.heaviside, "Return 0 where x1 < 0, 1 where x1 > 0, and x2 where x1 is 0.")
hypot = binary(jnp.hypot, "Return `sqrt(x1**2 + x2**2)` without overflow on the way.")
lcm = binary(jnp.lcm, "Return the least common multiple.")
ldexp = binary(jnp.ldexp, "Return `x1 * 2**x2`.")
less = binary(jnp.less, "Tell where x1 < x2.")
less_equal = binary(jnp.less_equal, "Tell where x1 <= x2.")
logaddexp = binary(_of_arrays(jnp.logaddexp), "Return `log(exp(x1) + exp(x2))` without overflow on the way.")
logaddexp2 = binary(_of_arrays(jnp.logaddexp2), "Return `log2(2**x1 + 2**x2)` without overflow on the way.")
logical_and = binary(jnp.logical_and, "Tell where both are true.")
logical_or = binary(jnp.logical_or, "Tell where at least one is true.")
logical_xor = binary(jnp.logical_xor, "Tell where exactly one is true.")
maximum = binary(jnp.maximum, "Return the larger of two elements; NaN if either is.")
minimum = binary(jnp.minimum, "Return the smaller of two elements; NaN if either is.")
mod = binary(jnp.mod, "Return the remainder of the division, with the sign of x2.", "mod")
multiply = binary(jnp.multiply, "Return the product, element by element.")
nextafter = binary(jnp.nextafter, "Return the next representable number from x1 towards x2.")
not_equal = binary(jnp.not_equal, "Tell where the elements differ.")
power = binary(jnp.power, "Return x1 to the power of x2.")
subtract = binary(jnp.subtract, "Return the difference, element by element.")


def _bitwise(function: Callable[..., Any], doc: str, name: str = "") -> Callable[[Any, Any], Any]:
    of_two = binary(function, doc, name)

    def call(x: Any, y: Any) -> Any:
        return of_two(x, y)

    return named(call, of_two.__name__, doc)


bitwise_and = _bitwise(jnp.bitwise_and, "Return the bits set in both integers.")
bitwise_or = _bitwise(jnp.bitwise_or, "Return the bits set in either integer.")
bitwise_xor = _bitwise(jnp.bitwise_xor, "Return the bits set in exactly one of two integers.")
bitwise_left_shift = left_shift = _bitwise(
    jnp.left_shift, "Return the bits of x moved up by y places.", "bitwise_left_shift"
)
bitwise_right_shift = right_shift = _bitwise(
    jnp.right_shift, "Return the bits of x moved down by y places; the sign stays.", "bitwise_right_shift"
)


@op
def divide_no_nan(x1: Any, x2: Any) -> Any:
    """Return the quotient, and 0 where x2 is 0."""
    x1, x2 = jnp.broadcast_arrays(operand(x1), operand(x2))
    safe = jnp.where(x2 == 0, jnp.ones_like(x2), x2)
    return jnp.where(x2 == 0, 0, jnp.true_divide(x1, safe))


@op
def clip(x: Any, x_min: Any, x_max: Any) -> Any:
    """Return each element, or the bound that it passed."""
    x = operand(x)
    x = array(x).astype("int32") if jnp.result_type(x) == jnp.bool_ else x
    return jnp.clip(x, operand(x_min), operand(x_max))


@op
def round(x: Any, decimals: int = 0) -> Any:
    """Return each element rounded to a number of decimals, halves to the even neighbour."""
    return jnp.round(array(x), decimals)


@op
def nan_to_num(x: Any, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None) -> Any:
    """Return the array with NaN and the infinities replaced; None is the largest number of the dtype."""
    return jnp.nan_to_num(array(x), nan=nan, posinf=posinf, neginf=neginf)


@op
def where(condition: Any, x1: Any = None, x2: Any = None) -> Any:
    """Return x1 where the condition holds and x2 elsewhere; without them, the indices where it holds."""
    if x1 is None and x2 is None:
        return jnp.where(array(condition))
    x1, x2 = operand(x1), operand(x2)
    if not isinstance(x1, jax.Array) and not isinstance(x2, jax.Array):
        x1, x2 = array(x1), array(x2)
    return jnp.where(array(condition), x1, x2)


@op
def isclose(x1: Any, x2: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Any:
    """Tell where `abs(x1 - x2) <= atol + rtol * abs(x2)`."""
    return jnp.isclose(array(x1), array(x2), rtol, atol, equal_nan)


@op
def allclose(x1: Any, x2: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Any:
    """Tell whether `abs(x1 - x2) <= atol + rtol * abs(x2)` everywhere."""
    return jnp.allclose(array(x1), array(x2), rtol, atol, equal_nan)


@op
def isin(x1: Any, x2: Any, assume_unique: bool = False, invert: bool = False) -> Any:
    """Tell which elements of x1 occur in x2 (`invert`: which do not)."""
    return jnp.isin(array(x1), array(x2), assume_unique=assume_unique, invert=invert)


@op
def polar(abs_: Any, angle: Any) -> Any:
    """Return the complex numbers of these magnitudes and angles."""
    magnitude, turn = array(abs_), array(angle)
    return jax.lax.complex(magnitude * jnp.cos(turn), magnitude * jnp.sin(turn))


@op
def view_as_complex(x: Any) -> Any:
    """(..., 2) real and imaginary parts -> (...) complex numbers."""
    x = array(x)
    if x.shape[-1:] != (2,):
        raise ShapeError(f"The last axis holds real and imaginary part, 2 numbers; got {x.shape}.")
    x = x if x.dtype == jnp.float64 else x.astype("float32")
    return jax.lax.complex(x[..., 0], x[..., 1])


@op
def view_as_real(x: Any) -> Any:
    """(...) complex numbers -> (..., 2) real and imaginary parts."""
    x = array(x)
    return jnp.stack((x.real, x.imag), axis=-1)


@op
def cast(x: Any, dtype: Any) -> Any:
    """Return the values in another dtype."""
    return array(x).astype(standardize_dtype(dtype))


@op
def saturate_cast(x: Any, dtype: Any) -> Any:
    """Return the values in another dtype, those that it cannot hold as its nearest bound."""
    x, dtype = array(x), jnp.dtype(standardize_dtype(dtype))
    if x.dtype == bool:
        return x.astype(dtype)
    ours, theirs = (_limits(d) for d in (x.dtype, dtype))
    low, high = (np.asarray(v, x.dtype) for v in (max(ours[0], theirs[0]), min(ours[1], theirs[1])))
    if jnp.issubdtype(dtype, jnp.inexact) and high > theirs[1]:
        # x's dtype has not the bound itself; the nearest that the other holds too
        low, high = (np.nextafter(bound, np.zeros_like(bound)) for bound in (low, high))
    return jnp.clip(x, low, high).astype(dtype)


def _limits(dtype: Any) -> tuple[Any, Any]:
    if dtype == jnp.bool_:
        return 0, 1
    if jnp.issubdtype(dtype, jnp.integer):
        return int(iinfo(dtype).min), int(iinfo(dtype).max)
    return float(finfo(dtype).min), float(finfo(dtype).max)
