//! EC2's default request rates (EBS-6): a token bucket for each action, per account and Region.
//!
//! The numbers are those of "Request throttling for the Amazon EC2 API" in the EC2 developer
//! guide, for paged or filtered reads.

use std::collections::HashMap;
use std::time::Instant;

/// A bucket's size and its refill per second.
type Rate = (f64, f64);

fn rate(action: &str) -> Rate {
    match action {
        "CreateSnapshot" | "CreateSnapshots" | "DeleteSnapshot" => (100.0, 5.0),
        "CreateTags" | "DeleteTags" => (100.0, 10.0),
        read if read.starts_with("Describe") => (100.0, 20.0),
        _mutating => (50.0, 5.0),
    }
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

/// The account's buckets, full at first.
#[derive(Debug, Default)]
pub(crate) struct Buckets(HashMap<String, Bucket>);

impl Buckets {
    /// Takes a token for `action`, if there is one.
    pub(crate) fn take(&mut self, action: &str, now: Instant) -> bool {
        let (size, refill) = rate(action);
        let bucket = self.0.entry(action.to_owned()).or_insert(Bucket {
            tokens: size,
            at: now,
        });
        let passed = now.duration_since(bucket.at).as_secs_f64();
        bucket.tokens = (bucket.tokens + passed * refill).min(size);
        bucket.at = now;
        let enough = bucket.tokens >= 1.0;
        if enough {
            bucket.tokens -= 1.0;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_bucket_empties_and_refills_at_its_rate() {
        let mut buckets = Buckets::default();
        let start = Instant::now();
        let taken = (0..200)
            .filter(|_| buckets.take("CreateSnapshots", start))
            .count();
        assert_eq!(taken, 100);
        assert!(buckets.take("DescribeVolumes", start), "its own bucket");
        let later = start + Duration::from_secs(2);
        let taken = (0..200)
            .filter(|_| buckets.take("CreateSnapshots", later))
            .count();
        assert_eq!(taken, 10);
    }
}
