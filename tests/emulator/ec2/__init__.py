"""EC2 and EBS as strict as AWS where moto is lax.

Importing the package changes moto and registers the control routes. Each module is one area; each deviation from moto
carries the fact (EBS-1 …) or the AWS behaviour that it restores. Words of errors marked "(assumed)" weren't found in
AWS's documentation or in a real thread: the code is the nearest documented one.
"""

from emulator.ec2 import (  # noqa: F401
    attributes,
    blocks,
    image_access,
    images,
    instances,
    interfaces,
    keys,
    locks,
    network,
    operators,
    profiles,
    reset,
    security_groups,
    seeding,
    snapshots,
    status,
    tags,
    volumes,
    wire,
)
