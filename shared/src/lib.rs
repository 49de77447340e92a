//! What all guardrails have in common.
//!
//! A guardrail is a reconciler (see [`guardrail`]): a trigger says where to look, `observe` reads
//! AWS into plain facts, `decide` compares them with the policy, `act` closes one difference, and
//! the report says what came of it. This crate owns everything around those four; it knows no
//! guardrail by more than its name.

pub mod autoscaling;
pub mod aws;
pub mod ec2;
pub mod finding;
pub mod guardrail;
pub mod metrics;
pub mod notify;
pub mod policy;
pub mod report;
pub mod runner;
pub mod tags;
pub mod text;
pub mod trigger;
pub mod wiring;
