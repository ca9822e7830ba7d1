"""Properties are tested without a clock: a busy machine must not fail them.

Workers of pytest-xdist run beside each other, so each, and each process it starts, keeps to one
thread.
"""

import os

if "PYTEST_XDIST_WORKER" in os.environ:  # before anything imports torch
    os.environ["OMP_NUM_THREADS"] = "1"

from hypothesis import HealthCheck, settings

settings.register_profile("steady", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")
