use super::*;
use crate::diagnosis::identity::{CHANNELS, Identity, NEEDED, Role};
use crate::facts::Interface;
use guardrails::policy;
use proptest::prelude::*;

pub(crate) const OURS: &str = "arn:aws:iam::111122223333:instance-profile/ec2-guardrails-ssm";
pub(crate) const THEIRS: &str = "arn:aws:iam::111122223333:instance-profile/web";
pub(crate) const TRUST: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;

pub(crate) fn at(time: &str) -> Timestamp {
    format!("2026-11-21T{time}Z").parse().unwrap()
}

/// Noon: instances of these tests start at eight.
pub(crate) fn now() -> Timestamp {
    at("12:00:00")
}

pub(crate) fn policy(section: &str) -> Policy {
    policy::parse(&format!("attach-ssm-role: {section}"), crate::NAME).unwrap()
}

pub(crate) fn default_policy() -> Policy {
    policy::parse("", crate::NAME).unwrap()
}

pub(crate) fn instance(id: &str) -> Instance {
    Instance {
        id: id.to_owned(),
        state: State::Running,
        launched: at("08:00:00"),
        profile: None,
        tags: Vec::new(),
        image: Some("ami-1".to_owned()),
        windows: false,
        metadata: true,
        operator: None,
        interface: Interface {
            vpc: "vpc-1".to_owned(),
            subnet: "subnet-a".to_owned(),
            addresses: vec!["10.0.1.10".parse().unwrap()],
            public: false,
            groups: vec!["sg-app".to_owned()],
        },
    }
}

pub(crate) fn with_profile(id: &str, profile: &str) -> Instance {
    Instance {
        profile: Some(profile.to_owned()),
        ..instance(id)
    }
}

pub(crate) fn tagged(mut instance: Instance, key: &str, value: &str) -> Instance {
    instance.tags.push((key.to_owned(), value.to_owned()));
    instance
}

pub(crate) fn node(ping: &str, last: Timestamp) -> Node {
    Node {
        online: ping == "Online",
        ping: ping.to_owned(),
        last_ping: Some(last),
        agent: Some("3.3.3572.0".to_owned()),
    }
}

pub(crate) fn role(missing: &[&str]) -> Identity {
    Identity::Role(Role {
        name: "web-role".to_owned(),
        trust: TRUST.to_owned(),
        permissions: Permissions::Simulated {
            missing: missing.iter().map(|action| (*action).to_owned()).collect(),
        },
        has_core: false,
    })
}

pub(crate) fn facts(instances: impl IntoIterator<Item = Instance>) -> Facts {
    Facts {
        complete: true,
        profile: OURS.to_owned(),
        instances: instances.into_iter().map(|i| (i.id.clone(), i)).collect(),
        ..Facts::default()
    }
}

fn actions(facts: &Facts, policy: &Policy) -> Vec<Action> {
    decide(facts, policy, now())
        .into_iter()
        .filter_map(|decision| decision.step)
        .collect()
}

fn attach(id: &str) -> Action {
    Action::Attach {
        instance: id.to_owned(),
        profile: OURS.to_owned(),
        at: now(),
    }
}

