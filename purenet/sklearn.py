"""The network as a classifier of scikit-learn."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from purenet.extras import require

require("classifiers of scikit-learn", "sklearn", "sklearn")

from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import LabelEncoder
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from purenet import evaluation
from purenet.config import Config
from purenet.network import init
from purenet.optim import init_velocity
from purenet.params import check_integer, check_number
from purenet.training import State, epochs

__all__ = ["PurenetClassifier"]

FLOATS = (np.float64, np.float32)


class PurenetClassifier(ClassifierMixin, BaseEstimator):
    """Classify by a multilayer perceptron: ReLU, softmax cross-entropy, L2, momentum.

    The network computes in float32 if X is float32, and otherwise in float64. With purenet's extra
    ``fast`` installed, float32 trains much faster. Features should be scaled, for example by a
    `StandardScaler` in a pipeline. Training that diverges raises `purenet.DivergenceError`.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int
        Units of each hidden layer.
    learning_rate, momentum, l2 : float
        As in `purenet.Config`.
    batch_size : int or None
        As in `purenet.Config`.
    epochs : int
        Passes over the data. Training takes them all unless `early_stopping` ends it.
    early_stopping : bool
        Hold back a part of the data, stop when the accuracy on it no longer improves, and keep the
        parameters that were best on it.
    validation_fraction : float
        The part that is held back, with the proportions of the classes.
    n_iter_no_change : int
        Epochs without an improvement of more than `tol` before training stops.
    tol : float
        The least improvement of the accuracy that counts.
    verbose : bool
        Print a line for each epoch.
    random_state : int, numpy.random.RandomState or None
        Source of the seed of the initial weights, of the orders of the examples, and of the split.

    Attributes
    ----------
    classes_ : numpy.ndarray
        The classes, sorted.
    params_ : dict of numpy.ndarray
        W1, b1, ..., WL, bL, as the functions of purenet take them.
    n_iter_ : int
        Epochs done, also those after the one with the best parameters.
    loss_curve_ : list of float
        Mean loss of the batches of each epoch, each before its update.
    validation_scores_ : list of float
        Accuracy on the data held back after each epoch, if `early_stopping` is on.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : numpy.ndarray
        Names of the features, if X has names.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> model = PurenetClassifier((50,), epochs=20, random_state=0).fit(X[:1500] / 16, y[:1500])
    >>> bool(model.score(X[1500:] / 16, y[1500:]) > 0.9)
    True
    """

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (200, 50),
        *,
        learning_rate: float = 0.4,
        momentum: float = 0.9,
        l2: float = 1e-4,
        batch_size: int | None = 128,
        epochs: int = 100,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        tol: float = 1e-4,
        verbose: bool = False,
        random_state: Any = None,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.l2 = l2
        self.batch_size = batch_size
        self.epochs = epochs
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.verbose = verbose
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> Self:
        """Train a new network.

        Parameters
        ----------
        X : array-like, shape (n, features)
            Examples.
        y : array-like, shape (n,)
            Labels of any type that can be sorted.

        Returns
        -------
        PurenetClassifier
            This object.
        """
        X, y = validate_data(self, X, y, dtype=FLOATS)
        start = self._untrained(X, y)
        labels = start["_encoder"].transform(y)
        validation = None
        if self.early_stopping:
            held = check_number("validation_fraction", self.validation_fraction, below=1)
            X, X_held, labels, labels_held = train_test_split(
                X,
                labels,
                test_size=held,
                stratify=labels,
                random_state=start["_seed"],
            )
            validation = X_held, labels_held
        self._train(start, X, labels, self.epochs, validation)
        return self

    def partial_fit(
        self,
        X: Any,
        y: Any,
        classes: Any = None,
    ) -> Self:
        """Train for one epoch on these examples, starting from the current parameters.

        Parameters
        ----------
        X : array-like, shape (n, features)
            Examples.
        y : array-like, shape (n,)
            Labels, which must be among the classes.
        classes : array-like, optional
            All classes. The first call needs them, unless `fit` came before.

        Returns
        -------
        PurenetClassifier
            This object.
        """
        first = not hasattr(self, "params_")
        X, y = validate_data(self, X, y, dtype=FLOATS, reset=first)
        if first and classes is None:
            raise ValueError("the first call of partial_fit needs all classes")
        check_classification_targets(y)
        start = self._untrained(X, classes) if first else dict(vars(self))
        if (
            not first
            and classes is not None
            and not np.array_equal(np.unique(classes), self.classes_)
        ):
            raise ValueError(f"classes must be those of the first call, got {classes!r}")
        labels = start["_encoder"].transform(y)
        self._train(start, X, labels, start["_state"].epochs + 1, None)
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """Predict the most probable class of each example.

        Parameters
        ----------
        X : array-like, shape (n, features)
            Examples.

        Returns
        -------
        numpy.ndarray, shape (n,)
            Classes.
        """
        check_is_fitted(self, "params_")
        labels: NDArray[Any] = evaluation.predict(self.params_, self._validated(X))
        found: NDArray[Any] = self.classes_[labels]
        return found

    def predict_proba(self, X: Any) -> NDArray[Any]:
        """Predict the probability of each class.

        Parameters
        ----------
        X : array-like, shape (n, features)
            Examples.

        Returns
        -------
        numpy.ndarray, shape (n, classes)
            Probabilities, in the order of ``classes_``.
        """
        check_is_fitted(self, "params_")
        probabilities: NDArray[Any] = evaluation.predict_proba(self.params_, self._validated(X))
        return probabilities

    def _validated(self, X: Any) -> Any:
        return validate_data(self, X, dtype=self.params_["W1"].dtype, reset=False)

    def _untrained(self, X: NDArray[Any], classes: Any) -> dict[str, Any]:
        """Return the attributes of an untrained network for these features and classes."""
        check_classification_targets(classes)
        encoder = LabelEncoder().fit(classes)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        units = [
            X.shape[1],
            *np.atleast_1d(self.hidden_layer_sizes).tolist(),
            len(encoder.classes_),
        ]
        params = init(units, seed=seed, dtype=X.dtype)
        return {
            "_encoder": encoder,
            "_seed": seed,
            "_state": State(init_velocity(params), 0),
            "classes_": encoder.classes_,
            "params_": params,
            "n_iter_": 0,
            "loss_curve_": [],
            "validation_scores_": [],
        }

    def _train(
        self,
        start: dict[str, Any],
        X: Any,
        y: Any,
        total: int,
        validation: tuple[Any, Any] | None,
    ) -> None:
        """Train until so many epochs are done, or no better parameters are found."""
        cfg = Config(
            learning_rate=self.learning_rate,
            momentum=self.momentum,
            l2=self.l2,
            batch_size=self.batch_size,
            epochs=total,
            seed=start["_seed"],
        )
        patience = check_integer("n_iter_no_change", self.n_iter_no_change, least=1)
        records = epochs(start["params_"], (X, y), cfg, state=start["_state"])
        for name, value in start.items():  # all arguments are right
            setattr(self, name, value)
        best, best_record, waited = -np.inf, None, 0
        for record in records:
            self.params_, self._state = record.params, record.state
            self.loss_curve_.append(record.loss)
            self.n_iter_ = len(self.loss_curve_)
            text = f"epoch {record.epoch}: loss {record.loss:.4f}"
            if validation:
                score = evaluation.accuracy(record.params, *validation)
                self.validation_scores_.append(score)
                waited = 0 if score > best + self.tol else waited + 1
                if score > best:
                    best, best_record = score, record
                text += f", accuracy on data held back {score:.2%}"
            if self.verbose:
                print(text)
            if validation and waited >= patience:
                break
        if best_record:
            self.params_, self._state = best_record.params, best_record.state
