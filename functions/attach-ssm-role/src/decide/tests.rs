use super::*;
use crate::evaluate::evaluate;
use crate::facts::identity::{CHANNELS, Identity, NEEDED, Role};
use crate::facts::{Facts, Instance};
use crate::fixtures::{
    OURS, THEIRS, at, attach, default_policy, denied, facts, in_doubt, instance, now, policy, role,
    with_profile,
};
use crate::policy::Policy;
use guardrails::ec2::State;
use guardrails::guardrail::Step;
use proptest::prelude::*;

fn decided(facts: &Facts, policy: &Policy) -> Vec<Decision<Action>> {
    decide(&evaluate(facts, policy, now()))
}

fn actions(facts: &Facts, policy: &Policy) -> Vec<Action> {
    let decisions = decided(facts, policy).into_iter();
    let action = |decision: Decision<Action>| match decision.step {
        Step::Act(action) => Some(action),
        _ => None,
    };
    decisions.filter_map(action).collect()
}

/// A missing permission must not go unseen, whatever it was for.
#[test]
fn what_could_not_be_read_is_in_the_report() {
    let version = denied("ec2:DescribeLaunchTemplateVersions");
    let mut facts = facts([])
        .group("web", Some(Err(version)))
        .group("db", Some(Ok(true)));
    facts.network = Some(Err(denied("ec2:DescribeVpcEndpoints")));
    let role = denied("iam:GetInstanceProfile");
    facts.identities.insert(THEIRS.to_owned(), Err(role));
    let decisions = decided(&facts, &default_policy());
    let said: Vec<(String, bool)> = decisions
        .iter()
        .map(|decision| (decision.resource.to_string(), decision.step == Step::Leave))
        .collect();
    let account = || ("account".to_owned(), true);
    let web = ("auto-scaling-group/web".to_owned(), true);
    assert_eq!(said, [account(), account(), web]);
    for (decision, operation) in decisions.iter().zip([
        "ec2:DescribeVpcEndpoints",
        "iam:GetInstanceProfile",
        "ec2:DescribeLaunchTemplateVersions",
    ]) {
        let named = format!("allow {operation} in the function's role");
        assert!(decision.reason.contains(&named), "{}", decision.reason);
    }
}

/// Whether the policy's repair is called for isn't known then: the run must not pass for a success.
#[test]
fn a_role_that_cannot_be_read_is_no_success_where_roles_are_repaired() {
    let opted_in = policy("{repair-roles: true}");
    let mut facts = facts([with_profile("i-1", THEIRS)]).online("i-1");
    let unread = denied("iam:GetInstanceProfile");
    let identity = Err(unread.clone());
    facts.identities.insert(THEIRS.to_owned(), identity);
    let decisions = decided(&facts, &opted_in);
    assert_eq!(decisions[0].step, Step::CannotJudge(unread));

    // What it lacks was simulated, and the policy that would be attached may be there already.
    let unread = denied("iam:ListAttachedRolePolicies");
    let mut facts = lacking_channels();
    role_of(&mut facts).has_core = Err(unread.clone());
    let steps = decided(&facts, &opted_in).into_iter();
    let steps: Vec<_> = steps.map(|decision| decision.step).collect();
    assert_eq!(steps, [Step::Leave, Step::CannotJudge(unread)]);
}

/// One that is late, whose role lacks the message channels.
fn lacking_channels() -> Facts {
    facts([with_profile("i-1", THEIRS)]).role(THEIRS, role(&CHANNELS))
}

fn role_of(facts: &mut Facts) -> &mut Role {
    match facts.identities.get_mut(THEIRS) {
        Some(Ok(Identity::Role(role))) => role,
        other => panic!("a role: {other:?}"),
    }
}

