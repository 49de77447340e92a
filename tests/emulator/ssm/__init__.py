"""Systems Manager: managed nodes whose agents register only if their role and network let them.

`agent.py` is what runs on an instance: when it tries, what it finds, and what it writes on the console. `identity.py`
and `reachability.py` answer its two questions from the emulator's own state. `nodes.py` and `service_settings.py` are
the API.
"""

from emulator.ssm import agent, nodes, service_settings  # noqa: F401
