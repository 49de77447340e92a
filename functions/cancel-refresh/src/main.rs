//! The Lambda function `cancel-refresh`.

fn main() {}
