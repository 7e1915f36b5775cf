"""Process-wide defaults: those of `keras.config`, the strictness of masks, the form of convolutions."""

from __future__ import annotations

from dataclasses import dataclass

import jax

from lamella.core.errors import ArgumentError, did_you_mean


@dataclass
class Settings:
    """The values that the functions below read and write."""

    floatx: str = "float32"
    epsilon: float = 1e-7
    image_data_format: str = "channels_last"
    strict_masks: bool = False
    conv_algorithm: str = "auto"


settings = Settings()


def floatx() -> str:
    """Return the default float type, a string such as "float32"."""
    return settings.floatx


def set_floatx(value: str) -> None:
    """Set the default float type: "float16", "bfloat16", "float32" or "float64"."""
    settings.floatx = one_of("floatx", value, ("float16", "bfloat16", "float32", "float64"))


def epsilon() -> float:
    """Return the small number that keeps logarithms and quotients finite."""
    return settings.epsilon


def set_epsilon(value: float) -> None:
    """Set the small number that keeps logarithms and quotients finite."""
    settings.epsilon = value


def image_data_format() -> str:
    """Return the default layout of images, "channels_last" or "channels_first"."""
    return settings.image_data_format


def set_image_data_format(data_format: str) -> None:
    """Set the default layout of images, "channels_last" or "channels_first"."""
    settings.image_data_format = standardize_data_format(data_format)


def strict_masks() -> bool:
    """Tell whether a mask that a layer would drop is an error; otherwise it is a warning."""
    return settings.strict_masks


def set_strict_masks(value: bool) -> None:
    """Make a mask that a layer would drop an error (True) or a warning (False)."""
    settings.strict_masks = value


def conv_algorithm() -> str:
    """Return how convolutions are computed: "auto" or "plain"."""
    return settings.conv_algorithm


def set_conv_algorithm(value: str) -> None:
    """Compute convolutions in the form that is fastest for their shape ("auto"), or always in XLA's own ("plain").

    Programs compiled so far are compiled anew.
    """
    settings.conv_algorithm = one_of("conv_algorithm", value, ("auto", "plain"))
    jax.clear_caches()


def standardize_data_format(data_format: str | None) -> str:
    """Return the layout to use: the given one, or the default for None."""
    if data_format is None:
        return settings.image_data_format
    return one_of("data_format", data_format, ("channels_last", "channels_first"))


def one_of(argument: str, value: str, allowed: tuple[str, ...]) -> str:
    """Return `value` in lower case if it is allowed, otherwise raise an error that lists what is."""
    lowered = value.lower() if isinstance(value, str) else value
    if lowered not in allowed:
        raise ArgumentError(
            f"{argument} must be one of {', '.join(map(repr, allowed))}; got {value!r}."
            + (did_you_mean(value, allowed) if isinstance(value, str) else "")
        )
    return lowered
