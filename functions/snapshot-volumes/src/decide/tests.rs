use super::*;
use crate::action::{Create, Delete};
use crate::evaluate::{evaluate, maybe_gone};
use crate::facts::{Attachment, Facts, Instance, Refusal, Snapshot, State, Volume};
use crate::ownership::{self, Described, Owned};
use crate::policy::Policy;
use crate::policy::tests::parse;
use guardrails::guardrail::Step;
use guardrails::{policy, tags};
use jiff::Timestamp;
use std::collections::HashMap;
use std::sync::Arc;

// ---- a small language for facts ------------------------------------------------------------------

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(crate) fn volume(id: &str) -> Volume {
    Volume {
        id: id.to_owned(),
        created: at("2026-01-01T00:00:00Z"),
        state: "available".to_owned(),
        gib: 8,
        zone: Some("eu-central-1a".to_owned()),
        outside: None,
        tags: vec![("Backup".to_owned(), "true".to_owned())],
        attachments: Vec::new(),
    }
}

pub(crate) fn attached(id: &str, instance: &str, device: &str) -> Volume {
    Volume {
        attachments: vec![Attachment {
            instance: instance.to_owned(),
            device: device.to_owned(),
            settled: true,
        }],
        ..volume(id)
    }
}

pub(crate) fn snapshot(id: &str, volume: &str, slot: &str, state: State) -> Snapshot {
    Snapshot {
        id: id.to_owned(),
        volume: volume.to_owned(),
        plan: Arc::from("daily"),
        slot: at(slot),
        attempt: 1,
        state,
        started: at(slot) + SignedDuration::from_mins(5),
        archived: false,
        held: false,
        copy: None,
    }
}

pub(crate) fn facts(volumes: Vec<Volume>, snapshots: Vec<Snapshot>) -> Facts {
    let mut instances = HashMap::new();
    for attachment in volumes.iter().flat_map(|v| &v.attachments) {
        let id = attachment.instance.clone();
        instances.insert(
            id.clone(),
            Instance {
                id,
                name: Some("web-1".to_owned()),
                tags: Vec::new(),
                root_device: Some("/dev/xvda".to_owned()),
                image: Some("ami-1".to_owned()),
                image_name: Some("al2023-ami-2023.9.20251110.1-kernel-6.1-x86_64".to_owned()),
            },
        );
    }
    Facts {
        complete: true,
        volumes: volumes.into_iter().map(|v| (v.id.clone(), v)).collect(),
        snapshots,
        instances,
        ..Facts::default()
    }
}

/// Daily at 03:00 UTC, all volumes.
pub(crate) fn daily(keep: &str) -> Policy {
    parse(&format!(
        "{{name: daily, select: {{tag: Backup}}, exclude: {{tag: NoBackup}}, schedule: \"0 3 * * *\", keep: {keep}}}"
    ))
    .unwrap()
}

/// Plans for all volumes, by name and schedule.
pub(crate) fn plans(of: [(&str, &str); 2]) -> Policy {
    let plans = of.map(|(name, schedule)| {
        format!(
            "{{name: {name}, select: {{all: true}}, schedule: \"{schedule}\", keep: {{last: 1}}}}"
        )
    });
    parse(&plans.join("\n    - ")).unwrap()
}

fn decide(facts: &Facts, policy: &Policy, now: Timestamp) -> Vec<Decision<Action>> {
    super::decide(&evaluate(facts, policy, now))
}

fn created(decisions: &[Decision<Action>]) -> Vec<&Create> {
    decisions
        .iter()
        .filter_map(|d| match &d.step {
            Step::Act(Action::Create(create)) => Some(create),
            _ => None,
        })
        .collect()
}

fn deleted(decisions: &[Decision<Action>]) -> Vec<&str> {
    decisions
        .iter()
        .filter_map(|d| match &d.step {
            Step::Act(Action::Delete(delete)) => Some(delete.snapshot.as_str()),
            _ => None,
        })
        .collect()
}

fn created_volumes(decisions: &[Decision<Action>]) -> Vec<&str> {
    created(decisions)
        .iter()
        .flat_map(|c| c.members.iter().map(|m| m.volume.as_str()))
        .collect()
}

const NOW: &str = "2026-11-21T10:00:00Z";
const TODAY: &str = "2026-11-21T03:00:00Z";
const YESTERDAY: &str = "2026-11-20T03:00:00Z";

fn decided(volumes: Vec<Volume>, snapshots: Vec<Snapshot>) -> Vec<Decision<Action>> {
    decide(&facts(volumes, snapshots), &daily("{last: 3}"), at(NOW))
}

fn error() -> State {
    State::Error("Given key ID is not accessible".to_owned())
}

// ---- what a slot lacks ----------------------------------------------------------------------------

#[test]
fn a_slot_gets_what_it_lacks_and_nothing_twice() {
    for (name, state, expected) in [
        ("none", None, 1),
        ("completed", Some(State::Completed), 0),
        ("pending", Some(State::Pending), 0),
        ("failed", Some(error()), 1),
    ] {
        let snapshots = state
            .map(|state| snapshot("snap-1", "vol-1", TODAY, state))
            .into_iter()
            .collect();
        let decisions = decided(vec![volume("vol-1")], snapshots);
        assert_eq!(created(&decisions).len(), expected, "{name}");
    }
    let old = snapshot("snap-1", "vol-1", YESTERDAY, State::Completed);
    assert_eq!(created(&decided(vec![volume("vol-1")], vec![old])).len(), 1);
    let later = snapshot("snap-1", "vol-1", "2026-11-22T03:00:00Z", State::Completed);
    assert!(created(&decided(vec![volume("vol-1")], vec![later])).is_empty());
}

#[test]
fn another_plans_or_anothers_snapshot_does_not_fill_the_slot() {
    let mut other = snapshot("snap-1", "vol-1", TODAY, State::Completed);
    other.plan = Arc::from("weekly");
    let foreign = snapshot("snap-1", "vol-2", TODAY, State::Completed);
    for one in [other, foreign] {
        let decisions = decided(vec![volume("vol-1")], vec![one]);
        assert_eq!(created(&decisions).len(), 1);
    }
}

#[test]
fn only_selected_and_usable_volumes_are_snapshotted() {
    let mut untagged = volume("vol-untagged");
    untagged.tags.clear();
    let mut excluded = volume("vol-excluded");
    excluded.tags.push(("NoBackup".to_owned(), String::new()));
    let mut creating = volume("vol-creating");
    creating.state = "creating".to_owned();
    let decisions = decided(vec![untagged, excluded, creating, volume("vol-1")], vec![]);
    assert_eq!(created_volumes(&decisions), ["vol-1"]);
}

#[test]
fn boot_volumes_can_be_left_out() {
    let policy = parse(
        "{name: daily, select: {all: true}, exclude: {boot: true}, schedule: \"0 3 * * *\", keep: {last: 1}}",
    )
    .unwrap();
    let mut world = facts(
        vec![
            attached("vol-root", "i-1", "/dev/xvda"),
            attached("vol-data", "i-1", "/dev/sdf"),
            attached("vol-unknown", "i-2", "/dev/sdf"),
            volume("vol-loose"),
        ],
        vec![],
    );
    world.instances.remove("i-2");
    let decisions = decide(&world, &policy, at(NOW));
    let mut volumes = created_volumes(&decisions);
    volumes.sort_unstable();
    assert_eq!(volumes, ["vol-data", "vol-loose"]);
}

