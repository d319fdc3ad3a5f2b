"""What holds for all tests."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# No test is failed by a busy machine: how fast something is says the bench.
settings.register_profile("nahuo", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("nahuo")
