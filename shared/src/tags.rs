//! Every tag key. Ours stand under one prefix, so that an operator sees in the console why a thing
//! is as it is.

/// What every key of ours begins with.
pub const PREFIX: &str = "ec2-guardrails:";

/// The guardrail that made the resource, e.g. `snapshot-volumes`. The roles' conditions rest on it.
pub const GUARDRAIL: &str = "ec2-guardrails:guardrail";
/// The plan that a snapshot belongs to. This, its guardrail, slot and volumes have to agree with the
/// snapshot's description, which says them too and which nobody can change: tags alone prove nothing.
pub const PLAN: &str = "ec2-guardrails:plan";
/// The slot that a snapshot fills: RFC 3339 with the plan's offset, e.g. `2026-11-22T03:00:00+09:00`.
pub const SLOT: &str = "ec2-guardrails:slot";
/// Which try at its slot a snapshot is, from 1. A label: the description is what is read.
pub const ATTEMPT: &str = "ec2-guardrails:attempt";
/// What the snapshots of one crash-consistent set share; `CreateSnapshots` returns no id (EBS-2).
pub const SET: &str = "ec2-guardrails:set";
/// The volumes that were meant, each with its device: `vol-0a=/dev/xvda vol-0b=/dev/sdf`.
///
/// The members of a set can only be tagged alike (EBS-2), so each names them all. A snapshot whose
/// own volume isn't listed is a copy (EBS-9), or of a volume that came to the set meanwhile: not ours.
/// A long list goes on in `…:volumes-2`, `…:volumes-3`.
pub const VOLUMES: &str = "ec2-guardrails:volumes";
/// Of a copy in another Region: the snapshot that it was made from. It has to agree with the
/// description too.
pub const SOURCE: &str = "ec2-guardrails:source";
/// Of a copy: the Region of that snapshot. A label.
pub const SOURCE_REGION: &str = "ec2-guardrails:source-region";
/// On a volume that a restore drill made: which one, as the state table says it too. It has to agree
/// with the table: the tag alone makes no volume a drill's.
pub const DRILL: &str = "ec2-guardrails:drill";
/// The instance that the volume was attached to.
pub const INSTANCE: &str = "ec2-guardrails:instance";
/// The AMI that the instance was launched from.
pub const IMAGE: &str = "ec2-guardrails:image";
/// The AMI's name at the time, which tells the operating system even when the AMI is gone.
pub const IMAGE_NAME: &str = "ec2-guardrails:image-name";

/// On a snapshot taken at a quarantine: the instance. Kept until a person deletes it. Whether it is
/// evidence, its description says, which nobody can change.
pub const EVIDENCE: &str = "ec2-guardrails:evidence";

