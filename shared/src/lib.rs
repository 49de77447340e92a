//! What all guardrails have in common.
//!
//! A guardrail is a reconciler (see [`guardrail`]): a trigger says where to look, `observe` reads
//! AWS into plain facts, `evaluate` judges them by the policy, `decide` says what is to be done, `act`
//! closes one difference, and the report says what came of it. This crate owns everything around
//! those; it knows no guardrail by more than its name.

pub mod autoscaling;
pub mod aws;
pub mod condition;
pub mod configuration;
pub mod ec2;
pub mod guardrail;
pub mod metrics;
pub mod notify;
pub mod policy;
pub mod report;
pub mod resource;
pub mod runner;
pub mod state;
pub mod tags;
pub mod text;
pub mod trigger;
