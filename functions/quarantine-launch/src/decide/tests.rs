use super::*;
use crate::facts::{Disk, Image, Interface, Known};
use crate::policy::tests::parse;

pub(crate) fn now() -> Timestamp {
    "2026-11-21T12:00:00Z".parse().unwrap()
}

pub(crate) fn isolation() -> BTreeMap<String, Isolation> {
    let group = Isolation {
        id: "sg-isolation".to_owned(),
        bare: true,
    };
    BTreeMap::from([("vpc-1".to_owned(), group)])
}

/// An instance that was launched a minute ago from `ami-bad`.
pub(crate) fn instance(id: &str) -> Instance {
    Instance {
        id: id.to_owned(),
        state: State::Running,
        launched: now() - SignedDuration::from_mins(1),
        image: Some("ami-bad".to_owned()),
        architecture: Some("x86_64".to_owned()),
        vpc: "vpc-1".to_owned(),
        subnet: "subnet-1".to_owned(),
        profile: None,
        tags: Vec::new(),
        operator: None,
        spot: false,
        spot_request: None,
        interfaces: vec![Interface {
            id: "eni-1".to_owned(),
            vpc: "vpc-1".to_owned(),
            groups: vec!["sg-web".to_owned(), "sg-ssh".to_owned()],
            operator: None,
        }],
        disks: vec![Disk {
            device: "/dev/xvda".to_owned(),
            volume: "vol-1".to_owned(),
            delete_on_termination: true,
        }],
    }
}

pub(crate) fn image(id: &str, name: &str) -> Image {
    Image {
        known: Known::Described,
        name: Some(name.to_owned()),
        owner: Some("137112412989".to_owned()),
        owner_alias: Some("amazon".to_owned()),
        created: Some(now() - SignedDuration::from_hours(24 * 12)),
        ..Image::unknown(id)
    }
}

pub(crate) const BAD: &str = "al2023-ami-ecs-neuron-hvm-2023.0.20251209-kernel-6.1-x86_64";
pub(crate) const GOOD: &str = "al2023-ami-2023.9.20251208.0-kernel-6.1-x86_64";

pub(crate) fn facts(instances: impl IntoIterator<Item = Instance>) -> Facts {
    Facts {
        account: Some("111122223333".to_owned()),
        instances: instances
            .into_iter()
            .map(|one| (one.id.clone(), one))
            .collect(),
        images: [image("ami-bad", BAD), image("ami-good", GOOD)]
            .into_iter()
            .map(|one| (one.id.clone(), one))
            .collect(),
        isolation: Some(isolation()),
        ..Facts::default()
    }
}

pub(crate) fn policy() -> Policy {
    parse("{mode: enforce, approve: [{owner: amazon, name: 'al2023-ami-2023.*-x86_64'}]}").unwrap()
}

pub(crate) fn member(id: &str, group: &str) -> Instance {
    let mut one = instance(id);
    one.tags
        .push(("aws:autoscaling:groupName".to_owned(), group.to_owned()));
    one
}

pub(crate) fn group(name: &str) -> Group {
    Group {
        name: name.to_owned(),
        min: 0,
        desired: 2,
        ..Group::default()
    }
}

pub(crate) fn with_tags(mut one: Instance, tags: &[(&str, &str)]) -> Instance {
    one.tags.extend(
        tags.iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned())),
    );
    one
}

fn in_quarantine(stage: &str) -> Instance {
    let mut one = with_tags(
        instance("i-1"),
        &[
            (tags::QUARANTINED, stage),
            (tags::QUARANTINE_IMAGE, "ami-bad"),
            (tags::QUARANTINE_LAUNCHER, "arn:aws:iam::1:user/a"),
        ],
    );
    one.interfaces[0].groups = vec!["sg-isolation".to_owned()];
    one
}

const HELD: &str = "complete 2026-11-21T11:00:00Z";

fn words(decisions: &[Decision<Action>]) -> Vec<(&str, &str, bool)> {
    decisions
        .iter()
        .map(|one| (one.resource.as_str(), one.action, one.step.is_some()))
        .collect()
}

#[test]
fn an_unapproved_launch_is_quarantined_and_an_approved_one_left_alone() {
    let mut good = instance("i-2");
    good.image = Some("ami-good".to_owned());
    let facts = facts([instance("i-1"), good]);
    let decisions = decide(&facts, &policy(), now());
    assert_eq!(
        words(&decisions),
        [("i-1", "quarantine", true), ("i-2", "leave-alone", false)]
    );
    assert!(
        decisions[0].reason.contains(BAD)
            && decisions[0]
                .reason
                .contains("nearest is the rule \"owner amazon"),
        "{}",
        decisions[0].reason
    );
}

