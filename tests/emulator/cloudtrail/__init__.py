"""CloudTrail: who made which call, on the bus as `AWS API Call via CloudTrail` and by LookupEvents (AMI-1).

Recorded are the calls that change instances, their images and launch templates, and Auto Scaling groups; also the calls
that services make by themselves: launches of groups and fleets.
"""

from emulator.cloudtrail import launches, lookup, trail  # noqa: F401