#[test]
fn failed_tries_are_repeated_in_growing_intervals() {
    for (attempt, minutes_ago, due) in [
        (1, 1, true),
        (2, 14, false),
        (2, 15, true),
        (3, 29, false),
        (4, 61, true),
        (9, 239, false),
        (9, 240, true),
    ] {
        let mut failed = snapshot("snap-1", "vol-1", TODAY, error());
        failed.attempt = attempt;
        failed.started = at(NOW) - SignedDuration::from_mins(minutes_ago);
        let decisions = decided(vec![volume("vol-1")], vec![failed]);
        let creates = created(&decisions);
        assert_eq!(!creates.is_empty(), due, "{attempt} {minutes_ago}");
        if let [create] = creates.as_slice() {
            assert_eq!(create.attempt, attempt + 1);
            assert!(
                create
                    .tags
                    .contains(&(tags::ATTEMPT.to_owned(), (attempt + 1).to_string()))
            );
        } else {
            assert!(decisions[0].reason.contains("not before"), "{decisions:?}");
        }
    }
}

#[test]
fn two_plans_in_one_run_leave_aws_its_fifteen_seconds() {
    let policy = plans([("daily", "0 3 * * *"), ("weekly", "0 3 * * 6")]);
    let mut world = facts(vec![volume("vol-1")], vec![]);
    let first = decide(&world, &policy, at(NOW));
    assert_eq!(created(&first).len(), 1);
    assert_eq!(created(&first)[0].plan, "daily");
    assert!(
        first
            .iter()
            .any(|d| d.step == Step::Leave && d.reason.contains("15 seconds"))
    );

    let mut made = snapshot("snap-1", "vol-1", TODAY, State::Pending);
    made.started = at(NOW);
    world.snapshots.push(made);
    let soon = decide(&world, &policy, at(NOW) + SignedDuration::from_secs(14));
    assert!(created(&soon).is_empty());
    let later = decide(&world, &policy, at(NOW) + SignedDuration::from_secs(15));
    assert_eq!(created(&later)[0].plan, "weekly");
}

/// Though it comes first in the policy.
#[test]
fn a_plan_that_is_due_at_each_sweep_keeps_no_other_from_its_volumes() {
    let policy = plans([("often", "*/15 * * * *"), ("daily", "0 3 * * *")]);
    let mut made = snapshot("snap-1", "vol-1", "2026-11-21T09:45:00Z", State::Completed);
    made.plan = Arc::from("often");
    let decisions = decide(&facts(vec![volume("vol-1")], vec![made]), &policy, at(NOW));
    let made = created(&decisions);
    assert!(matches!(made[..], [one] if one.plan == "daily"), "{made:?}");
}

// ---- sets -------------------------------------------------------------------------------------------

#[test]
fn volumes_of_an_instance_are_one_set_without_those_not_meant() {
    let mut other = attached("vol-other", "i-1", "/dev/sdh");
    other.tags.clear();
    let decisions = decided(
        vec![
            attached("vol-root", "i-1", "/dev/xvda"),
            attached("vol-data", "i-1", "/dev/sdf"),
            other,
        ],
        vec![],
    );
    let creates = created(&decisions);
    assert_eq!(creates.len(), 1);
    insta::assert_debug_snapshot!(creates[0]);
}

#[test]
fn a_root_volume_that_is_not_meant_is_left_out_by_the_flag() {
    let mut root = attached("vol-root", "i-1", "/dev/xvda");
    root.tags.clear();
    let decisions = decided(
        vec![
            root,
            attached("vol-a", "i-1", "/dev/sdf"),
            attached("vol-b", "i-1", "/dev/sdg"),
        ],
        vec![],
    );
    let creates = created(&decisions);
    let Target::Set {
        exclude_boot,
        exclude,
        ..
    } = &creates[0].target
    else {
        panic!("a set");
    };
    assert!(*exclude_boot && exclude.is_empty());
}

#[test]
fn a_set_that_is_half_there_gets_the_other_half() {
    let made = snapshot("snap-1", "vol-a", TODAY, State::Completed);
    let decisions = decided(
        vec![
            attached("vol-a", "i-1", "/dev/sdf"),
            attached("vol-b", "i-1", "/dev/sdg"),
            attached("vol-c", "i-1", "/dev/sdh"),
        ],
        vec![made],
    );
    let creates = created(&decisions);
    assert_eq!(creates.len(), 1);
    let Target::Set { exclude, .. } = &creates[0].target else {
        panic!("a set");
    };
    assert_eq!(exclude, &["vol-a"]);
}

fn singly(volumes: Vec<Volume>, snapshots: Vec<Snapshot>, expected: &[&str]) {
    let world = facts(volumes, snapshots);
    let decisions = decide(&world, &daily("{last: 3}"), at(NOW));
    let creates = created(&decisions);
    assert!(
        creates.iter().all(|c| c.target == Target::Volume),
        "{creates:?}"
    );
    assert_eq!(created_volumes(&decisions), expected);
}

#[test]
fn what_fits_no_set_goes_one_by_one() {
    // Unattached, one alone on its instance, on its way in.
    let mut attaching = attached("vol-c", "i-1", "/dev/sdf");
    attaching.attachments[0].settled = false;
    singly(
        vec![
            volume("vol-a"),
            attached("vol-b", "i-1", "/dev/xvda"),
            attaching,
        ],
        vec![],
        &["vol-a", "vol-c", "vol-b"],
    );
    // More than 40 exclusions (EBS-2).
    let mut many: Vec<Volume> = (0..43)
        .map(|n| attached(&format!("vol-{n:02}"), "i-1", &format!("/dev/sd{n}")))
        .collect();
    for volume in &mut many[2..] {
        volume.tags.clear();
    }
    singly(many.clone(), vec![], &["vol-00", "vol-01"]);
    many.pop();
    let decisions = decided(many, vec![]);
    assert_eq!(created(&decisions).len(), 1, "40 exclusions fit");
}

#[test]
fn a_multi_attach_volume_is_snapshotted_once_and_left_out_of_both_sets() {
    let mut shared = attached("vol-shared", "i-1", "/dev/sdx");
    shared.attachments.push(Attachment {
        instance: "i-2".to_owned(),
        device: "/dev/sdx".to_owned(),
        settled: true,
    });
    let decisions = decided(
        vec![
            attached("vol-1a", "i-1", "/dev/xvda"),
            attached("vol-1b", "i-1", "/dev/sdb"),
            attached("vol-2a", "i-2", "/dev/xvda"),
            attached("vol-2b", "i-2", "/dev/sdb"),
            shared,
        ],
        vec![],
    );
    let mut volumes = created_volumes(&decisions);
    volumes.sort_unstable();
    assert_eq!(
        volumes,
        ["vol-1a", "vol-1b", "vol-2a", "vol-2b", "vol-shared"]
    );
    for create in created(&decisions) {
        match &create.target {
            Target::Volume => assert_eq!(create.members[0].volume, "vol-shared"),
            Target::Set { exclude, .. } => assert_eq!(exclude, &["vol-shared"]),
        }
    }
}

