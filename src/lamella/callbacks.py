"""Callbacks, under Keras's names."""

from lamella.saving.backup import BackupAndRestore
from lamella.saving.checkpointing import OrbaxCheckpoint
from lamella.training.callbacks import (
    Callback,
    CallbackList,
    EarlyStopping,
    History,
    LambdaCallback,
    TerminateOnNaN,
)
from lamella.training.checkpoint import ModelCheckpoint
from lamella.training.monitors import LearningRateScheduler, ReduceLROnPlateau, SwapEMAWeights
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
    "OrbaxCheckpoint",
    "ReduceLROnPlateau",
    "RemoteMonitor",
    "SwapEMAWeights",
    "TerminateOnNaN",
]
