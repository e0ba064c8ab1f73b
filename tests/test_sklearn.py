"""Claims about the classifier of scikit-learn: it is `train`, and it does what its peers do."""

import pickle
import sys
from importlib import reload
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state
from sklearn.utils.estimator_checks import parametrize_with_checks

import purenet
from purenet import Config, DivergenceError
from purenet.sklearn import PurenetClassifier

X, Y = load_digits(return_X_y=True)
X = (X / 16)[:600]
Y = Y[:600]
SEED = int(check_random_state(0).randint(2**31 - 1))


def small(**options: Any) -> PurenetClassifier:
    """Return a small classifier of a fixed seed."""
    return PurenetClassifier((20,), random_state=0, **({"epochs": 3} | options))


# Every check of scikit-learn has its own test here; none is expected to fail.
@parametrize_with_checks(  # type: ignore[untyped-decorator]
    [PurenetClassifier(), PurenetClassifier((8,), batch_size=None, momentum=0.5)]
)
def test_scikit_learn_accepts_the_classifier(estimator: Any, check: Any) -> None:
    """The check of scikit-learn passes."""
    check(estimator)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_fit_is_train(dtype: Any) -> None:
    """The parameters and losses have the bits of `init` and `train` with the same seed."""
    model = small(learning_rate=0.3, momentum=0.8, l2=1e-3, batch_size=50).fit(X.astype(dtype), Y)
    cfg = Config(learning_rate=0.3, momentum=0.8, l2=1e-3, batch_size=50, epochs=3, seed=SEED)
    params = purenet.init([64, 20, 10], seed=SEED, dtype=dtype)
    result = purenet.train(params, (X.astype(dtype), Y), cfg)
    assert model.loss_curve_ == [record["loss"] for record in result.history]
    assert model.n_iter_ == 3
    for name, p in result.params.items():
        assert model.params_[name].dtype == dtype
        assert model.params_[name].tobytes() == p.tobytes()


def test_predictions_are_those_of_the_functions() -> None:
    """Probabilities have the bits of `predict_proba`, and the classes those of `predict`."""
    model = small().fit(X, Y)
    p = purenet.predict_proba(model.params_, X)
    assert np.array_equal(model.predict_proba(X), p)
    assert np.array_equal(model.predict(X), p.argmax(axis=1))
    assert model.score(X, Y) == np.mean(p.argmax(axis=1) == Y)


def test_calls_of_partial_fit_are_epochs_of_fit() -> None:
    """Three calls give the bits of three epochs, and a fourth goes on from there."""
    whole, parts = small(epochs=4).fit(X, Y), small(epochs=3)
    for _ in range(3):
        parts.partial_fit(X, Y, classes=range(10))
    assert parts.n_iter_ == 3
    for continued in (parts, small(epochs=3).fit(X, Y)):
        continued.partial_fit(X, Y)
        assert continued.loss_curve_ == whole.loss_curve_
        for name, p in whole.params_.items():
            assert continued.params_[name].tobytes() == p.tobytes()


def test_partial_fit_goes_on_from_the_best_parameters() -> None:
    """After early stopping a call trains one epoch, from the best parameters and their velocity."""
    options: dict[str, Any] = {"early_stopping": True, "n_iter_no_change": 3, "learning_rate": 1.0}
    model = small(epochs=60, **options).fit(X, Y)
    done, best = model.n_iter_, int(np.argmax(model.validation_scores_)) + 1
    assert best < done
    shorter = small(**options | {"epochs": best, "n_iter_no_change": 60}).fit(X, Y)
    for each in (model, shorter):
        each.partial_fit(X, Y)
    assert model.n_iter_ == len(model.loss_curve_) == done + 1
    assert model.loss_curve_[-1] == shorter.loss_curve_[-1]
    assert all(np.array_equal(p, shorter.params_[k]) for k, p in model.params_.items())


