"""One Hypothesis profile for everybody: derandomised, so that a failure here is a failure there."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "default", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("default")
