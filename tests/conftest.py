"""One Hypothesis profile for everybody: derandomised, so that a failure here is a failure there."""

import jax
from hypothesis import HealthCheck, settings

# Float64 stays float64.
jax.config.update("jax_enable_x64", val=True)  # type: ignore[no-untyped-call]

settings.register_profile(
    "default", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("default")