#[test]
fn each_instance_that_is_not_to_be_touched_isnt() {
    let old = Instance {
        launched: now() - SignedDuration::from_hours(25),
        ..instance("i-1")
    };
    let operated = Instance {
        operator: Some("eks.amazonaws.com".to_owned()),
        ..instance("i-1")
    };
    let terminal = Instance {
        state: State::Terminal,
        ..instance("i-1")
    };
    let unread = Instance {
        image: Some("ami-unread".to_owned()),
        ..instance("i-1")
    };
    let cases = [
        (old, "longer ago than launched-within"),
        (operated, "eks.amazonaws.com manages it"),
        (terminal, "terminated"),
        (unread, "ami-unread wasn't read"),
        (
            with_tags(instance("i-1"), &[(tags::RELEASED_IMAGE, "ami-bad")]),
            "a person released it",
        ),
        (
            with_tags(instance("i-1"), &[("Sandbox", "yes")]),
            "its tag Sandbox exempts it",
        ),
        (in_quarantine(HELD), "it is in quarantine since"),
        (
            in_quarantine("started 2026-11-21T11:59:50Z run-1"),
            "another run is quarantining it",
        ),
        (
            in_quarantine("releasing 2026-11-21T11:59:50Z"),
            "its release is under way",
        ),
    ];
    let mut policy = policy();
    policy.exempt = parse("{exempt: {tag: Sandbox}}").unwrap().exempt;
    for (instance, expected) in cases {
        let decisions = decide(&facts([instance]), &policy, now());
        let [one] = decisions.as_slice() else {
            panic!("{expected}: {decisions:?}");
        };
        assert_eq!(one.step, None, "{expected}");
        assert!(one.reason.contains(expected), "{expected}: {}", one.reason);
    }
}

#[test]
fn a_tag_exempts_only_when_the_policy_names_it() {
    let one = with_tags(instance("i-1"), &[("Sandbox", "yes")]);
    let decisions = decide(&facts([one]), &policy(), now());
    assert!(decisions[0].step.is_some());
}

#[test]
fn a_release_for_another_ami_does_not_count() {
    let one = with_tags(instance("i-1"), &[(tags::RELEASED_IMAGE, "ami-other")]);
    let decisions = decide(&facts([one]), &policy(), now());
    assert!(decisions[0].step.is_some());
}

#[test]
fn nothing_approved_quarantines_nothing_and_says_so() {
    let policy = parse("{mode: enforce, deny: [{name: '*'}]}").unwrap();
    for complete in [false, true] {
        let facts = Facts {
            complete,
            ..facts([instance("i-1")])
        };
        let decisions = decide(&facts, &policy, now());
        assert!(decisions.iter().all(|one| one.step.is_none()));
        assert!(
            decisions[0].reason.contains("approves nothing yet"),
            "{decisions:?}"
        );
    }
}

#[test]
fn what_was_begun_is_finished() {
    for (stage, expected) in [
        (
            "started 2026-11-21T11:59:00Z run-1",
            ("quarantine", Occasion::Unfinished),
        ),
        ("started", ("quarantine", Occasion::Unfinished)),
    ] {
        let decisions = decide(&facts([in_quarantine(stage)]), &policy(), now());
        let Some(Action::Quarantine(order)) = &decisions[0].step else {
            panic!("{decisions:?}");
        };
        assert_eq!((decisions[0].action, order.occasion), expected);
    }
    let releasing = in_quarantine("releasing 2026-11-21T11:50:00Z");
    let decisions = decide(&facts([releasing]), &policy(), now());
    assert_eq!(words(&decisions), [("i-1", "release", true)]);
}

#[test]
fn a_drift_is_closed_once_and_then_only_told() {
    let drifted = |tags: &[(&str, &str)]| {
        let mut one = with_tags(in_quarantine(HELD), tags);
        one.interfaces[0].groups = vec!["sg-web".to_owned()];
        decide(&facts([one]), &policy(), now())
    };
    let first = drifted(&[]);
    assert_eq!(words(&first), [("i-1", "isolate-again", true)]);
    let second = drifted(&[(tags::QUARANTINE_DRIFT, "2026-11-21T11:30:00Z")]);
    assert_eq!(words(&second), [("i-1", "report", false)]);
    // The isolation isn't visible yet.
    let just_now = drifted(&[(tags::QUARANTINE_DRIFT, "2026-11-21T11:59:30Z")]);
    assert_eq!(words(&just_now), [("i-1", "leave-alone", false)]);
    let mut fresh = in_quarantine("complete 2026-11-21T11:59:00Z");
    fresh.interfaces[0].groups = vec!["sg-web".to_owned()];
    let fresh = decide(&facts([fresh]), &policy(), now());
    assert_eq!(words(&fresh), [("i-1", "leave-alone", false)]);
    // What AWS refused to change is no drift.
    let refused = drifted(&[(tags::QUARANTINE_REFUSED, "eni-1")]);
    assert_eq!(words(&refused), [("i-1", "leave-alone", false)]);
}

