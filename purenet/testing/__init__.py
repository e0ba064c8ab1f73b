"""Tools to test your own code with. purenet is tested with the same tools."""

from purenet.extras import require

require("the tools of purenet.testing", "testing", "hypothesis", "ml_dtypes", "mpmath")

from purenet.testing.operations import Precision, check_operation  # noqa: E402
from purenet.testing.scoring import Score, score  # noqa: E402

__all__ = ["Precision", "Score", "check_operation", "score"]