/// Labels: for people, who see in the console what was done. Anybody who may tag can write them, so
/// nothing is done because of one; what is remembered lies in the state table.
pub mod label {
    /// On an instance in quarantine: a stage and since when: `started <time>`, `partial <time>`,
    /// `complete <time>`, `releasing <time>`. IAM lets the role change only an instance that bears it.
    pub const QUARANTINED: &str = "ec2-guardrails:quarantined";
    /// What all others of a quarantine begin with.
    pub const QUARANTINE_PREFIX: &str = "ec2-guardrails:quarantine-";
    /// The AMI, and its name, for which the instance was quarantined.
    pub const QUARANTINE_IMAGE: &str = "ec2-guardrails:quarantine-image";
    /// Which rule refused the AMI, or why else the instance is in quarantine.
    pub const QUARANTINE_REASON: &str = "ec2-guardrails:quarantine-reason";
    /// Who launched the instance, where that is known.
    pub const QUARANTINE_LAUNCHER: &str = "ec2-guardrails:quarantine-launcher";
    /// The security groups that a network interface had: `…:quarantine-groups-<eni>`. A long list goes
    /// on in `…-2`.
    pub const QUARANTINE_GROUPS: &str = "ec2-guardrails:quarantine-groups-";
    /// Which volumes were to be deleted with the instance: `/dev/xvda=delete /dev/sdf=keep`. A long
    /// list goes on in `…-2`.
    pub const QUARANTINE_DISKS: &str = "ec2-guardrails:quarantine-disks";
    /// Whether termination protection was `on` or `off`.
    pub const QUARANTINE_PROTECTION: &str = "ec2-guardrails:quarantine-protection";
    /// ARN of the instance profile that the quarantine takes away.
    pub const QUARANTINE_PROFILE: &str = "ec2-guardrails:quarantine-profile";
    /// How the instance was taken out of its group's service: `standby <group>`, `detached <group>`.
    pub const QUARANTINE_SERVICE: &str = "ec2-guardrails:quarantine-service";
    /// That the quarantine stops the instance: since when.
    pub const QUARANTINE_STOPPED: &str = "ec2-guardrails:quarantine-stopped";
    /// Network interfaces that AWS refused to change: `eni-1 eni-2`.
    pub const QUARANTINE_REFUSED: &str = "ec2-guardrails:quarantine-refused";
    /// When the one repeated isolation was, after somebody had changed the groups by hand.
    pub const QUARANTINE_DRIFT: &str = "ec2-guardrails:quarantine-drift";
    /// On an Auto Scaling group whose relaunch loop was broken: since when.
    pub const LOOP_BROKEN: &str = "ec2-guardrails:loop-broken";
    /// The processes that were suspended for it; not those that were suspended before.
    pub const LOOP_SUSPENDED: &str = "ec2-guardrails:loop-suspended";
}

/// Set by people on an Auto Scaling group, as all that follow; each can only ask for less than the
/// policy: `rollback`, `cancel` or `notify`.
pub const ON_FAILURE: &str = "ec2-guardrails:on-failure";
/// Set by people on an Auto Scaling group: in how many rounds launches may fail.
pub const LAUNCH_FAILURES: &str = "ec2-guardrails:launch-failures";
/// Set by people on an Auto Scaling group: the same for failures that don't pass by themselves.
pub const PERMANENT_LAUNCH_FAILURES: &str = "ec2-guardrails:permanent-launch-failures";
/// Set by people on an Auto Scaling group: the same for new instances that die.
pub const UNHEALTHY_TERMINATIONS: &str = "ec2-guardrails:unhealthy-terminations";
/// Set by people on an Auto Scaling group: how long a refresh may stand still.
pub const STALLED_FOR: &str = "ec2-guardrails:stalled-for";
/// Once the name of an alarm that fails a refresh; the policy names them now, and the tag is told.
pub const ALARM: &str = "ec2-guardrails:alarm";
/// Set by people on an Auto Scaling group: the ECR repository that its instances pull from.
pub const IMAGE_REPOSITORY: &str = "ec2-guardrails:image-repository";
/// Set by people on an Auto Scaling group: the image tag that its instances pull.
pub const IMAGE_TAG: &str = "ec2-guardrails:image-tag";
/// Set by people on an Auto Scaling group: the tag of the known good image.
pub const STABLE_TAG: &str = "ec2-guardrails:stable-tag";

/// Longest tag value, in characters.
pub const VALUE_MAX: usize = 256;
/// Most tags on one resource, not counting those that AWS itself sets (`aws:`).
pub const TAGS_MAX: usize = 50;

/// `value`, cut to what a tag holds.
#[must_use]
pub fn clip(value: &str) -> String {
    clip_to(value, VALUE_MAX)
}

/// `text`, cut to `most` characters, the last an ellipsis where something was cut.
#[must_use]
pub fn clip_to(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(most.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clips_by_characters_not_bytes() {
        assert_eq!(clip_to("schön", 5), "schön");
        assert_eq!(clip_to("schönes", 5), "schö…");
        assert_eq!(clip(&"x".repeat(300)).chars().count(), VALUE_MAX);
    }
}
