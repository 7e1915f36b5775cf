"""Callbacks, under Keras's names."""

from lamella.training.callbacks import (
    Callback,
    CallbackList,
    EarlyStopping,
    History,
    LambdaCallback,
    TerminateOnNaN,
)

__all__ = ["Callback", "CallbackList", "EarlyStopping", "History", "LambdaCallback", "TerminateOnNaN"]