#[test]
fn a_set_that_failed_twice_is_given_up_so_that_its_good_volumes_get_through() {
    let failed = |attempt| {
        let of = |id: &str| Snapshot {
            attempt,
            ..snapshot(&format!("snap of {id}"), id, TODAY, error())
        };
        vec![of("vol-a"), of("vol-b")]
    };
    let volumes = || {
        vec![
            attached("vol-a", "i-1", "/dev/sdf"),
            attached("vol-b", "i-1", "/dev/sdg"),
        ]
    };
    let again = decided(volumes(), failed(1));
    assert_eq!(created(&again).len(), 1);
    singly(volumes(), failed(2), &["vol-a", "vol-b"]);
}

// ---- what a snapshot says --------------------------------------------------------------------------

#[test]
fn a_single_snapshot_carries_the_volumes_own_tags_up_to_fifty() {
    let mut volume = volume("vol-1");
    volume.tags = vec![
        ("Backup".to_owned(), "true".to_owned()),
        ("aws:cloudformation:stack-name".to_owned(), "s".to_owned()),
        ("ec2-guardrails:plan".to_owned(), "x".to_owned()),
    ];
    volume
        .tags
        .extend((0..60).map(|n| (format!("key-{n}"), "v".to_owned())));
    let decisions = decided(vec![volume], vec![]);
    let tags = &created(&decisions)[0].tags;
    assert_eq!(tags.len(), tags::TAGS_MAX);
    assert!(tags.contains(&("Backup".to_owned(), "true".to_owned())));
    assert!(
        tags.iter()
            .all(|(key, value)| !key.starts_with("aws:") && value != "x")
    );
    let keys: HashSet<&String> = tags.iter().map(|(key, _)| key).collect();
    assert_eq!(keys.len(), tags.len(), "no key twice");
}

#[test]
fn a_volume_with_too_many_tags_or_with_ours_is_not_in_a_set() {
    let mut many = attached("vol-many", "i-1", "/dev/sdf");
    many.tags
        .extend((0..45).map(|n| (format!("key-{n}"), "v".to_owned())));
    let mut restored = attached("vol-restored", "i-1", "/dev/sdg");
    restored
        .tags
        .push((tags::PLAN.to_owned(), "daily".to_owned()));
    let decisions = decided(
        vec![
            many,
            restored,
            attached("vol-c", "i-1", "/dev/sdh"),
            attached("vol-d", "i-1", "/dev/sdi"),
        ],
        vec![],
    );
    for create in created(&decisions) {
        let of: Vec<&str> = create.members.iter().map(|m| m.volume.as_str()).collect();
        match create.target {
            Target::Set { .. } => assert_eq!(of, ["vol-c", "vol-d"]),
            Target::Volume => {
                assert!(["vol-many", "vol-restored"].contains(&of[0]));
                assert_eq!(
                    create
                        .tags
                        .iter()
                        .filter(|(key, _)| key == tags::PLAN)
                        .count(),
                    1
                );
            }
        }
    }
}

#[test]
fn a_large_set_lists_all_its_volumes_and_its_snapshots_know_themselves() {
    let volumes: Vec<Volume> = (0..30)
        .map(|n| {
            attached(
                &format!("vol-0123456789abcde{n:02}"),
                "i-1",
                &format!("/dev/nvme{n}n1"),
            )
        })
        .collect();
    let decisions = decided(volumes.clone(), vec![]);
    let create = created(&decisions)[0];
    assert!(
        create
            .tags
            .iter()
            .all(|(_, value)| value.chars().count() <= tags::VALUE_MAX)
    );
    let tags: Vec<(&str, &str)> = create
        .tags
        .iter()
        .map(|(k, v)| (k.as_str(), v.as_str()))
        .collect();
    for volume in volumes {
        let described = Described {
            id: "snap-1",
            volume: &volume.id,
            description: &create.description,
            started: at(NOW),
            tags: &tags,
        };
        match ownership::read(&described, State::Pending) {
            Some(Owned::Ours(snapshot)) => assert_eq!(snapshot.slot, at(TODAY)),
            other => panic!("{}: {other:?}", volume.id),
        }
    }
}

#[test]
fn a_description_is_short_ascii() {
    let mut world = facts(vec![attached("vol-1", "i-1", "/dev/xvda")], vec![]);
    world.instances.get_mut("i-1").unwrap().name = Some("Größe ".repeat(60));
    let decisions = decide(&world, &daily("{last: 1}"), at(NOW));
    let description = &created(&decisions)[0].description;
    assert!(description.is_ascii() && description.len() <= 255);
    assert!(
        description.starts_with(
            "ec2-guardrails snapshot-volumes: plan daily, slot 2026-11-21T03:00:00+00:00, attempt 1: /dev/xvda of Gr??e"
        ),
        "{description}"
    );
}

#[test]
fn a_plan_that_selects_nothing_says_so() {
    let mut volume = volume("vol-1");
    volume.tags.clear();
    let decisions = decided(vec![volume], vec![]);
    assert_eq!(decisions.len(), 1);
    assert!(
        decisions[0].reason.contains("selects no volume"),
        "{decisions:?}"
    );
}

/// One bad volume fails all of a set (EBS-2), at each slot anew as long as it is in there.
#[test]
fn a_volume_that_failed_at_an_earlier_slot_goes_alone_until_it_has_completed() {
    let instance = || {
        vec![
            attached("vol-bad", "i-1", "/dev/xvda"),
            attached("vol-a", "i-1", "/dev/sdf"),
            attached("vol-b", "i-1", "/dev/sdg"),
        ]
    };
    let yesterdays = |id: &str, volume: &str, state| snapshot(id, volume, YESTERDAY, state);
    let mut snapshots = vec![
        yesterdays("snap-a", "vol-a", State::Completed),
        yesterdays("snap-b", "vol-b", State::Completed),
        yesterdays("snap-bad", "vol-bad", error()),
    ];
    snapshots[2].attempt = 3;
    let decisions = decided(instance(), snapshots.clone());
    let made: Vec<_> = created(&decisions)
        .into_iter()
        .map(|create| {
            let volumes: Vec<_> = create.members.iter().map(|m| m.volume.as_str()).collect();
            (volumes, &create.target)
        })
        .collect();
    let [
        (
            set,
            Target::Set {
                exclude_boot,
                exclude,
                ..
            },
        ),
        (alone, Target::Volume),
    ] = made.as_slice()
    else {
        panic!("{made:?}");
    };
    assert_eq!(
        (set.as_slice(), alone.as_slice()),
        (&["vol-a", "vol-b"][..], &["vol-bad"][..])
    );
    assert!(*exclude_boot && exclude.is_empty());

    snapshots[2].state = State::Completed;
    let decisions = decided(instance(), snapshots);
    assert_eq!(created(&decisions).len(), 1);
    assert_eq!(created_volumes(&decisions).len(), 3);
}

#[test]
fn what_lies_outside_the_region_or_is_in_ruins_gets_no_snapshot_and_is_named() {
    for (state, outside, told) in [
        ("error", None, "plan daily: the volume is in state `error`"),
        ("deleting", None, "in state `deleting`"),
        (
            "in-use",
            Some("on the Outpost arn:aws:outposts:op-1"),
            "lies on the Outpost arn:aws:outposts:op-1, and its snapshot would leave",
        ),
        (
            "available",
            Some("in the Local Zone us-west-2-lax-1a"),
            "us-west-2-lax-1a",
        ),
    ] {
        let mut odd = volume("vol-odd");
        odd.state = state.to_owned();
        odd.outside = outside.map(str::to_owned);
        let decisions = decided(vec![odd, volume("vol-1")], vec![]);
        assert_eq!(created_volumes(&decisions), ["vol-1"]);
        let told = decisions
            .iter()
            .any(|d| d.resource == Resource::volume("vol-odd") && d.reason.contains(told));
        assert!(told, "{decisions:?}");
    }
}

