"""Models as estimators of scikit-learn: for its pipelines, searches and scores."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
import sklearn
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, TransformerMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from lamella.core.errors import ArgumentError
from lamella.models import Model
from lamella.models.cloning import clone_model

Array = np.ndarray[Any, Any]


class Estimator(BaseEstimator):  # type: ignore[misc]
    """The base: `fit(X, y)` trains a model on (samples, features), `predict(X)` asks it.

    `model` is a compiled model, of which each `fit` trains a clone, or a function `(X, y, **model_kwargs)` that makes
    one; y is then what the model is trained towards. With `warm_start` the model itself is trained, and each `fit` goes
    on from the last. `fit_kwargs` go to the model's `fit`, and so do keywords of `fit`, which come first.

    `model_` is the trained model, `history_` what its last `fit` returned.
    """

    # What `validate_data` is told of the targets.
    targets: ClassVar[dict[str, Any]] = {"multi_output": True, "y_numeric": True}

    def __init__(
        self,
        model: Any,
        warm_start: bool = False,
        model_kwargs: dict[str, Any] | None = None,
        fit_kwargs: dict[str, Any] | None = None,
    ) -> None:
        self.model = model
        self.warm_start = warm_start
        self.model_kwargs = model_kwargs
        self.fit_kwargs = fit_kwargs

    def fit(self, X: Any, y: Any, **kwargs: Any) -> Self:
        """Train a model on (samples, features) and (samples,) or (samples, outputs)."""
        X, y = validate_data(self, X, y, **self.targets)
        encoded = self._encoded(y)
        model = self._model_to_train(X, encoded)
        self.history_ = model.fit(X, encoded, **{**(self.fit_kwargs or {}), **kwargs})
        self.model_ = model
        return self

    def _model_to_train(self, X: Array, y: Array) -> Model:
        if self.warm_start and hasattr(self, "model_"):
            return self.model_
        if isinstance(self.model, Model):
            return self.model if self.warm_start else clone_model(self.model)
        made = self.model(X=X, y=y, **(self.model_kwargs or {})) if callable(self.model) else self.model
        if not isinstance(made, Model):
            raise ArgumentError(
                f"{type(self).__name__}: model is a compiled Model, or a function of X and y that returns one; "
                f"got {'one that returns ' if callable(self.model) else ''}{type(made).__name__}."
            )
        return made

    def _outputs(self, X: Any) -> Array:
        check_is_fitted(self)
        return np.asarray(self.model_.predict(validate_data(self, X, reset=False)))

    def predict(self, X: Any) -> Array:
        """Return the predictions, in the form of the y that was fitted."""
        return self._decoded(self._outputs(X))

    def _encoded(self, y: Array) -> Array:
        """Return what the model is trained towards: (samples, outputs)."""
        self._flat = y.ndim == 1
        return y[:, None] if self._flat else y

    def _decoded(self, outputs: Array) -> Array:
        return outputs[:, 0] if self._flat and outputs.ndim == 2 and outputs.shape[1] == 1 else outputs

    @property
    def epoch_(self) -> int:
        """How many epochs the last `fit` took."""
        return len(self.history_.epoch) if hasattr(self, "history_") else 0

    def set_fit_request(self, **kwargs: Any) -> Self:
        """Say which metadata `fit` takes when scikit-learn routes them: `sample_weight=True`, or an alias."""
        if not sklearn.get_config()["enable_metadata_routing"]:
            raise RuntimeError("Metadata are not routed.\n  Try: sklearn.set_config(enable_metadata_routing=True)")
        requests = self.get_metadata_routing()
        for name, alias in kwargs.items():
            requests.fit.add_request(param=name, alias=alias)
        self._metadata_request = requests
        return self

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.non_deterministic = True
        tags.target_tags.required = True
        return tags


class SKLearnClassifier(ClassifierMixin, Estimator):  # type: ignore[misc]
    """A model as a classifier: (samples, features), labels (samples,) -> labels (samples,).

    The model has one output for each of `classes_` and is trained towards ones and zeros, (samples, classes):
    "categorical_crossentropy" fits. The largest output is the prediction; `decision_function` returns all.

    >>> import lamella
    >>> def model(X, y):
    ...     made = lamella.Sequential([lamella.Input(X.shape[1:]), lamella.layers.Dense(y.shape[1], "softmax")])
    ...     made.compile("adam", "categorical_crossentropy")
    ...     return made
    >>> X, y = np.eye(4, dtype="float32"), ["cat", "dog", "cat", "dog"]
    >>> fitted = SKLearnClassifier(model, fit_kwargs={"epochs": 2, "verbose": 0}).fit(X, y)
    >>> fitted.classes_.tolist(), fitted.predict(X).shape
    (['cat', 'dog'], (4,))
    """

    targets: ClassVar[dict[str, Any]] = {}

    def decision_function(self, X: Any) -> Array:
        """Return the model's outputs: (samples, classes)."""
        return self._outputs(X)

    def _encoded(self, y: Array) -> Array:
        check_classification_targets(y)
        present = np.unique(y)
        if not (self.warm_start and hasattr(self, "model_")):
            self.classes_ = present
        unknown = np.setdiff1d(present, self.classes_)
        if len(unknown):
            raise ArgumentError(
                f"The classes {unknown.tolist()} were not there when the model was made; it knows "
                f"{self.classes_.tolist()}.",
                mend="warm_start=False",
            )
        if len(self.classes_) == 1:
            raise ArgumentError("A classifier cannot be trained on one class only.")
        return np.asarray(y[:, None] == self.classes_, "float32")

    def _decoded(self, outputs: Array) -> Array:
        if outputs.shape[1:] != self.classes_.shape:
            raise ArgumentError(
                f"The model answers with {outputs.shape[1:]} per sample; there are {len(self.classes_)} classes.",
                mend=f"Dense({len(self.classes_)}, activation='softmax') as its last layer",
            )
        labels: Array = self.classes_[outputs.argmax(axis=1)]
        return labels

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.poor_score = True
        return tags


class SKLearnRegressor(RegressorMixin, Estimator):  # type: ignore[misc]
    """A model as a regressor: (samples, features) -> (samples,) or (samples, outputs), as the y it was fitted to.

    >>> import lamella
    >>> model = lamella.Sequential([lamella.Input((4,)), lamella.layers.Dense(1)])
    >>> model.compile("adam", "mse")
    >>> X, y = np.eye(4, dtype="float32"), np.arange(4.0)
    >>> SKLearnRegressor(model, fit_kwargs={"verbose": 0}).fit(X, y).predict(X).shape
    (4,)
    """

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.regressor_tags.poor_score = True
        tags.target_tags.multi_output = True
        return tags


class SKLearnTransformer(TransformerMixin, Estimator):  # type: ignore[misc]
    """A model as a step of a pipeline: `transform` returns its outputs, (samples, features) -> (samples, outputs).

    >>> import lamella
    >>> model = lamella.Sequential([lamella.Input((4,)), lamella.layers.Dense(2)])
    >>> model.compile("adam", "mse")
    >>> X, y = np.eye(4, dtype="float32"), np.ones((4, 2))
    >>> SKLearnTransformer(model, fit_kwargs={"verbose": 0}).fit_transform(X, y).shape
    (4, 2)
    """

    def transform(self, X: Any) -> Array:
        """Return the model's outputs."""
        return self._outputs(X)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []
        tags.target_tags.multi_output = True
        return tags