def test_data_held_back_have_the_proportions_of_the_classes() -> None:
    """The split is that of scikit-learn, stratified, with the seed of the classifier."""
    rare = np.where(np.arange(len(X)) < 8, 1, 0)
    model = small(early_stopping=True, validation_fraction=0.25, l2=0.0).fit(X, rare)
    _, x, _, y = train_test_split(X, rare, test_size=0.25, stratify=rare, random_state=SEED)
    assert y.sum() == 2
    assert max(model.validation_scores_) == purenet.accuracy(model.params_, x, y)
    others = small(early_stopping=True, validation_fraction=0.25).fit(X, Y)
    _, x, _, y = train_test_split(X, Y, test_size=0.25, stratify=Y, random_state=SEED)
    assert max(others.validation_scores_) == purenet.accuracy(others.params_, x, y)


def test_an_improvement_must_be_larger_than_tol() -> None:
    """With a tolerance of 1 nothing improves after the first epoch, so that patience decides."""
    model = small(epochs=50, early_stopping=True, n_iter_no_change=4, tol=1.0).fit(X, Y)
    assert model.n_iter_ == 5


def test_a_call_that_fails_changes_nothing() -> None:
    """A classifier that was not fitted stays so, and one that was fitted keeps its network."""
    unlucky = np.where(np.arange(len(X)) == 0, 1, 0)  # one example cannot be split
    model = small(early_stopping=True)
    with pytest.raises(ValueError, match="least populated class"):
        model.fit(X, unlucky)
    with pytest.raises(NotFittedError):
        model.predict(X)
    model = small().fit(X, Y)
    before = model.predict_proba(X)
    with pytest.raises(ValueError, match="momentum must be a number"):
        model.set_params(momentum=1).fit(X, Y)
    assert np.array_equal(model.predict_proba(X), before)


def test_one_hidden_layer_may_be_a_number() -> None:
    """`hidden_layer_sizes=7` is one layer of 7 units, as for the classifiers of scikit-learn."""
    assert PurenetClassifier(7, epochs=0).fit(X, Y).params_["b1"].shape == (7,)


def test_partial_fit_takes_some_classes_at_a_time() -> None:
    """A call may lack classes, and data of another precision train the same network."""
    model = small().partial_fit(X[Y < 5], Y[Y < 5], classes=[*range(9, -1, -1)])
    model.partial_fit(X[Y > 4].astype(np.float32), Y[Y > 4])
    assert model.classes_.tolist() == list(range(10))
    assert {p.dtype for p in model.params_.values()} == {np.dtype(np.float64)}


@pytest.mark.parametrize(
    "names",
    [
        [f"class {i}" for i in range(10)],
        [i * 7 - 30 for i in range(10)],
        [float(i - 5) for i in range(10)],
        [i > 4 for i in range(10)],
    ],
    ids=["texts", "integers", "numbers", "truth values"],
)
def test_labels_of_any_type_are_predicted_in_that_type(names: list[Any]) -> None:
    """The classes are the sorted labels, and predictions are some of them."""
    labels = np.array(names)[Y]
    model = small(epochs=10).fit(X, labels)
    assert np.array_equal(model.classes_, np.unique(labels))
    assert model.predict(X).dtype == labels.dtype
    assert model.score(X, labels) > 0.8


def test_early_stopping_keeps_the_best_parameters() -> None:
    """Training ends before its epochs, and the parameters are those of the best accuracy."""
    options = {"epochs": 200, "early_stopping": True, "validation_fraction": 0.25}
    model = small(n_iter_no_change=5, **options).fit(X, Y)
    scores = model.validation_scores_
    assert len(scores) == len(model.loss_curve_) == model.n_iter_ < 200
    best = int(np.argmax(scores))
    assert len(scores) - best >= 5
    again = small(n_iter_no_change=200, **options | {"epochs": best + 1}).fit(X, Y)
    assert again.validation_scores_ == scores[: best + 1]
    for name, p in again.params_.items():
        assert model.params_[name].tobytes() == p.tobytes()
    patient = small(n_iter_no_change=5, tol=-1.0, **options | {"epochs": 30}).fit(X, Y)
    assert patient.n_iter_ == 30