#[test]
fn only_instances_without_profile_get_one() {
    let facts = facts([
        instance("i-new"),
        with_profile("i-ours", OURS),
        with_profile("i-theirs", THEIRS),
        instance("i-out").tagged("NoSsm", "yes"),
        instance("i-quarantined"),
    ])
    .quarantined("i-quarantined");
    assert_eq!(actions(&facts, &default_policy()), [attach("i-new")]);
}

#[test]
fn where_quarantines_could_not_be_read_nothing_is_attached_or_repaired() {
    let unread = denied("dynamodb:Query");
    let lacks = with_profile("i-2", THEIRS);
    let mut facts = facts([instance("i-1"), lacks])
        .online("i-2")
        .role(THEIRS, role(&CHANNELS));
    facts.quarantined = Err(unread.clone());
    let decisions = decided(&facts, &policy("{repair-roles: true}"));
    let cannot: Vec<_> = decisions
        .iter()
        .map(|decision| (decision.resource.to_string(), decision.step.clone()))
        .collect();
    let of = |resource: &str| (resource.to_owned(), Step::CannotJudge(unread.clone()));
    assert_eq!(cannot, [of("i-1"), of("account")]);
}

#[test]
fn a_node_seen_online_first_is_noted_once() {
    let facts = facts(["i-1", "i-2", "i-3"].map(|id| with_profile(id, OURS)))
        .online("i-1")
        .attached("i-1", "11:30:00")
        .online("i-2")
        .remembered("i-2", "11:00:00", Some("11:30:00"))
        .online("i-3");
    let found = actions(&facts, &default_policy());
    let confirm = Action::Confirm {
        instance: "i-1".to_owned(),
        managed: Managed {
            attached: at("11:30:00"),
            online: Some(now()),
            connected: false,
        },
        launched: Some(at("08:00:00")),
        at: now(),
        read: facts.memory["i-1"].version.clone(),
    };
    assert_eq!(found, [confirm]);
}

#[test]
fn roles_are_repaired_only_where_the_policy_says_so_and_once_each() {
    let mut facts = lacking_channels();
    let second = with_profile("i-2", THEIRS);
    facts.instances.insert("i-2".to_owned(), second);
    assert_eq!(actions(&facts, &default_policy()), []);
    let opted_in = policy("{repair-roles: true}");
    let repair = Action::Repair {
        role: "web-role".to_owned(),
        policy: "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore".to_owned(),
    };
    assert_eq!(actions(&facts, &opted_in), [repair]);
    // A deny that stands in spite of the policy isn't cured by attaching it again and again.
    role_of(&mut facts).has_core = Ok(true);
    assert_eq!(actions(&facts, &opted_in), []);
}

#[test]
fn a_role_without_faults_or_of_an_excluded_instance_is_not_repaired() {
    let opted_in = policy("{repair-roles: true, exclude: {tag: NoSsm}}");
    let healthy = facts([with_profile("i-1", THEIRS)]).role(THEIRS, role(&[]));
    assert_eq!(actions(&healthy, &opted_in), []);
    let excluded = with_profile("i-1", THEIRS).tagged("NoSsm", "");
    let excluded = facts([excluded]).role(THEIRS, role(&NEEDED));
    assert_eq!(actions(&excluded, &opted_in), []);
}

/// Seen Online before, and now AWS says for the first time that a session can be opened.
#[test]
fn the_first_session_that_is_possible_is_noted_once() {
    let online = |connected| {
        let mut facts = facts([with_profile("i-1", OURS)])
            .online("i-1")
            .remembered("i-1", "09:00:00", Some("10:00:00"))
            .connected("i-1", connected);
        facts.memory.get_mut("i-1").unwrap().value.connected = false;
        actions(&facts, &default_policy())
    };
    match online(true).as_slice() {
        // And there is no second time to Online.
        [
            Action::Confirm {
                managed,
                launched: None,
                ..
            },
        ] => {
            let known = (managed.online, managed.connected);
            assert_eq!(known, (Some(at("10:00:00")), true));
        }
        other => panic!("noted: {other:?}"),
    }
    assert_eq!(online(false), []);
}

