"""Lambda, EventBridge, SAM, and stacks."""

from conformance.probe import untried

untried("SAM-1", "about sam-cli, which `make package` runs")
untried("SAM-3", "a second delivery can't be brought about")
untried("SAM-4", "about Rust's crates, which the build and its tests show")
untried("SAM-5", "an account's quota is what it is")
untried("SAM-6", "that nothing is said can't be waited for")
untried("SAM-7", "about aws-sam-translator, which the tests of the template run")
untried("SCH-1", "metrics come by best effort, minutes later")
untried("LMB-1", "it takes a function with an alias, and rules and schedules that invoke it")
untried("LMB-2", "requests of Lambda's own, which show up on the bill only")
untried("STK-1", "stack sets take an organization, or roles that administer others")
untried("STK-2", "stack sets take an organization, or roles that administer others")
untried("PRT-1", "the other partitions take accounts of their own")
