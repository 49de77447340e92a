//! What snapshot-volumes sweeps: two and three volumes by turns on each instance, with ten snapshots
//! each, and some made by hand.

use std::ops::Range;

use jiff::{Timestamp, ToSpan as _};

use crate::estate::{
    DEVICES, Estate, Instance, add_snapshot, add_volume, id, images, minutes_ago, rfc3339,
};
use crate::list::List;

/// Snapshots of ours that each volume has already.
const HISTORY: usize = 10;
/// One in so many volumes has a snapshot made by hand, which nobody may touch.
const BY_HAND_EVERY: usize = 10;
const PURPOSES: [&str; 3] = ["root", "data", "logs"];

/// An estate of so many volumes.
pub(crate) fn estate(run: &str, size: usize) -> Estate {
    // An hour ago: the slot stays the same while the benchmark runs, and a missing snapshot isn't
    // late yet.
    let minute = Timestamp::now().as_second() / 60 * 60;
    let slot = Timestamp::from_second(minute).unwrap_or_default() - 1.hour();
    let mut instances = List::new("DescribeInstances", "reservationSet", 1_000);
    let mut volumes = List::new("DescribeVolumes", "volumeSet", 1_000);
    let mut snapshots = List::new("DescribeSnapshots", "snapshotSet", 1_000);
    let mut changes = Vec::new();
    let machines = machines(size);
    for (number, own) in machines.iter().enumerate() {
        let instance = id("i", number);
        for (place, volume) in own.clone().enumerate() {
            let (id, tags) = (id("vol", volume), tags(number, place));
            add_volume(
                &mut volumes,
                &id,
                (&instance, DEVICES[place]),
                &borrowed(&tags),
            );
        }
        Instance {
            number,
            image: number % 20,
            profile: Some("arn:aws:iam::123456789012:instance-profile/application"),
            volumes: own.clone().map(|volume| id("vol", volume)).collect(),
            ..Instance::default()
        }
        .add_to(&mut instances);
        if run == "slot" {
            changes.push(format!("CreateSnapshots {instance}"));
        }
    }
    // From old to new, as AWS lists nothing by, but a real history grows. Before a new slot the
    // present one is the volumes' lack.
    let newest = usize::from(run == "slot");
    for days in (newest..newest + HISTORY).rev() {
        let slot = slot - i64::try_from(24 * days).unwrap_or_default().hours();
        for (number, own) in machines.iter().enumerate() {
            add_set(&mut snapshots, number, own, slot);
        }
        if run == "prune" && days + 1 == HISTORY {
            let oldest = (0..snapshots.len()).map(|at| id("snap", at));
            changes.extend(oldest.map(|id| format!("DeleteSnapshot {id}")));
        }
    }
    for volume in (0..size).step_by(BY_HAND_EVERY) {
        let state = ("completed", rfc3339(minutes_ago(40 * 24 * 60)));
        let tags = [("Name", "before the upgrade")];
        add_snapshot(&mut snapshots, &id("vol", volume), state, "by hand", &tags);
    }
    // So that only the run `prune` has something to delete, one of each volume's ten.
    let daily = HISTORY - usize::from(run == "prune");
    let time = slot.strftime("%-M %-H");
    Estate {
        policy: format!(
            "snapshot-volumes:\n  plans:\n    - name: daily\n      select: {{ tag: Backup, values: [\"true\"] }}\n      schedule: \"{time} * * *\"\n      timezone: UTC\n      keep: {{ last: 2, daily: {daily} }}\n"
        ),
        lists: vec![images(), instances, snapshots, volumes],
        size,
        changes,
        findings: Vec::new(),
    }
}

/// The volumes of each instance, two and three by turns.
fn machines(size: usize) -> Vec<Range<usize>> {
    let first = |at: usize| at / 2 * 5 + at % 2 * 2;
    let own = |at| first(at)..first(at + 1).min(size);
    (0..=size)
        .map(own)
        .take_while(|own| own.start < size)
        .collect()
}

/// What a person gave a volume, or Terraform.
fn tags(instance: usize, place: usize) -> [(&'static str, String); 5] {
    [
        ("Name", format!("app-{instance:05}-{}", PURPOSES[place])),
        ("Backup", "true".to_owned()),
        ("Environment", "production".to_owned()),
        ("Team", format!("team-{:02}", instance % 12)),
        ("CostCenter", (4_000 + instance % 37).to_string()),
    ]
}

fn borrowed<K: AsRef<str>>(tags: &[(K, String)]) -> Vec<(&str, &str)> {
    tags.iter()
        .map(|(key, value)| (key.as_ref(), &**value))
        .collect()
}

/// A slot's snapshots of an instance, as the guardrail makes them.
fn add_set(list: &mut List, number: usize, volumes: &Range<usize>, slot: Timestamp) {
    let instance = id("i", number);
    let slot_tag = slot.strftime("%Y-%m-%dT%H:%M:%S+00:00").to_string();
    let devices = volumes.clone().zip(DEVICES);
    let listed = devices.map(|(volume, device)| format!("{}={device}", id("vol", volume)));
    let ours = [
        ("guardrail", "snapshot-volumes".to_owned()),
        ("plan", "daily".to_owned()),
        ("slot", slot_tag.clone()),
        ("attempt", "1".to_owned()),
        ("volumes", listed.collect::<Vec<_>>().join(" ")),
        ("instance", instance.clone()),
        ("image", id("ami", number % 20)),
        ("image-name", format!("golden-web-2026-{:02}", number % 20)),
        ("set", format!("{instance}-59dbff89")),
    ];
    let ours = ours.map(|(key, value)| (format!("ec2-guardrails:{key}"), value));
    let description = format!(
        "ec2-guardrails snapshot-volumes: plan daily, slot {slot_tag}, attempt 1: {} volumes of app-{number:05} ({instance})",
        volumes.len()
    );
    for (place, volume) in volumes.clone().enumerate() {
        let copied = tags(number, place);
        let tags = [borrowed(&copied), borrowed(&ours)].concat();
        let state = ("completed", rfc3339(slot + 5.minutes()));
        add_snapshot(list, &id("vol", volume), state, &description, &tags);
    }
}
