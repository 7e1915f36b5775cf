"""Functions on arrays and on symbolic tensors, under keras.ops' names."""

# ruff: noqa: F403 -- each module's `__all__` says what is public.

from lamella.ops import arrange, core, create, ctc, elementwise, matrices, neural, reduce, signal, spatial
from lamella.ops import image as image
from lamella.ops import linalg as linalg
from lamella.ops import nn as nn
from lamella.ops import numpy as numpy
from lamella.ops.arrange import *
from lamella.ops.core import *
from lamella.ops.create import *
from lamella.ops.ctc import *
from lamella.ops.elementwise import *
from lamella.ops.matrices import *
from lamella.ops.neural import *
from lamella.ops.reduce import *
from lamella.ops.signal import *
from lamella.ops.spatial import *

__all__ = [
    *arrange.__all__,
    *core.__all__,
    *create.__all__,
    *ctc.__all__,
    *elementwise.__all__,
    *matrices.__all__,
    *neural.__all__,
    *reduce.__all__,
    *signal.__all__,
    *spatial.__all__,
]
