"""Tools to test your own code with. purenet is tested with the same tools."""

from purenet.extras import require

require("the tools of purenet.testing", "testing", "hypothesis", "mpmath")
