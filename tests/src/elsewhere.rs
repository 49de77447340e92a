//! Another Region: what is copied there, and the keys.

use serde_json::{Value, json};

use crate::control::Snapshots;
use crate::{ACCOUNT, LocalAws, Seed, Snapshot};

/// Another Region than the stack's.
pub const THERE: &str = "us-east-1";

/// The ARN of the key of that id.
#[must_use]
pub fn key_arn(region: &str, id: &str) -> String {
    format!("arn:aws:kms:{region}:{ACCOUNT}:key/{id}")
}

impl Seed {
    /// As a copy of it has it, from `region`.
    #[must_use]
    pub fn copied(mut self, region: &str, source: &str) -> Self {
        let described = self.0["description"].as_str().unwrap_or_default();
        let volume = self.0["volume_id"].as_str().unwrap_or_default();
        let from = format!("copy from {region} of {volume} ({source}), plan ");
        self.0["description"] = described.replacen("plan ", &from, 1).into();
        self.0["volume_id"] = "vol-ffffffff".into();
        self.0["tags"]["ec2-guardrails:source"] = source.into();
        self.0["encrypted"] = true.into();
        self
    }

    /// Encrypted: with AWS's own key, or one of the account's.
    #[must_use]
    pub fn encrypted(mut self, key: Option<&str>) -> Self {
        self.0["encrypted"] = true.into();
        self.0["kms_key_id"] = key.into();
        self
    }
}

impl LocalAws {
    /// The copies that carry the guardrail's tag, in [`THERE`].
    pub async fn copies(&self) -> Vec<Snapshot> {
        let listed: Snapshots = self.get(&format!("snapshots?region={THERE}")).await;
        let mut all = listed.snapshots;
        all.retain(|s| s.tag("ec2-guardrails:guardrail") == "snapshot-volumes");
        all
    }

    /// Puts copies there as if they had been made in the past.
    pub async fn seed_copies(&self, seeds: impl IntoIterator<Item = Seed>) {
        let seeds: Vec<Value> = seeds.into_iter().map(|seed| seed.0).collect();
        self.post("snapshots", json!({ "region": THERE, "snapshots": seeds }))
            .await;
    }

    /// Ends what is under way there: well, but for a key that can't be used.
    pub async fn complete_copies(&self) {
        self.post("snapshots/finish", json!({ "region": THERE }))
            .await;
    }

    /// Ends a pending copy in the state `error`.
    pub async fn fail_copy(&self, id: &str, reason: &str) {
        let body = json!({
            "region": THERE, "snapshot_ids": [id], "state": "error", "message": reason,
        });
        let answer = self.post("snapshots/finish", body).await;
        assert_ne!(answer["finished"], 0, "{id} is not pending");
    }

    /// Lets so much time pass for all copies.
    pub async fn age_copies(&self, seconds: u32) {
        self.post(
            "snapshots/age",
            json!({ "region": THERE, "seconds": seconds }),
        )
        .await;
    }

    /// Makes a KMS key of the account's with that id; returns its ARN.
    pub async fn key(&self, region: &str, id: &str, alias: &str) -> String {
        let body = json!({ "region": region, "key_id": id, "alias": alias });
        self.post("keys", body).await;
        key_arn(region, id)
    }
}