/// What makes it wrong to give a role more rights: it has them, it works, or somebody else carries
/// the node.
#[test]
fn only_a_role_that_lacks_something_for_certain_is_repaired() {
    let opted_in = policy("{repair-roles: true}");
    let of = |instance: Instance, identity: Identity| facts([instance]).role(THEIRS, identity);
    let late = || with_profile("i-1", THEIRS);
    let waiting = || late().launched("11:50:00");
    let lacks_all = || of(late(), role(&NEEDED));
    let deaf = || lacking_channels().online("i-1");
    for (what, facts, repairs) in rows! {
        "lacks all", lacks_all() => 1;
        "simulation in doubt", of(late(), in_doubt()) => 0;
        "Online in spite of it", lacks_all().online("i-1") => 0;
        "before half an hour", of(waiting(), role(&NEEDED)) => 1;
        "hosted, before half an hour", of(waiting(), role(&NEEDED)).hosted() => 0;
        "hosted, and still not Online", lacks_all().hosted() => 1;
        "hosted and Online", lacks_all().hosted().online("i-1") => 0;
        "Online without channels", deaf() => 0;
        "and AWS says so", deaf().connected("i-1", false) => 1;
        "but AWS says otherwise", deaf().connected("i-1", true) => 0;
    } {
        assert_eq!(actions(&facts, &opted_in).len(), repairs, "{what}");
    }
}

/// An instance for which nobody knows whether Default Host Management carries it gets no profile
/// before it had its time.
#[test]
fn a_profile_is_attached_only_where_nobody_else_is_about_to() {
    let grace = policy("{attach-after: 10m}");
    let plain = default_policy();
    let since = |time: &str| facts([instance("i-1").launched(time)]);
    let mut unread = since("11:58:00");
    unread.dhmc = Err(denied("ssm:GetServiceSetting"));
    let hosted = |time: &str| since(time).hosted();
    for (what, facts, policy, attached) in rows! {
        "just started", since("11:58:00"), &plain => true;
        "in its grace", since("11:58:00"), &grace => false;
        "after its grace", since("11:49:00"), &grace => true;
        "hosted, in time", hosted("11:40:00"), &plain => false;
        "hosted, and not Online in time", hosted("11:20:00"), &plain => true;
        "hosted, lost a moment ago", hosted("08:00:00").lost("i-1", "11:50:00"), &plain => false;
        "hosted, lost an hour ago", hosted("08:00:00").lost("i-1", "11:00:00"), &plain => true;
        "perhaps hosted", unread, &plain => false;
    } {
        assert_eq!(!actions(&facts, policy).is_empty(), attached, "{what}");
    }
    // Nobody sees whether it is carried before it runs.
    let stopped = facts([instance("i-1").is(State::Stopped)]).hosted();
    assert_eq!(actions(&stopped, &plain), []);
}

#[test]
fn what_the_policy_names_is_left_alone() {
    let named = policy("{leave-alone: {images: [ami-1], groups: [web], vpcs: [vpc-1]}}");
    let other = policy(
        "{exclude: {tag: NoSsm}, leave-alone: {images: [ami-2], groups: [db], vpcs: [vpc-2]}}",
    );
    let facts = facts([instance("i-1").member_of("web")]);
    assert_eq!(actions(&facts, &named), []);
    assert_eq!(actions(&facts, &other), [attach("i-1")]);
}

#[test]
fn a_role_made_a_minute_ago_may_still_be_on_its_way() {
    let just_started = with_profile("i-1", THEIRS).launched("11:58:00");
    let facts = facts([just_started]).role(THEIRS, role(&NEEDED));
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
            let mut one = instance("i-1").is(state);
            one.profile.clone_from(&profile);
            let decisions = decided(&facts([one]).of_an_event(), &default_policy());
            assert_eq!(decisions.len(), 1, "{state:?} {profile:?}");
        }
    }
}