#[test]
fn volumes_are_selected_by_their_instances_tag_also_when_attached_later() {
    let policy = |exclude: &str| {
        parse(&format!(
            "{{name: daily, select: {{tag: Backup, values: [yes], of: instance}}, {exclude} schedule: \"0 3 * * *\", keep: {{last: 1}}}}"
        ))
        .unwrap()
    };
    let mut shared = attached("vol-shared", "i-1", "/dev/sdx");
    shared
        .attachments
        .extend(attached("", "i-2", "/dev/sdx").attachments);
    let mut own = volume("vol-own");
    own.tags = vec![("Backup".to_owned(), "yes".to_owned())];
    let mut world = facts(
        vec![
            attached("vol-1", "i-1", "/dev/xvda"),
            attached("vol-2", "i-2", "/dev/xvda"),
            attached("vol-lost", "i-lost", "/dev/xvda"),
            shared,
            own,
        ],
        vec![],
    );
    world.instances.remove("i-lost");
    world.instances.get_mut("i-1").unwrap().tags = vec![("Backup".to_owned(), "yes".to_owned())];
    let volumes = |world: &Facts, exclude: &str| {
        let decisions = decide(world, &policy(exclude), at(NOW));
        let mut volumes: Vec<_> = created_volumes(&decisions)
            .into_iter()
            .map(str::to_owned)
            .collect();
        volumes.sort_unstable();
        volumes
    };
    assert_eq!(volumes(&world, ""), ["vol-1", "vol-shared"]);
    let later = attached("vol-later", "i-1", "/dev/sdg");
    world.volumes.insert(later.id.clone(), later);
    assert_eq!(volumes(&world, ""), ["vol-1", "vol-later", "vol-shared"]);
    world.instances.get_mut("i-2").unwrap().tags = vec![("NoBackup".to_owned(), String::new())];
    let exclude = "exclude: {tag: NoBackup, of: instance},";
    assert_eq!(volumes(&world, exclude), ["vol-1", "vol-later"]);
}

// ---- looking again ------------------------------------------------------------------------------------

#[test]
fn a_creation_is_overtaken_by_what_another_run_made() {
    let decisions = decided(vec![volume("vol-1")], vec![]);
    let create = created(&decisions)[0];
    let overtaken = |snapshot: Snapshot| create.overtaken_by(&[snapshot]).is_some();
    assert!(overtaken(snapshot("s", "vol-1", TODAY, State::Pending)));
    assert!(overtaken(snapshot("s", "vol-1", TODAY, State::Completed)));
    assert!(
        overtaken(snapshot("s", "vol-1", TODAY, error())),
        "tried and failed"
    );
    assert!(!overtaken(snapshot(
        "s",
        "vol-1",
        YESTERDAY,
        State::Completed
    )));
    assert!(!overtaken(snapshot("s", "vol-2", TODAY, State::Completed)));
    let mut weekly = snapshot("s", "vol-1", TODAY, State::Completed);
    weekly.plan = Arc::from("weekly");
    assert!(!overtaken(weekly));
}

// ---- what goes ------------------------------------------------------------------------------------------

fn history(volume: &str, days: i64) -> Vec<Snapshot> {
    (0..days)
        .map(|day| {
            let slot = at(TODAY) - SignedDuration::from_hours(24 * (days - 1 - day));
            snapshot(
                &format!("snap-{volume}-{day}"),
                volume,
                &slot.to_string(),
                State::Completed,
            )
        })
        .collect()
}

#[test]
fn retention_counts_per_volume() {
    let mut snapshots = history("vol-1", 5);
    snapshots.extend(history("vol-2", 4));
    let decisions = decided(vec![volume("vol-1"), volume("vol-2")], snapshots);
    let mut gone = deleted(&decisions);
    gone.sort_unstable();
    assert_eq!(gone, ["snap-vol-1-0", "snap-vol-1-1", "snap-vol-2-0"]);
}

#[test]
fn a_deletion_names_the_snapshot_that_goes_on_protecting() {
    let decisions = decided(vec![volume("vol-1")], history("vol-1", 5));
    for decision in decisions {
        let Step::Act(Action::Delete(delete)) = decision.step else {
            continue;
        };
        assert_eq!(delete.keeper.as_deref(), Some("snap-vol-1-4"));
    }
}

#[test]
fn pending_and_failed_snapshots_do_not_count_for_retention() {
    let mut snapshots = history("vol-1", 4);
    snapshots[3].state = State::Pending;
    assert!(deleted(&decided(vec![volume("vol-1")], snapshots.clone())).is_empty());
    snapshots[3].state = error();
    assert!(deleted(&decided(vec![volume("vol-1")], snapshots)).is_empty());
}

#[test]
fn of_two_in_a_slot_the_later_goes_once_the_earlier_is_completed() {
    let first = snapshot("snap-1", "vol-1", TODAY, State::Completed);
    let mut second = snapshot("snap-2", "vol-1", TODAY, State::Completed);
    second.started = first.started + SignedDuration::from_secs(60);
    let both = vec![second.clone(), first.clone()];
    assert_eq!(deleted(&decided(vec![volume("vol-1")], both)), ["snap-2"]);
    let pending = Snapshot {
        state: State::Pending,
        ..first
    };
    let decisions = decided(vec![volume("vol-1")], vec![pending, second]);
    assert!(deleted(&decisions).is_empty(), "the earlier may still fail");
}

#[test]
fn a_failed_snapshot_goes_when_a_later_one_is_there() {
    let failed = snapshot("snap-failed", "vol-1", TODAY, error());
    let mut retry = snapshot("snap-retry", "vol-1", TODAY, State::Pending);
    retry.attempt = 2;
    retry.started = failed.started + SignedDuration::from_mins(15);
    let decisions = decided(vec![volume("vol-1")], vec![failed.clone(), retry.clone()]);
    assert!(deleted(&decisions).is_empty(), "the retry may fail as well");
    retry.state = State::Completed;
    let decisions = decided(vec![volume("vol-1")], vec![failed, retry]);
    assert_eq!(deleted(&decisions), ["snap-failed"]);
}

#[test]
fn the_last_one_of_a_volume_that_is_gone_stays_until_orphans_after() {
    let snapshots = history("vol-gone", 5);
    let mut world = facts(vec![volume("vol-1")], snapshots);
    let mut policy = daily("{last: 2}");
    let decisions = |world: &Facts, policy: &Policy, now: &str| -> Vec<String> {
        deleted(&decide(world, policy, at(now)))
            .into_iter()
            .map(str::to_owned)
            .collect()
    };
    let pruned = ["snap-vol-gone-0", "snap-vol-gone-1", "snap-vol-gone-2"];
    assert_eq!(decisions(&world, &policy, NOW), pruned, "retention goes on");

    policy.orphans_after = Some(policy::Age::from_hours(24 * 30));
    let later = "2026-12-22T10:00:00Z";
    assert_eq!(maybe_gone(&world, &policy, at(NOW)), Vec::<String>::new());
    assert_eq!(maybe_gone(&world, &policy, at(later)), ["vol-gone"]);
    assert_eq!(
        decisions(&world, &policy, later),
        pruned,
        "not without a second look"
    );
    world.gone.insert("vol-gone".to_owned());
    assert_eq!(
        decisions(&world, &policy, NOW),
        pruned,
        "not before its time"
    );
    assert_eq!(decisions(&world, &policy, later).len(), 5);
}