def test_verbose_prints_a_line_for_each_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    """The line has the loss, and the accuracy on data held back if there are any."""
    model = small(epochs=2, verbose=True, early_stopping=True).fit(X, Y)
    pairs = zip(model.loss_curve_, model.validation_scores_, strict=True)
    assert capsys.readouterr().out.splitlines() == [
        f"epoch {e}: loss {loss:.4f}, accuracy on data held back {score:.2%}"
        for e, (loss, score) in enumerate(pairs, 1)
    ]
    small(epochs=1, verbose=True).fit(X, Y)
    assert "held back" not in capsys.readouterr().out
    small(epochs=1).fit(X, Y)
    assert capsys.readouterr().out == ""


def test_it_works_in_pipelines_searches_and_cross_validation() -> None:
    """The tools of scikit-learn find better parameters and good scores."""
    pipeline = make_pipeline(StandardScaler(), small(epochs=20))
    assert cross_val_score(pipeline, X, Y, cv=3).mean() > 0.8
    rates = {"purenetclassifier__learning_rate": [1e-6, 0.4]}
    search = GridSearchCV(pipeline, rates, cv=3).fit(X, Y)
    assert search.best_params_ == {"purenetclassifier__learning_rate": 0.4}


def test_a_pickled_classifier_predicts_and_trains_on() -> None:
    """A copy has the same probabilities, and goes on to the same parameters."""
    model = small().fit(X, Y)
    copy = pickle.loads(pickle.dumps(model))
    assert np.array_equal(copy.predict_proba(X), model.predict_proba(X))
    for each in (model, copy):
        each.partial_fit(X, Y)
    assert all(np.array_equal(copy.params_[name], p) for name, p in model.params_.items())
    assert not hasattr(clone(model), "params_")


def test_equal_seeds_give_equal_networks_and_others_do_not() -> None:
    """A fixed `random_state` repeats a fit; None does not."""
    one, same, other = (
        PurenetClassifier((5,), epochs=1, random_state=state).fit(X, Y) for state in (1, 1, None)
    )
    assert np.array_equal(one.params_["W1"], same.params_["W1"])
    assert not np.array_equal(one.params_["W1"], other.params_["W1"])


def test_data_frames_give_names_to_features() -> None:
    """Predictions take the same names, and refuse others."""
    frame = pd.DataFrame(X, columns=[f"pixel {i}" for i in range(64)])
    model = small().fit(frame, Y)
    assert model.feature_names_in_[3] == "pixel 3"
    assert np.array_equal(model.predict(frame), small().fit(X, Y).predict(X))
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(frame.rename(columns={"pixel 3": "other"}))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.partial_fit(X, Y), "the first call of partial_fit needs all classes"),
        (
            lambda m: m.fit(X, Y).partial_fit(X, Y, classes=[1, 2]),
            r"classes must be those of the first call, got \[1, 2\]",
        ),
        (lambda m: m.fit(X, Y).partial_fit(X, Y + 1), "y contains previously unseen labels"),
        (lambda m: m.fit(X, Y / 3), "Unknown label type: continuous"),
        (lambda m: m.fit(X, Y).partial_fit(X, Y / 3), "Unknown label type: continuous"),
        (
            lambda m: m.set_params(early_stopping=True, n_iter_no_change=0).fit(X, Y),
            "n_iter_no_change must be an integer >= 1, got 0",
        ),
        (lambda m: m.set_params(learning_rate=-1).fit(X, Y), "learning_rate must be a finite"),
        (lambda m: m.set_params(hidden_layer_sizes=(0,)).fit(X, Y), r"sizes\[1\] must be an int"),
        (
            lambda m: m.set_params(early_stopping=True, validation_fraction=2).fit(X, Y),
            r"validation_fraction must be a number in \[0, 1\), got 2",
        ),
    ],
)
def test_wrong_calls_are_refused(call: Any, message: str) -> None:
    """The error is that of scikit-learn where its own helpers check, else purenet's."""
    with pytest.raises(ValueError, match=message):
        call(small())


def test_divergence_is_an_error() -> None:
    """A learning rate that is far too large raises DivergenceError."""
    with pytest.raises(DivergenceError, match="training stopped being finite in epoch"):
        small(learning_rate=1e20).fit(X, Y)


def test_without_scikit_learn_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Importing the module names the command that installs the extra."""
    module = sys.modules["purenet.sklearn"]
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ImportError, match=r"^classifiers of .* need sklearn: .*purenet\[sklearn\]"):
        reload(module)