#[derive(Debug, Clone)]
struct Any {
    instance: Instance,
    ping: Option<&'static str>,
    quarantined: bool,
    attached: bool,
}

impl Any {
    fn facts(&self) -> Facts {
        let mut facts = facts([self.instance.clone()]);
        if let Some(ping) = self.ping {
            facts = facts.pinged("i-1", ping, "12:00:00");
        }
        if self.quarantined {
            facts = facts.quarantined("i-1");
        }
        if self.attached {
            facts = facts.attached("i-1", "11:00:00");
        }
        facts
    }
}

/// Tags that somebody may have written, of which only the policy's own says anything.
const TAGS: [&str; 3] = [
    "NoSsm",
    "ec2-guardrails:quarantined",
    "ec2-guardrails:managed-node",
];

prop_compose! {
    fn any_instance()(
        state in prop::sample::select(vec![
            State::Pending, State::Running, State::Stopping, State::Stopped, State::Terminal,
        ]),
        profile in prop::option::of(prop::sample::select(vec![OURS, THEIRS])),
        tag in prop::option::of(prop::sample::select(TAGS.to_vec())),
        operated in any::<bool>(),
        quarantined in any::<bool>(),
        attached in any::<bool>(),
        ping in prop::option::of(prop::sample::select(vec!["Online", "ConnectionLost", "Inactive"])),
        hour in 0_u8..12,
    ) -> Any {
        let mut instance = instance("i-1").is(state).launched(&format!("{hour:02}:00:00"));
        instance.profile = profile.map(str::to_owned);
        if operated {
            instance = instance.operated();
        }
        if let Some(key) = tag {
            instance = instance.tagged(key, "complete 2026-11-21T11:00:00Z");
        }
        Any { instance, ping, quarantined, attached }
    }
}

fn attaches(facts: &Facts) -> bool {
    let actions = actions(facts, &default_policy());
    actions
        .iter()
        .any(|action| matches!(action, Action::Attach { .. }))
}

proptest! {
    /// Whatever else holds: no instance with a profile, or that isn't ours to change, is touched.
    #[test]
    fn nothing_but_an_instance_that_lacks_a_profile_is_attached_one(one in any_instance()) {
        let Any { instance, ping, quarantined, .. } = &one;
        let may = instance.profile.is_none()
            && matches!(instance.state, State::Running | State::Stopped)
            && instance.operator.is_none()
            && instance.tag("NoSsm").is_none()
            && !quarantined
            && !(instance.state == State::Running && *ping == Some("Online"));
        prop_assert_eq!(attaches(&one.facts()), may);
    }

    /// Nothing is decided otherwise for a tag of our prefix.
    #[test]
    fn tags_of_our_prefix_change_no_decision(one in any_instance()) {
        let before = one.facts();
        let mut after = before.clone();
        let instance = after.instances.get_mut("i-1").unwrap();
        instance.tags.retain(|(key, _)| key == "NoSsm");
        prop_assert_eq!(decided(&before, &default_policy()), decided(&after, &default_policy()));
    }

    /// Where quarantines couldn't be read, nothing is attached.
    #[test]
    fn what_may_be_in_quarantine_is_attached_none(one in any_instance()) {
        let mut facts = one.facts();
        facts.quarantined = Err(denied("dynamodb:Query"));
        prop_assert!(!attaches(&facts));
    }

    /// Deciding again after the associations have been made finds nothing more to attach.
    #[test]
    fn what_was_attached_is_not_attached_again(one in any_instance()) {
        let mut facts = one.facts();
        for action in actions(&facts, &default_policy()) {
            if let Action::Attach { instance, profile, .. } = action {
                facts.instances.get_mut(&instance).unwrap().profile = Some(profile);
            }
        }
        prop_assert!(!attaches(&facts));
    }
}