/// All of a volume's snapshots, with orphans kept for 30 days.
fn orphaned(snapshots: Vec<Snapshot>) -> Vec<String> {
    let mut world = facts(vec![volume("vol-1")], snapshots);
    world.gone.insert("vol-gone".to_owned());
    let policy: Policy = policy::parse(
        "snapshot-volumes: {orphans-after: 30d, plans: [{name: daily, select: {tag: Backup}, schedule: \"0 3 * * *\", keep: {last: 9}}, {name: weekly, select: {tag: Backup}, schedule: \"0 3 * * 0\", keep: {last: 9}}]}",
        crate::NAME,
    )
    .unwrap();
    let decisions = decide(&world, &policy, at("2026-12-31T10:00:00Z"));
    deleted(&decisions).into_iter().map(str::to_owned).collect()
}

#[test]
fn a_pending_snapshot_of_a_volume_that_is_gone_counts_as_the_last() {
    let mut snapshots = history("vol-gone", 3);
    assert_eq!(orphaned(snapshots.clone()).len(), 3);
    snapshots.push(snapshot(
        "snap-last",
        "vol-gone",
        "2026-11-22T03:00:00Z",
        State::Pending,
    ));
    assert_eq!(
        orphaned(snapshots.clone()),
        [""; 0],
        "how it ends isn't known"
    );
    // It ends in an error, and then the others are as old as before; or well, and then it is the last.
    snapshots[3].state = error();
    assert_eq!(orphaned(snapshots.clone()).len(), 4);
    snapshots[3].state = State::Completed;
    snapshots[3].started = at("2026-12-30T03:00:00Z");
    assert_eq!(orphaned(snapshots), [""; 0]);
}

#[test]
fn the_last_snapshot_of_a_volume_that_is_gone_may_be_of_another_plan() {
    let mut snapshots = history("vol-gone", 3);
    let mut weekly = snapshot(
        "snap-w",
        "vol-gone",
        "2026-12-27T03:00:00Z",
        State::Completed,
    );
    weekly.plan = Arc::from("weekly");
    snapshots.push(weekly);
    assert_eq!(orphaned(snapshots), [""; 0]);
}

#[test]
fn held_snapshots_stay_and_are_outside_the_limit() {
    let mut snapshots = history("vol-1", 5);
    snapshots[0].held = true;
    assert_eq!(
        deleted(&decided(vec![volume("vol-1")], snapshots)),
        ["snap-vol-1-1"]
    );

    let mut orphans = history("vol-gone", 3);
    orphans[1].held = true;
    orphans.push(Snapshot {
        held: true,
        ..snapshot("snap-e", "vol-gone", YESTERDAY, error())
    });
    assert_eq!(orphaned(orphans), ["snap-vol-gone-0", "snap-vol-gone-2"]);

    // 37 of 40 would be too much; that 30 of them are held, and 7 of 10 left, isn't.
    let mut many = history("vol-1", 40);
    for snapshot in &mut many[..30] {
        snapshot.held = true;
    }
    assert_eq!(deleted(&decided(vec![volume("vol-1")], many)).len(), 7);
}

#[test]
fn archived_snapshots_neither_protect_nor_count_where_others_are_judged() {
    let archive = |mut snapshots: Vec<Snapshot>, which: &[usize]| {
        for at in which {
            snapshots[*at].archived = true;
        }
        snapshots
    };
    for (which, gone, keeper) in [
        // `last: 3` of five: without the archived ones nothing but they would go.
        (&[4][..], &["snap-vol-1-0"][..], "snap-vol-1-3"),
        (&[3, 4], &[], ""),
        (&[0], &["snap-vol-1-1", "snap-vol-1-0"], "snap-vol-1-4"),
        (&[0, 1, 2, 3, 4], &[], ""),
    ] {
        let snapshots = archive(history("vol-1", 5), which);
        let decisions = decided(vec![volume("vol-1")], snapshots);
        assert_eq!(deleted(&decisions), gone, "{which:?}");
        for decision in &decisions {
            let Step::Act(Action::Delete(delete)) = &decision.step else {
                continue;
            };
            assert_eq!(delete.keeper.as_deref(), Some(keeper), "{which:?}");
            let costs = decision.reason.contains("90 days");
            assert_eq!(
                costs,
                delete.snapshot == "snap-vol-1-0" && which == [0],
                "{decision:?}"
            );
        }
    }
}

/// Made while the first couldn't be seen yet.
#[test]
fn a_second_snapshot_of_a_slot_that_fails_goes_and_is_no_failure() {
    let first = snapshot("snap-1", "vol-1", TODAY, State::Completed);
    let mut second = snapshot("snap-2", "vol-1", TODAY, error());
    second.started = first.started + SignedDuration::from_secs(60);
    for (a, b) in [(&first, &second), (&second, &first)] {
        let decisions = decided(vec![volume("vol-1")], vec![a.clone(), b.clone()]);
        assert_eq!(deleted(&decisions), ["snap-2"]);
    }
    let pending = Snapshot {
        state: State::Pending,
        ..first
    };
    let decisions = decided(vec![volume("vol-1")], vec![pending, second]);
    assert!(deleted(&decisions).is_empty() && created(&decisions).is_empty());
}

fn refusal(unmeant: bool, again: &str) -> Refusal {
    Refusal {
        why: "locked".to_owned(),
        unmeant,
        again: at(again),
    }
}

/// 28 locked ones of 84 once held the limit for ever.
#[test]
fn what_aws_refuses_to_delete_is_left_alone_and_outside_the_limit() {
    let mut world = facts(vec![volume("vol-1")], history("vol-1", 40));
    let policy = daily("{last: 10}");
    assert_eq!(
        deleted(&decide(&world, &policy, at(NOW))),
        [""; 0],
        "30 of 40"
    );
    for day in 0..28 {
        world.refused.insert(
            format!("snap-vol-1-{day}"),
            refusal(false, "2026-11-21T11:00:00Z"),
        );
    }
    let decisions = decide(&world, &policy, at(NOW));
    assert_eq!(deleted(&decisions), ["snap-vol-1-28", "snap-vol-1-29"]);
    let left = decisions.iter().filter(|d| {
        d.step == Step::Leave
            && d.reason
                .contains("AWS keeps it (locked); tried again after 2026-11-21 11:00 UTC")
    });
    assert_eq!(left.count(), 28);
    // Once their time has come they are tried again, and are still no matter of the limit.
    let later = decide(&world, &policy, at("2026-11-21T12:00:00Z"));
    assert_eq!(deleted(&later).len(), 30);
}