/// A missing permission must not go unseen, whatever it was for.
#[test]
fn what_could_not_be_read_is_in_the_report() {
    let denied = |operation| guardrails::aws::ApiError {
        operation,
        code: "UnauthorizedOperation".to_owned(),
        message: "no".to_owned(),
        kind: guardrails::aws::ErrorKind::Denied,
    };
    let mut facts = facts([]);
    facts.unread = vec![denied("ec2:DescribeVpcEndpoints")];
    let group = |has_profile| crate::facts::Group {
        source: "launch template lt-1 version 3".to_owned(),
        has_profile,
        told: None,
    };
    let version = denied("ec2:DescribeLaunchTemplateVersions");
    facts.groups.insert("web".to_owned(), group(Err(version)));
    facts.groups.insert("db".to_owned(), group(Ok(true)));
    let decisions = decide(&facts, &default_policy(), now());
    let [endpoints, web] = decisions.as_slice() else {
        panic!("two: {decisions:?}");
    };
    assert_eq!(endpoints.resource, "ec2:DescribeVpcEndpoints");
    assert_eq!(web.resource, "auto-scaling-group/web");
    for (decision, operation) in [
        (endpoints, "ec2:DescribeVpcEndpoints"),
        (web, "ec2:DescribeLaunchTemplateVersions"),
    ] {
        assert!(decision.step.is_none());
        let named = format!("allow {operation} in the function's role");
        assert!(decision.reason.contains(&named), "{}", decision.reason);
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn where_each_instance_stands() {
    let state = |state| Instance {
        state,
        ..instance("i-1")
    };
    let late = at("08:35:00");
    for (what, instance, ping, expected) in [
        ("new", instance("i-1"), None, Standing::Lacking),
        ("stopped", state(State::Stopped), None, Standing::Lacking),
        ("pending", state(State::Pending), None, Standing::NotYet),
        ("stopping", state(State::Stopping), None, Standing::NotYet),
        ("terminal", state(State::Terminal), None, Standing::Terminal),
        (
            "Default Host Management",
            instance("i-1"),
            Some(("Online", now())),
            Standing::Online,
        ),
        (
            "Default Host Management that lost it",
            instance("i-1"),
            Some(("ConnectionLost", now())),
            Standing::Lacking,
        ),
        (
            "a stopped instance whose node still shows Online",
            state(State::Stopped),
            Some(("Online", now())),
            Standing::Lacking,
        ),
        (
            "excluded",
            tagged(instance("i-1"), "NoSsm", ""),
            None,
            Standing::Excluded("NoSsm".to_owned()),
        ),
        (
            "in quarantine",
            tagged(instance("i-1"), tags::QUARANTINED, "2026"),
            None,
            Standing::Quarantined,
        ),
        (
            "in quarantine and Online",
            tagged(with_profile("i-1", OURS), tags::QUARANTINED, "2026"),
            Some(("Online", now())),
            Standing::Quarantined,
        ),
        (
            "operated",
            Instance {
                operator: Some("eks.amazonaws.com".to_owned()),
                ..instance("i-1")
            },
            None,
            Standing::Operated("eks.amazonaws.com".to_owned()),
        ),
        (
            "never registered",
            with_profile("i-1", THEIRS),
            None,
            Standing::Late(late),
        ),
        (
            "just attached",
            tagged(
                with_profile("i-1", OURS),
                tags::MANAGED_NODE,
                "attached 2026-11-21T11:50:00Z",
            ),
            None,
            Standing::Waiting(at("12:25:00")),
        ),
        (
            "with a tag that isn't ours to read",
            tagged(
                with_profile("i-1", OURS),
                tags::MANAGED_NODE,
                "attached yesterday",
            ),
            None,
            Standing::Late(late),
        ),
        (
            "lost a moment ago",
            with_profile("i-1", OURS),
            Some(("ConnectionLost", at("11:40:00"))),
            Standing::Waiting(at("12:15:00")),
        ),
        (
            "lost an hour ago",
            with_profile("i-1", OURS),
            Some(("ConnectionLost", at("11:00:00"))),
            Standing::Late(at("11:35:00")),
        ),
        (
            "exactly at its time",
            with_profile("i-1", OURS),
            Some(("ConnectionLost", at("11:25:00"))),
            Standing::Late(at("12:00:00")),
        ),
        (
            "stopped with a profile",
            Instance {
                state: State::Stopped,
                ..with_profile("i-1", OURS)
            },
            None,
            Standing::Stopped,
        ),
    ] {
        let mut facts = facts([instance]);
        facts.nodes = ping
            .into_iter()
            .map(|(ping, last)| ("i-1".to_owned(), node(ping, last)))
            .collect();
        let found = standing(&facts.instances["i-1"], &facts, &default_policy(), now());
        assert_eq!(found, expected, "{what}");
    }
}

#[test]
fn a_profile_associated_by_hand_restarts_the_clock_too() {
    let mut facts = facts([with_profile("i-1", THEIRS)]);
    facts.associated.insert("i-1".to_owned(), at("11:45:00"));
    let found = standing(&facts.instances["i-1"], &facts, &default_policy(), now());
    assert_eq!(found, Standing::Waiting(at("12:20:00")));
}

#[test]
fn only_instances_without_profile_get_one() {
    let facts = facts([
        instance("i-new"),
        with_profile("i-ours", OURS),
        with_profile("i-theirs", THEIRS),
        tagged(instance("i-out"), "NoSsm", "yes"),
    ]);
    assert_eq!(actions(&facts, &default_policy()), [attach("i-new")]);
}

#[test]
fn a_node_seen_online_first_is_noted_once() {
    let attached = tagged(
        with_profile("i-1", OURS),
        tags::MANAGED_NODE,
        &Mark::Attached(at("11:30:00")).value(),
    );
    let noted = tagged(
        with_profile("i-2", OURS),
        tags::MANAGED_NODE,
        &Mark::Online(at("11:30:00")).value(),
    );
    let mut facts = facts([attached, noted]);
    for id in ["i-1", "i-2"] {
        facts.nodes.insert(id.to_owned(), node("Online", now()));
    }
    let confirm = Action::Confirm {
        instance: "i-1".to_owned(),
        at: now(),
    };
    assert_eq!(actions(&facts, &default_policy()), [confirm]);
}

#[test]
fn roles_are_repaired_only_where_the_policy_says_so_and_once_each() {
    let mut facts = facts([with_profile("i-1", THEIRS), with_profile("i-2", THEIRS)]);
    facts
        .identities
        .insert(THEIRS.to_owned(), Ok(role(&CHANNELS)));
    assert_eq!(actions(&facts, &default_policy()), []);
    let opted_in = policy("{repair-roles: true}");
    let repair = Action::Repair {
        role: "web-role".to_owned(),
        policy: "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore".to_owned(),
    };
    assert_eq!(actions(&facts, &opted_in), [repair]);
    // A deny that stands in spite of the policy isn't cured by attaching it again and again.
    let Ok(Identity::Role(role)) = facts.identities.get_mut(THEIRS).unwrap() else {
        panic!("a role");
    };
    role.has_core = true;
    assert_eq!(actions(&facts, &opted_in), []);
}

#[test]
fn a_role_without_faults_or_of_an_excluded_instance_is_not_repaired() {
    let opted_in = policy("{repair-roles: true, exclude: {tag: NoSsm}}");
    let mut healthy = facts([with_profile("i-1", THEIRS)]);
    healthy.identities.insert(THEIRS.to_owned(), Ok(role(&[])));
    assert_eq!(actions(&healthy, &opted_in), []);
    let mut excluded = facts([tagged(with_profile("i-1", THEIRS), "NoSsm", "")]);
    excluded
        .identities
        .insert(THEIRS.to_owned(), Ok(role(&NEEDED)));
    assert_eq!(actions(&excluded, &opted_in), []);
}

#[test]
fn a_role_made_a_minute_ago_may_still_be_on_its_way() {
    let mut facts = facts([Instance {
        launched: at("11:58:00"),
        ..with_profile("i-1", THEIRS)
    }]);
    facts
        .identities
        .insert(THEIRS.to_owned(), Ok(role(&NEEDED)));
    assert_eq!(actions(&facts, &policy("{repair-roles: true}")), []);
}

#[test]
fn the_policy_arn_is_of_the_profiles_partition() {
    assert_eq!(
        core_policy("arn:aws-cn:iam::1:instance-profile/x"),
        "arn:aws-cn:iam::aws:policy/AmazonSSMManagedInstanceCore"
    );
}

#[test]
fn of_the_one_that_was_asked_for_something_is_always_said() {
    for state in [
        State::Pending,
        State::Running,
        State::Stopping,
        State::Stopped,
        State::Terminal,
    ] {
        for profile in [None, Some(OURS.to_owned())] {
            let mut facts = facts([Instance {
                state,
                profile: profile.clone(),
                ..instance("i-1")
            }]);
            facts.complete = false;
            let decisions = decide(&facts, &default_policy(), now());
            assert_eq!(decisions.len(), 1, "{state:?} {profile:?}");
        }
    }
}

prop_compose! {
    fn any_instance()(
        state in prop::sample::select(vec![
            State::Pending, State::Running, State::Stopping, State::Stopped, State::Terminal,
        ]),
        profile in prop::option::of(prop::sample::select(vec![OURS, THEIRS])),
        tag in prop::option::of(prop::sample::select(vec![
            ("NoSsm", ""), (tags::QUARANTINED, "x"), (tags::MANAGED_NODE, "attached 2026-11-21T11:00:00Z"),
        ])),
        operated in any::<bool>(),
        ping in prop::option::of(prop::sample::select(vec!["Online", "ConnectionLost", "Inactive"])),
        hour in 0_u8..12,
    ) -> (Instance, Option<&'static str>) {
        let mut found = Instance {
            state,
            profile: profile.map(str::to_owned),
            launched: at(&format!("{hour:02}:00:00")),
            operator: operated.then(|| "eks.amazonaws.com".to_owned()),
            ..instance("i-1")
        };
        if let Some((key, value)) = tag {
            found = tagged(found, key, value);
        }
        (found, ping)
    }
}

proptest! {
    /// Whatever else holds: no instance with a profile, or that isn't ours to change, is touched.
    #[test]
    fn nothing_but_an_instance_that_lacks_a_profile_is_attached_one((found, ping) in any_instance()) {
        let mut facts = facts([found.clone()]);
        facts.nodes = ping
            .into_iter()
            .map(|ping| ("i-1".to_owned(), node(ping, now())))
            .collect();
        let attaches = actions(&facts, &default_policy())
            .iter()
            .any(|action| matches!(action, Action::Attach { .. }));
        let may = found.profile.is_none()
            && matches!(found.state, State::Running | State::Stopped)
            && found.operator.is_none()
            && found.tag("NoSsm").is_none()
            && found.tag(tags::QUARANTINED).is_none()
            && !(found.state == State::Running && ping == Some("Online"));
        prop_assert_eq!(attaches, may);
    }

    /// Deciding again after the associations have been made finds nothing more to attach.
    #[test]
    fn what_was_attached_is_not_attached_again((found, ping) in any_instance()) {
        let mut facts = facts([found]);
        facts.nodes = ping
            .into_iter()
            .map(|ping| ("i-1".to_owned(), node(ping, now())))
            .collect();
        for action in actions(&facts, &default_policy()) {
            if let Action::Attach { instance, profile, .. } = action {
                facts.instances.get_mut(&instance).unwrap().profile = Some(profile);
            }
        }
        let again = actions(&facts, &default_policy());
        let attaches = again.iter().any(|action| matches!(action, Action::Attach { .. }));
        prop_assert!(!attaches);
    }
}
