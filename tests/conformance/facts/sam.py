"""Lambda, EventBridge, SAM."""

from conformance.probe import untried

untried("SAM-1", "about sam-cli, which `make package` runs")
untried("SAM-3", "a second delivery can't be brought about")
untried("SAM-4", "about Rust's crates, which the build and its tests show")
untried("SAM-5", "an account's quota is what it is")
untried("SAM-6", "that nothing is said can't be waited for")