#[test]
fn a_plan_that_selects_everything_says_what_piles_up_for_ever() {
    let told = |section: &str| {
        let policy: Policy = policy::parse(
            &format!("snapshot-volumes: {{plans: [{{name: daily, {section}"),
            crate::NAME,
        )
        .unwrap();
        let world = facts(
            vec![volume("vol-1")],
            [
                history("vol-a", 2),
                history("vol-b", 1),
                history("vol-1", 1),
            ]
            .concat(),
        );
        let decisions = decide(&world, &policy, at(NOW));
        decisions.iter().any(|d| {
            d.reason
                .contains("3 snapshots of 2 volumes that are gone are kept for ever")
        })
    };
    let rest = "schedule: \"0 3 * * *\", keep: {last: 9}}]";
    assert!(told(&format!("select: {{all: true}}, {rest}}}")));
    assert!(!told(&format!(
        "select: {{all: true}}, {rest}, orphans-after: 900d}}"
    )));
    assert!(!told(&format!("select: {{tag: Backup}}, {rest}}}")));
}

#[test]
fn a_renamed_plan_adopts_its_snapshots() {
    let policy = parse(
        "{name: nightly, formerly: [daily], select: {tag: Backup}, schedule: \"0 3 * * *\", keep: {last: 3}}",
    )
    .unwrap();
    let mut snapshots = history("vol-1", 5);
    snapshots[4].plan = Arc::from("nightly");
    let decisions = decide(
        &facts(vec![volume("vol-1")], snapshots.clone()),
        &policy,
        at(NOW),
    );
    assert_eq!(deleted(&decisions), ["snap-vol-1-0", "snap-vol-1-1"]);
    // And the slot that an adopted one fills is filled.
    snapshots.pop();
    snapshots.push(snapshot("snap-today", "vol-1", TODAY, State::Completed));
    let decisions = decide(&facts(vec![volume("vol-1")], snapshots), &policy, at(NOW));
    assert_eq!(created(&decisions), [] as [&Create; 0]);
}

#[test]
fn snapshots_of_a_plan_that_is_gone_from_the_policy_are_left_alone() {
    let mut snapshots = history("vol-1", 9);
    for snapshot in &mut snapshots {
        snapshot.plan = Arc::from("former");
    }
    assert!(deleted(&decided(vec![volume("vol-1")], snapshots)).is_empty());
}

#[test]
fn a_look_at_one_volume_deletes_nothing() {
    let mut world = facts(vec![volume("vol-1")], history("vol-1", 9));
    world.complete = false;
    assert!(deleted(&decide(&world, &daily("{last: 1}"), at(NOW))).is_empty());
}

#[test]
fn the_deletion_limit_holds_everything_back_and_says_so() {
    let world = facts(vec![volume("vol-1")], history("vol-1", 40));
    let policy = daily("{last: 3}");
    let decisions = decide(&world, &policy, at(NOW));
    assert!(deleted(&decisions).is_empty());
    let held = decisions
        .iter()
        .find(|d| d.reason.contains("deletion limit"))
        .unwrap();
    assert_eq!(held.resource, Resource::Account);
    assert!(
        held.reason
            .contains("37 of 40 snapshots would be deleted, snap-vol-1-0 the oldest"),
        "{}",
        held.reason
    );
    // Most of it may go where the rest is large.
    let some = facts(vec![volume("vol-1")], history("vol-1", 23));
    assert_eq!(deleted(&decide(&some, &policy, at(NOW))).len(), 20);
}

// ---- who else may write --------------------------------------------------------------------------

/// By its tag or by a wrong clock: it once stopped a volume's backups in silence, and had `within`
/// delete all of the real ones.
#[test]
fn a_slot_in_the_future_fills_nothing_and_prunes_nothing() {
    let mut world = facts(vec![volume("vol-1")], history("vol-1", 30));
    world.snapshots.pop();
    let policy = daily("{within: 60d}");
    for tagged_only in [true, false] {
        let (told, slot) = ("2099-01-01T03:00:00+00:00", at("2099-01-01T03:00:00Z"));
        let zoned = |at: Timestamp| at.to_zoned(jiff::tz::TimeZone::UTC);
        let described = if tagged_only { at(TODAY) } else { slot };
        let tags = [
            (tags::GUARDRAIL, crate::NAME),
            (tags::PLAN, "daily"),
            (tags::SLOT, told),
            (tags::VOLUMES, "vol-1"),
        ];
        let described = Described {
            id: "snap-2099",
            volume: "vol-1",
            description: &ownership::description("daily", &zoned(described), 1, "vol-1"),
            started: at(NOW),
            tags: &tags,
        };
        let Some(Owned::Disowned(snapshot)) = ownership::read(&described, State::Completed) else {
            panic!("{tagged_only}");
        };
        world.disowned = vec![snapshot];
        let decisions = decide(&world, &policy, at(NOW));
        assert_eq!(created_volumes(&decisions), ["vol-1"]);
        assert!(deleted(&decisions).is_empty());
    }
}

#[test]
fn a_volume_that_a_person_asks_for_and_that_is_not_there_is_no_success() {
    let mut world = facts(vec![], vec![]);
    world.complete = false;
    world.not_found.push("vol-9".to_owned());
    let decisions = decide(&world, &daily("{last: 1}"), at(NOW));
    let [only] = decisions.as_slice() else {
        panic!("{decisions:?}");
    };
    assert_eq!(only.resource, Resource::volume("vol-9"));
    let Step::CannotJudge(error) = &only.step else {
        panic!("{only:?}");
    };
    assert!(
        error.to_string().contains("there is no volume vol-9"),
        "{error}"
    );
}

// ---- properties: a model of EBS, swept again and again ------------------------------------------------

mod properties {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// One volume's life in a model world: what AWS does with each creation.
    #[derive(Debug, Clone, Copy)]
    enum Fate {
        Completes,
        Fails,
        StaysPending,
        /// The call is lost: nothing was made and nobody knows.
        Lost,
        /// The run is killed after this one.
        Killed,
    }

    fn any_fate() -> impl Strategy<Value = Fate> {
        prop_oneof![
            6 => Just(Fate::Completes),
            1 => Just(Fate::Fails),
            1 => Just(Fate::StaysPending),
            1 => Just(Fate::Lost),
            1 => Just(Fate::Killed),
        ]
    }

    struct World {
        facts: Facts,
        made: u32,
    }

    impl World {
        fn new(volumes: usize) -> Self {
            let volumes = (0..volumes)
                .map(|n| {
                    let id = format!("vol-{n}");
                    match n % 3 {
                        0 => volume(&id),
                        _ => attached(&id, &format!("i-{}", n / 3), &format!("/dev/sd{n}")),
                    }
                })
                .collect();
            Self {
                facts: facts(volumes, vec![]),
                made: 0,
            }
        }

        /// Carries out one sweep; each creation meets its fate. Returns whether it ran to its end.
        fn sweep(
            &mut self,
            policy: &Policy,
            now: Timestamp,
            fates: &mut impl Iterator<Item = Fate>,
        ) -> Result<bool, TestCaseError> {
            let decisions = decide(&self.facts, policy, now);
            for decision in decisions {
                match decision.step {
                    Step::Leave
                    | Step::CannotJudge(_)
                    | Step::Act(Action::Copy(_) | Action::Drill(_)) => {}
                    Step::Act(Action::Delete(delete)) => self.delete(&delete)?,
                    Step::Act(Action::Create(create)) => {
                        let fate = fates.next().unwrap_or(Fate::Completes);
                        let state = match fate {
                            Fate::Completes | Fate::Killed => State::Completed,
                            Fate::Fails => State::Error("internal".to_owned()),
                            Fate::StaysPending => State::Pending,
                            Fate::Lost => continue,
                        };
                        for member in &create.members {
                            self.made += 1;
                            self.facts.snapshots.push(Snapshot {
                                id: format!("snap-{:05}", self.made),
                                volume: member.volume.clone(),
                                plan: Arc::from(create.plan.as_str()),
                                slot: create.slot,
                                attempt: create.attempt,
                                state: state.clone(),
                                started: now,
                                archived: false,
                                held: false,
                                copy: None,
                            });
                        }
                        if matches!(fate, Fate::Killed) {
                            return Ok(false);
                        }
                    }
                }
            }
            Ok(true)
        }

