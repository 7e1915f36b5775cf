"""Models as estimators of scikit-learn, under Keras's names; needs `lamella[sklearn]`."""

from typing import Any

from lamella.core.extras import need

_NAMES = ["SKLearnClassifier", "SKLearnRegressor", "SKLearnTransformer"]


def __getattr__(name: str) -> Any:
    # The classes stand on scikit-learn's, which not everybody has, and which takes a second to import.
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    need("sklearn", "sklearn")
    return getattr(need("lamella.tools.estimators", "sklearn"), name)


def __dir__() -> list[str]:
    return _NAMES
