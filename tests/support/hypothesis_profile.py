# SPDX-License-Identifier: GPL-2.0
"""Settings of hypothesis for all tests: its limits count wall time, which a busy host takes."""

import hypothesis

hypothesis.settings.register_profile(
    "busy host",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("busy host")