        fn delete(&mut self, delete: &Delete) -> Result<(), TestCaseError> {
            let index = self
                .facts
                .snapshots
                .iter()
                .position(|s| s.id == delete.snapshot)
                .expect("only what is there is deleted");
            let gone = self.facts.snapshots.remove(index);
            prop_assert!(
                gone.state != State::Pending,
                "pending ones are never deleted"
            );
            if gone.is_completed() {
                let newest = self
                    .facts
                    .snapshots
                    .iter()
                    .filter(|s| s.volume == gone.volume && s.is_completed())
                    .map(|s| s.slot)
                    .max();
                prop_assert!(
                    newest >= Some(gone.slot),
                    "the newest completed one was deleted"
                );
            }
            Ok(())
        }

        fn invariants(&self) -> Result<(), TestCaseError> {
            let mut filled: BTreeMap<(&str, &str, Timestamp), u32> = BTreeMap::new();
            for s in self.facts.snapshots.iter().filter(|s| !s.is_error()) {
                *filled.entry((&s.volume, &s.plan, s.slot)).or_default() += 1;
            }
            for (slot, count) in filled {
                prop_assert!(count <= 1, "{slot:?} has {count}");
            }
            Ok(())
        }
    }

    /// A snapshot as AWS has it, and as somebody who may tag leaves it.
    struct Raw {
        id: String,
        volume: String,
        description: String,
        started: Timestamp,
        tags: BTreeMap<String, String>,
        edited: bool,
    }

    /// A tag and its new value; none: removed.
    type Edit = (&'static str, Option<&'static str>);

    fn any_edit() -> impl Strategy<Value = Edit> {
        let keys = vec![
            tags::GUARDRAIL,
            tags::PLAN,
            tags::SLOT,
            tags::ATTEMPT,
            tags::VOLUMES,
            tags::EVIDENCE,
        ];
        let values = vec![
            "snapshot-volumes",
            "weekly",
            "2099-01-01T03:00:00+00:00",
            "2026-11-21T03:00:00+00:00",
            "99",
            "vol-0 vol-1",
            "i-1",
        ];
        (
            prop::sample::select(keys),
            prop::option::of(prop::sample::select(values)),
        )
    }

    impl Raw {
        fn made(id: String, volume: usize, slot: &str, started: Timestamp) -> Self {
            let zoned = at(slot).to_zoned(jiff::tz::TimeZone::UTC);
            let volume = format!("vol-{volume}");
            let member = crate::action::Member {
                volume: volume.clone(),
                device: None,
            };
            Self {
                description: ownership::description("daily", &zoned, 1, &volume),
                tags: ownership::own_tags("daily", &zoned, 1, &[member])
                    .into_iter()
                    .collect(),
                id,
                volume,
                started,
                edited: false,
            }
        }

        fn of(volume: usize, day: i64) -> Self {
            let slot = at(TODAY) - SignedDuration::from_hours(24 * day);
            let started = slot + SignedDuration::from_mins(5);
            Self::made(
                format!("snap-{volume}-{day}"),
                volume,
                &slot.to_string(),
                started,
            )
        }

        /// Somebody else's, with all of our tags put on it.
        fn foreign(n: usize, volume: usize, day: i64) -> Self {
            Self {
                id: format!("snap-foreign-{n}"),
                description: "nightly copy".to_owned(),
                ..Self::of(volume, day)
            }
        }

        fn in_2099(n: usize, volume: usize) -> Self {
            Self::made(
                format!("snap-2099-{n}"),
                volume,
                "2099-01-01T03:00:00Z",
                at(NOW),
            )
        }

        fn edit(&mut self, (key, value): &Edit) {
            let before = self.tags.clone();
            match value {
                None => drop(self.tags.remove(*key)),
                Some(value) => drop(self.tags.insert((*key).to_owned(), (*value).to_owned())),
            }
            self.edited |= before != self.tags;
        }
    }

    fn read_all(all: &[Raw]) -> Facts {
        let mut facts = facts(vec![volume("vol-0"), volume("vol-1")], vec![]);
        for raw in all {
            let tags: Vec<_> = raw
                .tags
                .iter()
                .map(|(k, v)| (k.as_str(), v.as_str()))
                .collect();
            let described = Described {
                id: &raw.id,
                volume: &raw.volume,
                description: &raw.description,
                started: raw.started,
                tags: &tags,
            };
            match ownership::read(&described, State::Completed) {
                Some(Owned::Ours(snapshot)) => facts.snapshots.push(snapshot),
                Some(Owned::Disowned(snapshot)) => facts.disowned.push(snapshot),
                None => {}
            }
        }
        facts
    }

