//! AWS's request rates, per account and Region, as token buckets.
//!
//! EC2 has one for each action (EBS-6): the numbers are those of "Request throttling for the Amazon
//! EC2 API" in the EC2 developer guide, for paged or filtered reads. CloudTrail takes two lookups a
//! second. Auto Scaling has one bucket for all its calls, whose size AWS doesn't publish; here it is
//! as large as one of EC2's.

use std::collections::HashMap;
use std::time::Instant;

/// A bucket's size and its refill per second.
type Rate = (f64, f64);

/// Name of the bucket of all calls of Auto Scaling.
const AUTO_SCALING: &str = "autoscaling";

fn rate(bucket: &str) -> Rate {
    match bucket {
        AUTO_SCALING => (100.0, 20.0),
        "LookupEvents" => (2.0, 2.0),
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
    /// Takes a token for `action` of `service`, if there is one. Other services don't throttle here.
    pub(crate) fn take(&mut self, service: &str, action: &str, now: Instant) -> bool {
        let name = match service {
            "ec2" | "cloudtrail" => action,
            AUTO_SCALING => AUTO_SCALING,
            _ => return true,
        };
        let (size, refill) = rate(name);
        let bucket = self.0.entry(name.to_owned()).or_insert(Bucket {
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
            .filter(|_| buckets.take("ec2", "CreateSnapshots", start))
            .count();
        assert_eq!(taken, 100);
        let mut has = |service, action| buckets.take(service, action, start);
        assert!(has("ec2", "DescribeVolumes"), "its own bucket");
        for at in 0..101 {
            let action = ["CreateOrUpdateTags", "DescribeInstanceRefreshes"][at % 2];
            assert_eq!(has("autoscaling", action), at < 100, "one for all");
        }
        let later = start + Duration::from_secs(2);
        let taken = (0..200)
            .filter(|_| buckets.take("ec2", "CreateSnapshots", later))
            .count();
        assert_eq!(taken, 10);
    }
}
