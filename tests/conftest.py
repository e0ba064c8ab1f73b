"""Profiles of Hypothesis: derandomised by default, so that a failure here is a failure there."""

import jax
from hypothesis import HealthCheck, settings

# Float64 stays float64.
jax.config.update("jax_enable_x64", val=True)  # type: ignore[no-untyped-call]

common = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("default", derandomize=True, **common)  # type: ignore[arg-type]
settings.register_profile("thorough", max_examples=5000, **common)  # type: ignore[arg-type]
settings.load_profile("default")
