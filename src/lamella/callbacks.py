"""Callbacks, under Keras's names."""

from lamella.training.callbacks import (
    Callback,
    CallbackList,
    EarlyStopping,
    History,
    LambdaCallback,
    TerminateOnNaN,
)
from lamella.training.checkpoint import ModelCheckpoint
from lamella.training.monitors import BackupAndRestore, LearningRateScheduler, ReduceLROnPlateau, SwapEMAWeights
from lamella.training.records import CSVLogger, RemoteMonitor

__all__ = [
    "BackupAndRestore",
    "CSVLogger",
    "Callback",
    "CallbackList",
    "EarlyStopping",
    "History",
    "LambdaCallback",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "ReduceLROnPlateau",
    "RemoteMonitor",
    "SwapEMAWeights",
    "TerminateOnNaN",
]