    fn two_plans() -> Policy {
        policy::parse(
            r#"
snapshot-volumes:
  brake: {percent: 100}
  plans:
    - {name: often, select: {all: true}, schedule: "0 */6 * * *", timezone: Europe/Berlin, keep: {last: 3}}
    - {name: daily, select: {all: true}, schedule: "30 2 * * *", timezone: America/New_York, keep: {daily: 2, weekly: 2}}
"#,
            crate::NAME,
        )
        .unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(150))]

        /// Whatever fails or is killed on the way, sweeps in which nothing fails any more leave
        /// each selected volume with exactly one snapshot of each plan's slot, and never in between
        /// two, and never none where there was one.
        #[test]
        fn every_volume_gets_each_slot_exactly_once(
            volumes in 1usize..9,
            steps in prop::collection::vec((1i64..900, prop::collection::vec(any_fate(), 0..6)), 1..30),
        ) {
            let policy = two_plans();
            let mut world = World::new(volumes);
            // Across the change to winter time in both zones.
            let mut now = at("2026-10-23T00:00:00Z");
            for (minutes, fates) in steps {
                now += SignedDuration::from_mins(minutes);
                world.sweep(&policy, now, &mut fates.into_iter())?;
                world.invariants()?;
            }
            // What was pending completes; then the longest pause after failed tries, and two
            // sweeps, since a second plan of a volume waits for the next sweep.
            for snapshot in &mut world.facts.snapshots {
                if snapshot.state == State::Pending {
                    snapshot.state = State::Completed;
                }
            }
            now += SignedDuration::from_hours(5);
            for _ in 0..3 {
                now += SignedDuration::from_mins(15);
                prop_assert!(world.sweep(&policy, now, &mut std::iter::empty())?);
                world.invariants()?;
            }
            for plan in &policy.plans.0 {
                let slot = plan.slot_at(now - SignedDuration::from_mins(45)).unwrap().timestamp();
                for volume in world.facts.volumes.keys() {
                    let filled = world.facts.snapshots.iter().filter(|s| {
                        s.volume == *volume && *s.plan == *plan.name && s.slot >= slot && s.is_completed()
                    }).count();
                    prop_assert!(filled >= 1, "{} lacks {} of {}", volume, slot, plan.name);
                }
            }
            // And a sweep with nothing left to do does nothing.
            let settled = decide(&world.facts, &policy, now);
            prop_assert!(settled.iter().all(|d| !matches!(d.step, Step::Act(Action::Create(_)))), "{:?}", settled);
        }

        /// Somebody who may tag, but not delete: none of it has a backup left out, the newest lost, or
        /// anything deleted that would have stayed. The same with a clock that was wrong.
        #[test]
        fn whoever_may_tag_can_only_have_more_kept(
            days in prop::collection::btree_set(0i64..60, 0..40),
            edits in prop::collection::vec((any::<prop::sample::Index>(), any_edit()), 0..12),
            foreign in prop::collection::vec((0usize..2, 0i64..60), 0..4),
            wrong_clock in prop::collection::vec(0usize..2, 0..3),
            keep in prop::sample::select(vec!["{last: 3}", "{daily: 5, weekly: 2}", "{within: 14d}", "{yearly: 1}"]),
        ) {
            let mut policy = daily(keep);
            policy.brake.percent = 100;
            let mut all: Vec<Raw> = days.iter().flat_map(|day| [Raw::of(0, *day), Raw::of(1, *day)]).collect();
            let honest = read_all(&all);
            let untouched = all.len();
            if !all.is_empty() {
                for (at, edit) in &edits {
                    at.get_mut(&mut all).edit(edit);
                }
            }
            all.extend(foreign.iter().enumerate().map(|(n, (volume, day))| Raw::foreign(n, *volume, *day)));
            all.extend(wrong_clock.iter().enumerate().map(|(n, volume)| Raw::in_2099(n, *volume)));
            let attacked = read_all(&all);
            prop_assert!(attacked.snapshots.len() <= untouched);
            prop_assert_eq!(attacked.snapshots.len() + attacked.disowned.len(), untouched + wrong_clock.len());

            let deletes = |facts: &Facts| -> HashSet<String> {
                let decisions = decide(facts, &policy, at(NOW));
                deleted(&decisions).into_iter().map(str::to_owned).collect()
            };
            prop_assert!(deletes(&attacked).is_subset(&deletes(&honest)));
            let decisions = decide(&attacked, &policy, at(NOW));
            for volume in ["vol-0", "vol-1"] {
                let made = format!("{}-0", volume.replace("vol", "snap"));
                let filled = all.iter().any(|raw| raw.id == made && !raw.edited);
                let has_one = attacked.snapshots.iter().any(|s| s.volume == volume && s.slot == at(TODAY));
                prop_assert!(has_one || !filled);
                prop_assert_eq!(
                    created_volumes(&decisions).contains(&volume),
                    !has_one,
                    "the slot of {} is filled by what was made for it and by nothing else", volume
                );
            }
        }

        /// AWS promises no order: the decisions don't depend on it.
        #[test]
        fn the_order_of_what_was_read_is_irrelevant(
            seed in prop::collection::vec((0usize..4, 0i64..12, 0u8..3), 0..40),
            shuffled in any::<u64>(),
        ) {
            let snapshots: Vec<Snapshot> = seed.iter().enumerate().map(|(n, (volume, day, state))| {
                let slot = at(TODAY) - SignedDuration::from_hours(24 * day);
                let state = match state { 0 => State::Pending, 1 => error(), _ => State::Completed };
                snapshot(&format!("snap-{n}"), &format!("vol-{volume}"), &slot.to_string(), state)
            }).collect();
            let mut other = snapshots.clone();
            // A deterministic shuffle.
            other.sort_by_key(|s| {
                use std::hash::{DefaultHasher, Hash as _, Hasher as _};
                let mut hasher = DefaultHasher::new();
                (shuffled, &s.id).hash(&mut hasher);
                hasher.finish()
            });
            let volumes = || (0..3).map(|n| volume(&format!("vol-{n}"))).collect::<Vec<_>>();
            let sort = |mut decisions: Vec<Decision<Action>>| {
                decisions.sort_by(|a, b| (&a.resource, &a.reason).cmp(&(&b.resource, &b.reason)));
                decisions
            };
            let policy = daily("{last: 2}");
            let one = sort(decide(&facts(volumes(), snapshots), &policy, at(NOW)));
            let two = sort(decide(&facts(volumes(), other), &policy, at(NOW)));
            prop_assert_eq!(one, two);
        }

        /// Whatever history there is, no volume loses its newest completed snapshot, nor the newest
        /// from which it can be restored now; none is deleted that is held, or under way; and of a
        /// volume that is gone nothing while one is under way.
        #[test]
        fn the_newest_completed_one_is_never_deleted(
            seed in prop::collection::vec((0usize..4, 0i64..40, 0u8..6, 0i64..3_000, any::<bool>()), 0..60),
            keep in prop::sample::select(vec![
                "{last: 1}", "{daily: 2}", "{weekly: 1, yearly: 1}", "{within: 1d}", "{within-weekly: 2w}",
            ]),
            orphans in prop::option::of(prop::sample::select(vec!["1d", "20d"])),
        ) {
            let snapshots: Vec<Snapshot> = seed.iter().enumerate().map(|(n, (volume, day, state, late, held))| {
                let slot = at(TODAY) - SignedDuration::from_hours(24 * day);
                let state = match state { 0 => State::Pending, 1 => error(), _ => State::Completed };
                let mut one = snapshot(&format!("snap-{n}"), &format!("vol-{volume}"), &slot.to_string(), state);
                one.started += SignedDuration::from_secs(*late);
                one.archived = one.is_completed() && n.is_multiple_of(5);
                one.held = *held && n.is_multiple_of(3);
                one
            }).collect();
            let mut world = facts(vec![volume("vol-0"), volume("vol-1")], snapshots);
            world.gone.extend(["vol-2".to_owned(), "vol-3".to_owned()]);
            let mut policy = daily(keep);
            policy.brake.percent = 100;
            policy.orphans_after = orphans.map(|text| guardrails::policy::Age::try_from(text.to_owned()).unwrap());
            let decisions = decide(&world, &policy, at(NOW));
            let doomed: HashSet<&str> = deleted(&decisions).into_iter().collect();
            for volume in ["vol-0", "vol-1", "vol-2", "vol-3"] {
                let of_it = || world.snapshots.iter().filter(|s| s.volume == volume);
                let goes = |s: &&Snapshot| doomed.contains(s.id.as_str());
                prop_assert!(!of_it().filter(goes).any(|s| s.held || s.state == State::Pending));
                let under_way = of_it().any(|s| s.state == State::Pending);
                let is_gone = world.gone.contains(volume);
                if is_gone && orphans.is_some() && !under_way {
                    continue;
                }
                let newest = |protects: fn(&Snapshot) -> bool, all: bool| {
                    let left = of_it().filter(|s| protects(s) && (all || !goes(s)));
                    left.map(|s| s.slot).max()
                };
                prop_assert_eq!(newest(Snapshot::protects, true), newest(Snapshot::protects, false));
                let keepers = of_it().any(Snapshot::protects);
                prop_assert!(keepers || !of_it().filter(goes).any(Snapshot::is_completed));
            }
        }
    }
}
