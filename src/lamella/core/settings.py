"""Process-wide defaults and switches: those of `keras.config`, the strictness of masks, the form of convolutions."""

from __future__ import annotations

import logging
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
    interactive_logging: bool = True
    max_epochs: int | None = None
    max_steps_per_epoch: int | None = None
    flash_attention: bool | None = None


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


def is_flash_attention_enabled() -> bool | None:
    """Return False where flash attention is forbidden, else None: it is allowed, as is the default."""
    return settings.flash_attention


def enable_flash_attention() -> None:
    """Allow flash attention: layers made with `flash_attention=True` take it where the platform has it."""
    settings.flash_attention = None


def disable_flash_attention() -> None:
    """Forbid flash attention, a kernel of the platform's own that never holds all scores."""
    settings.flash_attention = False


def backend() -> str:
    """Return the engine's name: always "jax"."""
    return "jax"


def set_backend(backend: str) -> None:
    """Accept "jax" and refuse every other engine."""
    one_of("backend", backend, ("jax",))


def is_nnx_enabled() -> bool:
    """Tell whether layers are Flax modules: never."""
    return False


def is_interactive_logging_enabled() -> bool:
    """Tell whether progress and summaries are printed; otherwise they go to Python's `logging`."""
    return settings.interactive_logging


def enable_interactive_logging() -> None:
    """Print progress and summaries, as is the default."""
    settings.interactive_logging = True


def disable_interactive_logging() -> None:
    """Send progress and summaries to the logger "lamella" (level INFO); there is no bar then."""
    settings.interactive_logging = False


def say(text: str) -> None:
    """Print a text, or log it where `disable_interactive_logging` asked for that."""
    if settings.interactive_logging:
        print(text, flush=True)
    else:
        logging.getLogger("lamella").info(text)


def is_traceback_filtering_enabled() -> bool:
    """Tell whether tracebacks leave out the frames inside JAX."""
    return bool(jax.config.values["jax_traceback_filtering"] != "off")


def enable_traceback_filtering() -> None:
    """Leave the frames inside JAX out of tracebacks, as is the default."""
    jax.config.update("jax_traceback_filtering", "auto")


def disable_traceback_filtering() -> None:
    """Show every frame of a traceback."""
    jax.config.update("jax_traceback_filtering", "off")


def max_epochs() -> int | None:
    """Return the most epochs that any `fit` takes, or None."""
    return settings.max_epochs


def set_max_epochs(max_epochs: int | None) -> None:
    """Let no `fit` take more epochs than this, to try a program out in a short time; None sets no limit."""
    settings.max_epochs = max_epochs


def max_steps_per_epoch() -> int | None:
    """Return the most steps that `fit`, `evaluate` and `predict` take in a pass over the data, or None."""
    return settings.max_steps_per_epoch


def set_max_steps_per_epoch(max_steps_per_epoch: int | None) -> None:
    """Let `fit`, `evaluate` and `predict` take at most this many steps of the data; None sets no limit."""
    settings.max_steps_per_epoch = max_steps_per_epoch


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
