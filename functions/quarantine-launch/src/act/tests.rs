mod world;

use super::*;
use crate::policy::Policy;
use crate::policy::tests::parse;
use proptest::prelude::*;
use world::{Aws, Kill, World, event, order};

fn policy(steps: &str, threshold: u32) -> Policy {
    parse(&format!(
        "{{mode: enforce, approve: [{{owner: amazon, name: 'al2023-ami-2023.*'}}], loop: {{launches: {threshold}}}, steps: {{{steps}}}}}"
    ))
    .unwrap()
}

const EVERYTHING: &str = "dissociate-profile: true, stop: true";

fn notes(acted: &[(&'static str, Acted)]) -> String {
    format!("{acted:?}")
}

/// The instance without what remembers a release.
fn without_memory(mut aws: Aws) -> Aws {
    aws.tags.remove(tags::RELEASED_IMAGE);
    aws.snapshots = 0;
    aws.security_groups.remove("sg-isolation");
    if let Some(group) = &mut aws.group {
        group.tags.remove(tags::LOOP_LAUNCHES);
        group.tags.remove(tags::LOOP_RESTORED);
    }
    aws
}

fn now_of(world: &World) -> Aws {
    world.get().aws.clone()
}

/// What a finished quarantine is, whichever run finished it.
fn normalized(mut aws: Aws) -> Aws {
    for (key, value) in &mut aws.tags {
        if key == tags::QUARANTINED || key == tags::QUARANTINE_STOPPED {
            *value = value.split(' ').next().unwrap_or_default().to_owned();
        }
        if key == tags::QUARANTINE_STOPPED {
            *value = "stopped".to_owned();
        }
    }
    if let Some(group) = &mut aws.group {
        if let Some(broken) = group.tags.get_mut(tags::LOOP_BROKEN) {
            *broken = "broken".to_owned();
        }
        if let Some(restored) = group.tags.get_mut(tags::LOOP_RESTORED) {
            *restored = "restored".to_owned();
        }
    }
    aws
}

#[tokio::test(start_paused = true)]
async fn a_launch_is_isolated_before_anything_else_and_all_steps_follow() {
    let world = World::new(Aws::new().in_group(2));
    let acted = world.run(&policy(EVERYTHING, 1), &event(), 0).await;
    assert!(
        acted
            .iter()
            .all(|(_, acted)| matches!(acted, Acted::Done(_))),
        "{}",
        notes(&acted)
    );
    let aws = now_of(&world);
    assert!(
        aws.groups
            .values()
            .all(|groups| *groups == ["sg-isolation"])
    );
    assert!(aws.protected && aws.deletion.values().all(|delete| !delete));
    assert_eq!((aws.snapshots, aws.profile, aws.running), (2, None, false));
    let group = aws.group.unwrap();
    assert_eq!((group.member, group.desired), (Some("Standby"), 1));
    assert!(group.suspended.contains("Launch") && group.suspended.contains("ReplaceUnhealthy"));
    assert!(aws.tags[tags::QUARANTINED].starts_with("complete 2026-11-21T12:00:00Z"));
    assert!(aws.tags[tags::QUARANTINE_IMAGE].contains("al2023-ami-ecs-neuron"));

    // Everything is written down first, then isolated, and only then comes the rest.
    let calls = world.get().calls.clone();
    let of = |call: &str| calls.iter().position(|have| *have == call).unwrap();
    assert!(
        of("CreateTags") < of("ModifyNetworkInterfaceAttribute"),
        "{calls:?}"
    );
    assert!(
        of("SuspendProcesses") < of("ModifyNetworkInterfaceAttribute"),
        "{calls:?}"
    );
    for later in ["ModifyInstanceAttribute", "CreateSnapshots", "EnterStandby"] {
        assert!(
            of("ModifyNetworkInterfaceAttribute") < of(later),
            "{calls:?}"
        );
    }
    assert!(of("CreateSnapshots") < of("DisassociateIamInstanceProfile"));
    assert!(of("EnterStandby") < of("StopInstances"));
    // And once more changes nothing.
    world.kill(Kill::Never);
    let again = world.run(&policy(EVERYTHING, 1), &event(), 300).await;
    assert_eq!(world.get().changes, 0, "{}", notes(&again));
}

#[tokio::test(start_paused = true)]
async fn an_instance_in_standby_by_somebody_else_is_left_there_by_the_release() {
    let mut aws = Aws::new().in_group(1);
    aws.group.as_mut().unwrap().member = Some("Standby");
    let world = World::new(aws.clone());
    world.run(&policy("", 9), &event(), 0).await;
    assert!(!now_of(&world).tags.contains_key(tags::QUARANTINE_SERVICE));
    world.run(&policy("", 9), &order("release"), 60).await;
    assert_eq!(without_memory(now_of(&world)), without_memory(aws));
}

#[tokio::test(start_paused = true)]
async fn a_group_at_its_smallest_keeps_the_instance_and_it_isnt_stopped() {
    let mut aws = Aws::new().in_group(1);
    aws.group.as_mut().unwrap().min = 1;
    let world = World::new(aws);
    let acted = world.run(&policy("stop: true", 9), &event(), 0).await;
    assert!(
        notes(&acted).contains("its group would replace it"),
        "{}",
        notes(&acted)
    );
    let aws = now_of(&world);
    assert!(aws.running);
    assert_eq!(aws.group.unwrap().member, Some("InService"));
    assert!(
        aws.groups
            .values()
            .all(|groups| *groups == ["sg-isolation"])
    );
}

#[tokio::test(start_paused = true)]
async fn what_a_service_manages_is_partial_and_the_rest_isolated() {
    let mut aws = Aws::new();
    aws.managed.insert("eni-2".to_owned());
    let world = World::new(aws.clone());
    let acted = world.run(&policy("", 9), &event(), 0).await;
    assert!(
        notes(&acted).contains("eni-2 is not isolated"),
        "{}",
        notes(&acted)
    );
    let now = now_of(&world);
    assert_eq!(now.groups["eni-1"], ["sg-isolation"]);
    assert_eq!(now.tags[tags::QUARANTINE_REFUSED], "eni-2");
    assert!(now.tags[tags::QUARANTINED].starts_with("partial"));
    world.kill(Kill::Never);
    world.run(&policy("", 9), &event(), 600).await;
    assert_eq!(world.get().changes, 0, "no fight");
    world.run(&policy("", 9), &order("release"), 660).await;
    assert_eq!(without_memory(now_of(&world)), aws);
}

#[tokio::test(start_paused = true)]
async fn an_isolation_group_with_rules_is_mended_and_a_strangers_is_refused() {
    let ours =
        std::collections::BTreeMap::from([(tags::GUARDRAIL.to_owned(), crate::NAME.to_owned())]);
    for (tags, isolated) in [(ours, true), (std::collections::BTreeMap::new(), false)] {
        let mut aws = Aws::new();
        aws.security_groups
            .insert("sg-isolation".to_owned(), (tags, 1));
        let world = World::new(aws);
        let acted = world.run(&policy("", 9), &event(), 0).await;
        let now = now_of(&world);
        assert_eq!(
            now.groups["eni-1"] == ["sg-isolation"],
            isolated,
            "{}",
            notes(&acted)
        );
        assert_eq!(now.security_groups["sg-isolation"].1 == 0, isolated);
        if !isolated {
            assert!(
                notes(&acted).contains("isn't this guardrail's"),
                "{}",
                notes(&acted)
            );
            assert!(matches!(acted[0].1, Acted::Failed(_)));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_drift_is_closed_once() {
    let world = World::new(Aws::new());
    world.run(&policy("", 9), &event(), 0).await;
    let open = |world: &World| {
        let web = vec!["sg-web".to_owned()];
        world.get().aws.groups.insert("eni-1".to_owned(), web);
    };
    open(&world);
    world.run(&policy("", 9), &event(), 300).await;
    assert_eq!(now_of(&world).groups["eni-1"], ["sg-isolation"]);
    open(&world);
    world.kill(Kill::Never);
    world.run(&policy("", 9), &event(), 900).await;
    assert_eq!(world.get().changes, 0);
    world.run(&policy("", 9), &order("release"), 960).await;
    assert_eq!(without_memory(now_of(&world)), Aws::new());
}

#[tokio::test(start_paused = true)]
async fn what_cant_be_restored_is_named_and_the_rest_restored() {
    let world = World::new(Aws::new());
    world.run(&policy("", 9), &event(), 0).await;
    {
        let mut state = world.get();
        state.aws.security_groups.remove("sg-ssh");
        state.aws.security_groups.remove("sg-db");
        state.aws.deletion.remove("/dev/xvda");
    }
    let acted = world.run(&policy("", 9), &order("release"), 60).await;
    let text = notes(&acted);
    for expected in [
        "NOT RESTORED",
        "eni-1 has sg-web again, but of sg-web, sg-ssh the others don't exist",
        "eni-2 stays isolated: its groups sg-db don't exist any more",
        "/dev/xvda: no volume is attached there any more",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let now = now_of(&world);
    assert_eq!(now.groups["eni-1"], ["sg-web"]);
    assert_eq!(now.groups["eni-2"], ["sg-isolation"]);
    assert!(!now.tags.contains_key(tags::QUARANTINED));
}

#[tokio::test(start_paused = true)]
async fn processes_that_were_suspended_before_stay_suspended() {
    let mut aws = Aws::new().in_group(2);
    aws.group
        .as_mut()
        .unwrap()
        .suspended
        .insert("ReplaceUnhealthy".to_owned());
    let world = World::new(aws.clone());
    world.run(&policy("", 1), &event(), 0).await;
    assert_eq!(now_of(&world).group.unwrap().suspended.len(), 2);
    let grown = world
        .get()
        .aws
        .group
        .as_mut()
        .map(|group| group.desired += 3);
    assert!(grown.is_some());
    let acted = world.run(&policy("", 1), &order("release"), 60).await;
    assert!(
        notes(&acted).contains("WARNING: its desired capacity has grown"),
        "{}",
        notes(&acted)
    );
    let now = now_of(&world).group.unwrap();
    assert!(now.suspended.contains("ReplaceUnhealthy") && !now.suspended.contains("Launch"));
}

#[tokio::test(start_paused = true)]
async fn a_released_instance_is_not_quarantined_again_for_its_ami() {
    let world = World::new(Aws::new().in_group(2));
    world.run(&policy("", 1), &event(), 0).await;
    world.run(&policy("", 1), &order("release"), 60).await;
    world.kill(Kill::Never);
    world.run(&policy("", 1), &event(), 120).await;
    assert_eq!(world.get().changes, 0);
}

/// Killed before or after any change, and run again: the same end.
#[tokio::test(start_paused = true)]
async fn killed_anywhere_and_run_again_it_comes_to_the_same_end() {
    for detach in ["group: standby", "group: detach"] {
        let steps = format!("{EVERYTHING}, {detach}");
        let policy = policy(&steps, 1);
        let straight = World::new(Aws::new().in_group(2));
        straight.run(&policy, &event(), 0).await;
        let (end, changes) = (normalized(now_of(&straight)), straight.get().changes);
        assert!(changes > 12, "{changes}");
        for at in 0..changes {
            for kill in [Kill::Before(at), Kill::After(at)] {
                let world = World::new(Aws::new().in_group(2));
                world.kill(kill);
                world.run(&policy, &event(), 0).await;
                world.kill(Kill::Never);
                // A later run takes it up; the same event again as well.
                for after in [60, 120] {
                    world.run(&policy, &event(), after).await;
                }
                let mut now = normalized(now_of(&world));
                if let (Some(had), Some(has)) = (
                    end.tags.get(tags::QUARANTINE_LAUNCHER),
                    now.tags.get_mut(tags::QUARANTINE_LAUNCHER),
                ) {
                    has.clone_from(had);
                }
                assert_eq!(now, end, "{kill:?}");
                // And its release restores everything all the same.
                world.run(&policy, &order("release"), 180).await;
                assert_eq!(
                    without_memory(now_of(&world)),
                    without_memory(Aws::new().in_group(2)),
                    "{kill:?}"
                );
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_release_that_is_killed_anywhere_is_finished_by_the_next() {
    let policy = policy(EVERYTHING, 1);
    let held = || async {
        let world = World::new(Aws::new().in_group(2));
        world.run(&policy, &event(), 0).await;
        world.kill(Kill::Never);
        world
    };
    let straight = held().await;
    straight.run(&policy, &order("release"), 60).await;
    let changes = straight.get().changes;
    assert!(changes > 6, "{changes}");
    for at in 0..changes {
        for kill in [Kill::Before(at), Kill::After(at)] {
            let world = held().await;
            world.kill(kill);
            world.run(&policy, &order("release"), 60).await;
            world.kill(Kill::Never);
            world.run(&policy, &order("release"), 120).await;
            assert_eq!(
                without_memory(now_of(&world)),
                without_memory(Aws::new().in_group(2)),
                "{kill:?}"
            );
        }
    }
}

fn estate() -> impl Strategy<Value = (Aws, String)> {
    let groups = proptest::collection::vec(
        proptest::sample::select(vec!["sg-web", "sg-ssh", "sg-db"]),
        1..4,
    );
    let disks = proptest::collection::btree_map("/dev/sd[a-f]", any::<bool>(), 1..4);
    let steps = proptest::collection::vec(any::<bool>(), 4);
    let group = proptest::option::of((1..3i32, 0..2i32, any::<bool>(), any::<bool>()));
    (
        proptest::collection::vec(groups, 1..4),
        disks,
        any::<(bool, bool, bool)>(),
        group,
        steps,
        proptest::sample::select(vec!["standby", "detach", "keep"]),
    )
        .prop_map(
            |(interfaces, disks, (protected, profile, spot), group, steps, out)| {
                let mut aws = Aws::new();
                aws.groups = interfaces
                    .into_iter()
                    .enumerate()
                    .map(|(n, mut groups)| {
                        groups.dedup();
                        let groups = groups.into_iter().map(str::to_owned).collect();
                        (format!("eni-{n}"), groups)
                    })
                    .collect();
                aws.deletion = disks;
                aws.protected = protected && !spot;
                aws.spot = spot;
                if !profile {
                    aws.profile = None;
                }
                if let Some((desired, min, launch, replace)) = group {
                    aws = aws.in_group(desired);
                    let group = aws.group.as_mut().unwrap();
                    group.min = min.min(desired);
                    for (is, process) in [(launch, "Launch"), (replace, "ReplaceUnhealthy")] {
                        if is {
                            group.suspended.insert(process.to_owned());
                        }
                    }
                }
                let steps = format!(
                    "protect: {}, snapshot: {}, dissociate-profile: {}, stop: {}, group: {out}",
                    steps[0], steps[1], steps[2], steps[3]
                );
                (aws, steps)
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn quarantine_then_release_is_the_identity(
        (aws, steps) in estate(),
        threshold in 1..3u32,
        killed in proptest::option::of(0..12usize),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let policy = policy(&steps, threshold);
            let world = World::new(aws.clone());
            if let Some(at) = killed {
                world.kill(Kill::After(at));
                world.run(&policy, &event(), 0).await;
                world.kill(Kill::Never);
            }
            world.run(&policy, &event(), 60).await;
            let held = now_of(&world);
            assert!(held.groups.values().all(|groups| *groups == ["sg-isolation"]));
            world.run(&policy, &order("release"), 120).await;
            assert_eq!(without_memory(now_of(&world)), without_memory(aws));
        });
    }
}
