"""Models as estimators of scikit-learn: scikit-learn's own checks, its tools, and what Keras promises."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import pytest
import sklearn
from sklearn.base import BaseEstimator, clone
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, ShuffleSplit, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

import lamella
from lamella import Input, Model, Sequential, layers
from lamella.core import extras
from lamella.wrappers import SKLearnClassifier, SKLearnRegressor, SKLearnTransformer

NAMES = ["SKLearnClassifier", "SKLearnRegressor", "SKLearnTransformer"]
QUIET = {"verbose": 0, "batch_size": 512}


def small(X: Any, y: Any, loss: str, activation: str | None = None, units: int = 0) -> Model:
    """A model of the data's sizes; seeded, since scikit-learn compares one fit with the next."""
    lamella.utils.set_random_seed(1)
    hidden = [layers.Dense(units, "relu")] if units else []
    model = Sequential([Input(X.shape[1:]), *hidden, layers.Dense(y.shape[1], activation)])
    model.compile(lamella.optimizers.Adam(0.01), loss)
    return model


def classifier(**kwargs: Any) -> SKLearnClassifier:
    chosen = {"loss": "categorical_crossentropy", "activation": "softmax", **kwargs}
    return SKLearnClassifier(small, model_kwargs=chosen, fit_kwargs=QUIET)


def squares(kind: type = SKLearnRegressor) -> Any:
    return kind(small, model_kwargs={"loss": "mse"}, fit_kwargs=QUIET)


# What is not asked, and why.
OTHERWISE = {
    "check_classifiers_classes": "decision_function returns every output of the model, for two classes too, as Keras",
    "check_classifiers_train": "the same",
    "check_classifiers_one_label_sample_weights": "one epoch of training does not forget a class that weighs nothing",
    "check_regressor_multioutput": "predictions are float32, as the model's",
    "check_array_api_input": "it skips itself where SciPy is not told to use the array API",
    "check_pipeline_consistency": "it skips itself for what is not deterministic",
    "check_transformer_data_not_an_array": "the same",
    "check_transformer_general": "the same",
}
# They train several models each, for what others ask too.
LONG = {
    "check_estimators_dtypes",
    "check_classifier_data_not_an_array",
    "check_regressor_data_not_an_array",
    "check_regressors_train",
    "check_regressors_int",
    "check_f_contiguous_array_estimator",
    "check_estimators_overwrite_params",
    "check_dont_overwrite_parameters",
    "check_estimators_fit_returns_self",
    "check_readonly_memmap_input",
    "check_positive_only_tag_during_fit",
    "check_fit_check_is_fitted",
    "check_n_features_in_after_fitting",
    "check_fit2d_1feature",
    "check_fit_score_takes_y",
    "check_estimators_nan_inf",
}
# What all three have from their base; the classifier is asked.
SHARED = {
    "check_dict_unchanged",
    "check_dtype_object",
    "check_estimators_pickle",
    "check_fit2d_predict1d",
    "check_fit_idempotent",
    "check_n_features_in",
    "check_regressors_no_decision_function",
}


def checks() -> Iterator[Any]:
    others = [squares(), squares(SKLearnTransformer)]
    for estimator, left_out in ((classifier(), LONG), *((other, LONG | SHARED) for other in others)):
        for _, check in estimator_checks_generator(estimator):
            name = check.func.__name__
            if name not in left_out and name not in OTHERWISE:
                yield pytest.param(estimator, check, id=f"{type(estimator).__name__}-{name}")


@pytest.mark.parametrize(("estimator", "check"), list(checks()))
def test_scikit_learn_agrees(estimator: Any, check: Callable[[Any], None]) -> None:
    check(clone(estimator))


@pytest.mark.parametrize("name", NAMES)
def test_arguments_are_keras_s(name: str) -> None:
    ours, theirs = getattr(lamella.wrappers, name), getattr(keras.wrappers, name)
    assert list(inspect.signature(ours).parameters) == list(inspect.signature(theirs).parameters)
    own = {method for method in dir(theirs) if method[0] != "_"} - set(dir(BaseEstimator))
    assert own <= set(dir(ours))


@pytest.fixture(scope="module")
def digits() -> tuple[Any, Any]:
    data = load_digits()
    return (data.data / 16).astype("float32")[:600], data.target[:600]


def test_a_pipeline_is_scored_and_fit_kwargs_are_kept_by_clones(digits: Any) -> None:
    estimator = classifier(units=16)
    estimator.fit_kwargs = {**QUIET, "epochs": 60}
    scores = cross_val_score(make_pipeline(StandardScaler(), estimator), *digits, cv=2)
    assert scores.min() > 0.8


def test_a_grid_is_searched(digits: Any) -> None:
    points = [{"loss": "categorical_crossentropy", "activation": "softmax", "units": units} for units in (1, 16)]
    once = ShuffleSplit(n_splits=1, random_state=0)
    search = GridSearchCV(classifier(), {"model_kwargs": points}, cv=once, refit=False)
    search.fit(*digits, epochs=40)
    assert search.best_params_ == {"model_kwargs": points[1]}


