//! The Lambda function `quarantine-launch`.

fn main() {}
