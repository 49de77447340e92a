//! What lies on disks, and the volumes that drills make.

use aws_sdk_ec2::types::{Filter, Volume};
use serde_json::{Value, json};

use crate::LocalAws;
use crate::estate::answered;

impl LocalAws {
    /// What lies on volumes, and so on their snapshots and copies: by block and place, in
    /// hexadecimal digits; nothing: never written.
    pub async fn content(&self, volumes: &[String], blocks: Value) {
        let body = json!({ "volume_ids": volumes, "blocks": blocks });
        self.post("volumes/content", body).await;
    }

    /// The blocks of these snapshots don't have the checksums that AWS says.
    pub async fn corrupt(&self, snapshots: &[String]) {
        let body = json!({ "snapshot_ids": snapshots });
        self.post("snapshots/corrupt", body).await;
    }

    /// Lets so much time pass for what a drill has under way: for its record, and for its volumes.
    pub async fn age_drills(&self, seconds: u32) {
        self.age_all_memory("proof#", seconds).await;
        let volumes = self.drill_volumes().await;
        let ids: Vec<_> = volumes.iter().filter_map(Volume::volume_id).collect();
        let body = json!({ "volume_ids": ids, "seconds": seconds });
        self.post("volumes/age", body).await;
    }

    /// The volumes with a drill's tag, whoever wrote it.
    pub async fn drill_volumes(&self) -> Vec<Volume> {
        let tagged = Filter::builder()
            .name("tag-key")
            .values("ec2-guardrails:drill")
            .build();
        let found = self.ec2.describe_volumes().filters(tagged).send().await;
        answered("DescribeVolumes", found).volumes().to_vec()
    }
}
