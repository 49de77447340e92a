"""Auto Scaling that does things over time: it launches, checks health, replaces and refreshes, as AWS does.

moto launches instances at once, never looks at them again and has no instance refreshes; of its Auto Scaling only the
launch configurations are left. `model.py` is what is known of a group, `engine.py` what happens to it with time,
`refresh.py` instance refreshes, `health.py` what runs on an instance after boot and what checks see of it.
Words of errors and reasons marked "(assumed)" weren't found in AWS's documentation or in a real thread.
"""

from emulator.autoscaling import (  # noqa: F401
    groups_api,
    health,
    members_api,
    reading_api,
    refresh_api,
    routes,
    warm_pool,
)