def compiled(outputs: int = 1) -> Model:
    model = Sequential([Input((3,)), layers.Dense(outputs)])
    model.compile(lamella.optimizers.SGD(0.1), "mse")
    return model


X, Y = np.random.default_rng(0).normal(size=(8, 3)).astype("float32"), np.arange(8.0)


def test_a_model_is_cloned_and_stays_as_it_is() -> None:
    model = compiled()
    before = model.get_weights()
    fitted = SKLearnRegressor(model, fit_kwargs=QUIET).fit(X, Y)
    assert fitted.model_ is not model and all(map(np.array_equal, model.get_weights(), before))
    np.testing.assert_allclose(fitted.predict(X), fitted.model_.predict(X)[:, 0])


def test_a_warm_start_goes_on() -> None:
    model = compiled()
    estimator = SKLearnRegressor(model, warm_start=True, fit_kwargs=QUIET)
    losses = [estimator.fit(X, Y, epochs=2).history_.history["loss"] for _ in range(2)]
    assert estimator.model_ is model and estimator.epoch_ == 2
    whole = np.ravel(losses)
    assert (np.diff(whole) < 0).all() and int(model.optimizer.iterations) == 4


def test_clones_of_a_warm_start_are_apart() -> None:
    model = compiled()
    twin = clone(SKLearnRegressor(model, warm_start=True, fit_kwargs=QUIET))
    before = model.get_weights()
    assert all(map(np.array_equal, twin.model.get_weights(), before))
    twin.fit(X, Y)
    assert all(map(np.array_equal, model.get_weights(), before))


def test_keywords_of_fit_come_first_and_are_forgotten() -> None:
    estimator = SKLearnRegressor(compiled(), fit_kwargs={**QUIET, "epochs": 1})
    assert estimator.epoch_ == 0
    assert estimator.fit(X, Y, epochs=3).epoch_ == 3
    assert estimator.fit(X, Y).epoch_ == 1


def test_several_outputs() -> None:
    targets = np.stack([Y, -Y], 1)
    assert SKLearnRegressor(compiled(2), fit_kwargs=QUIET).fit(X, targets).predict(X).shape == (8, 2)
    transformer = SKLearnTransformer(compiled(2), fit_kwargs=QUIET)
    np.testing.assert_array_equal(transformer.fit_transform(X, targets), transformer.model_.predict(X))


def test_metadata_are_routed(digits: Any) -> None:
    estimator = squares()
    with pytest.raises(RuntimeError, match="enable_metadata_routing=True"):
        estimator.set_fit_request(sample_weight=True)
    with sklearn.config_context(enable_metadata_routing=True):
        estimator.set_fit_request(sample_weight="importance").set_score_request(sample_weight=False)
        weights = np.zeros(8)
        pipeline = make_pipeline(StandardScaler(), clone(estimator)).fit(X, Y, importance=weights)
    assert pipeline[-1].history_.history["loss"] == [0.0]


def test_a_fitted_pipeline_is_pickled_and_trained_on() -> None:
    estimator = SKLearnRegressor(compiled(), warm_start=True, fit_kwargs={**QUIET, "shuffle": False}).fit(X, Y)
    twin = pickle.loads(pickle.dumps(estimator))
    np.testing.assert_array_equal(twin.predict(X), estimator.predict(X))
    np.testing.assert_array_equal(twin.fit(X, Y).predict(X), estimator.fit(X, Y).predict(X))


def test_classes_in_a_warm_start() -> None:
    labels = np.array(["a", "b"] * 4)
    estimator = classifier().set_params(warm_start=True).fit(X, labels)
    with pytest.raises(ValueError, match=r"The classes \['c'\] were not there .* it knows \['a', 'b'\]"):
        estimator.fit(X, np.array(["a", "c"] * 4))
    assert set(estimator.fit(X[:2], labels[:2]).predict(X)) <= {"a", "b"}


def nothing(X: Any, y: Any) -> None:
    return None


ERRORS = {
    "one that returns NoneType": (SKLearnRegressor(nothing), Y),
    "a function of X and y that returns one; got int": (SKLearnRegressor(3), Y),
    "was not compiled": (SKLearnRegressor(lambda X, y: Sequential([layers.Dense(1)])), Y),
    "on one class only": (classifier(), np.ones(8, int)),
    "Unknown label type": (classifier(), Y + 0.5),
}


@pytest.mark.parametrize("message", ERRORS)
def test_errors(message: str) -> None:
    estimator, targets = ERRORS[message]
    with pytest.raises(ValueError, match=message):
        estimator.fit(X, targets)


def test_a_model_of_another_number_of_classes() -> None:
    estimator = classifier().fit(X, Y > 3)
    estimator.model_ = compiled(3)
    with pytest.raises(ValueError, match=r"answers with \(3,\) per sample; there are 2 classes"):
        estimator.predict(X)


def test_without_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(extras.importlib, "import_module", missing)
    with pytest.raises(extras.MissingExtraError, match=r"pip install 'lamella\[sklearn\]'"):
        _ = lamella.wrappers.SKLearnClassifier
    with pytest.raises(AttributeError, match="no attribute 'SKLearn'"):
        _ = lamella.wrappers.SKLearn