#[test]
fn the_launcher_is_looked_up_later_where_it_isnt_known() {
    let mut unknown = in_quarantine(HELD);
    unknown
        .tags
        .retain(|(key, _)| key != tags::QUARANTINE_LAUNCHER);
    let decisions = decide(&facts([unknown.clone()]), &policy(), now());
    assert_eq!(words(&decisions), [("i-1", "name-launcher", true)]);
    let later = now() + SignedDuration::from_hours(2);
    let decisions = decide(&facts([unknown]), &policy(), later);
    assert_eq!(words(&decisions), [("i-1", "leave-alone", false)]);
}

#[test]
fn a_loop_of_a_group_is_broken_at_the_threshold() {
    let with = |group: Group, launches: usize| {
        let instances = (0..launches).map(|n| member(&format!("i-{n}"), "web"));
        let mut facts = facts(instances);
        facts.groups = BTreeMap::from([("web".to_owned(), group)]);
        decide(&facts, &policy(), now())
    };
    assert_eq!(words(&with(group("web"), 1)).len(), 1);
    let decisions = with(group("web"), 2);
    assert_eq!(words(&decisions)[0], ("web", "break-loop", true));
    let broken = Group {
        suspended: ["Launch", "ReplaceUnhealthy"].map(str::to_owned).into(),
        ..group("web")
    };
    assert_eq!(words(&with(broken, 2))[0], ("web", "report", false));
    let operated = Group {
        operator: Some("x".to_owned()),
        ..group("web")
    };
    assert_eq!(words(&with(operated, 2))[0], ("web", "report", false));
}

#[test]
fn a_loop_of_a_person_is_only_told() {
    let tag = [(tags::QUARANTINE_LAUNCHER, "arn:aws:iam::1:user/admin-02")];
    let instances = ["i-1", "i-2"].map(|id| with_tags(instance(id), &tag));
    let decisions = decide(&facts(instances), &policy(), now());
    assert_eq!(
        words(&decisions),
        [
            ("i-2", "report", false),
            ("i-1", "quarantine", true),
            ("i-2", "quarantine", true)
        ]
    );
    assert!(decisions[0].reason.contains("admin-02 launched 2"));
}

#[test]
fn orders_of_a_person_are_carried_out_and_nothing_else() {
    let asked = |asked, instances: Vec<Instance>| {
        let facts = Facts {
            asked,
            ..facts(instances)
        };
        decide(&facts, &policy(), now())
    };
    let mut good = instance("i-1");
    good.image = Some("ami-good".to_owned());
    let by_hand = Asked::Quarantine {
        instance: "i-1".to_owned(),
        reason: "odd traffic".to_owned(),
    };
    let decisions = asked(by_hand, vec![good]);
    let Some(Action::Quarantine(order)) = &decisions[0].step else {
        panic!("{decisions:?}");
    };
    assert_eq!(order.reason, "by hand: odd traffic");

    let release = || Asked::Release("i-1".to_owned());
    let decisions = asked(release(), vec![in_quarantine(HELD)]);
    assert_eq!(words(&decisions), [("i-1", "release", true)]);
    for instances in [vec![instance("i-1")], vec![]] {
        let decisions = asked(release(), instances);
        assert_eq!(words(&decisions), [("i-1", "leave-alone", false)]);
    }
    let decisions = asked(Asked::ReleaseGroup("web".to_owned()), vec![]);
    assert_eq!(words(&decisions), [("web", "leave-alone", false)]);
}

#[test]
fn a_release_knows_who_of_its_group_is_in_quarantine_still() {
    let held = |id: &str| {
        let tags = [
            (tags::QUARANTINED, HELD),
            (tags::QUARANTINE_SERVICE, "detached web"),
        ];
        with_tags(instance(id), &tags)
    };
    let mut other = held("i-9");
    other
        .tags
        .retain(|(key, _)| key != tags::QUARANTINE_SERVICE);
    let mut facts = Facts {
        asked: Asked::Release("i-1".to_owned()),
        ..facts([held("i-1")])
    };
    facts.siblings = [held("i-2"), other, instance("i-3")]
        .into_iter()
        .map(|one| (one.id.clone(), one))
        .collect();
    let decisions = decide(&facts, &policy(), now());
    let Some(Action::Release(order)) = &decisions[0].step else {
        panic!("{decisions:?}");
    };
    assert_eq!(order.others, ["i-2"]);
}
