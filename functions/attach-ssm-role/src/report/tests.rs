use super::*;
use crate::decide::decide;
use crate::diagnosis::tests::only_ssm_endpoint;
use crate::evaluate::evaluate;
use crate::facts::identity::{CHANNELS, NEEDED};
use crate::facts::network::Network;
use crate::facts::{Evidence, Facts};
use crate::fixtures::{
    OURS, THEIRS, at, default_policy, denied, facts, in_doubt, instance, listed, now, role,
    throttled, with_profile,
};
use guardrails::ec2::State;
use guardrails::guardrail::Step;

/// Sums up a run whose actions all came out so.
fn settled_as(facts: &Facts, outcome: Outcome) -> Assessment {
    let policy = default_policy();
    let evaluation = evaluate(facts, &policy, now());
    let decisions = decide(&evaluation);
    let actions = decisions.iter().filter_map(|one| match &one.step {
        Step::Act(action) => Some(Settled {
            action,
            outcome,
            note: None,
            effect: None,
        }),
        _ => None,
    });
    report(&evaluation, &actions.collect::<Vec<_>>())
}

fn sum_up(facts: &Facts) -> Assessment {
    settled_as(facts, Outcome::Done)
}

/// What the runner makes of it: of what isn't named too.
fn status_in(assessment: &Assessment, kind: &'static Kind, resource: &Resource) -> Status {
    let conditions = &assessment.conditions;
    let named = conditions
        .iter()
        .find(|one| one.kind == kind && one.resource == *resource);
    match (named, &assessment.coverage) {
        (Some(condition), _) => condition.status,
        (None, Coverage::All { kinds, present }) if kinds.contains(&kind) => {
            assert!(present.contains(resource), "{resource} is taken for gone");
            Status::Resolved
        }
        (None, _) => Status::Unknown,
    }
}

fn status(facts: &Facts, kind: &'static Kind) -> Status {
    status_in(&sum_up(facts), kind, &Resource::instance("i-1"))
}

fn group_status(facts: &Facts) -> Status {
    let web = Resource::group("web");
    status_in(&sum_up(facts), &NO_PROFILE_IN_TEMPLATE, &web)
}

/// The only condition that stands.
fn firing(facts: &Facts) -> Condition {
    let conditions = sum_up(facts).conditions;
    let mut firing = conditions
        .into_iter()
        .filter(|condition| condition.status == Status::Firing);
    let only = firing.next().expect("one stands");
    assert_eq!(firing.next(), None, "no more than one");
    only
}

/// A late instance of which nothing could be read but that its metadata service is off.
fn late() -> Facts {
    facts([with_profile("i-1", OURS).without_metadata()])
}

#[test]
fn a_late_instance_is_told_with_its_cause_and_cured_once_it_is_online() {
    let condition = firing(&late());
    assert_eq!(condition.kind, &UNMANAGED);
    assert_eq!(condition.fingerprint, "metadata-off i-1");
    let why = "because the instance metadata service is disabled";
    assert!(condition.why.starts_with(why), "{}", condition.why);
    assert_eq!(status(&late().online("i-1"), &UNMANAGED), Status::Resolved);
    // The same in the run of an event.
    assert_eq!(status(&late().of_an_event(), &UNMANAGED), Status::Firing);
    let cured = late().online("i-1").of_an_event();
    assert_eq!(status(&cured, &UNMANAGED), Status::Resolved);
}

#[test]
fn nothing_is_told_while_an_instance_may_still_come_online_or_is_stopped() {
    let off = || with_profile("i-1", OURS).without_metadata();
    for (what, instance) in [
        ("restarted", off().launched("11:50:00")),
        ("stopped", off().is(State::Stopped)),
    ] {
        let facts = facts([instance]);
        for kind in [&UNMANAGED, &UNUSABLE] {
            assert_eq!(status(&facts, kind), Status::Unknown, "{what}");
        }
    }
    assert_eq!(
        status(&late().quarantined("i-1"), &UNMANAGED),
        Status::Unknown
    );
}

#[test]
fn an_excluded_instance_is_no_longer_a_finding() {
    let facts = facts([with_profile("i-1", OURS)
        .without_metadata()
        .tagged("NoSsm", "")]);
    for kind in [&UNMANAGED, &UNUSABLE, &WITHOUT_PROFILE] {
        assert_eq!(status(&facts, kind), Status::Resolved, "{}", kind.name);
    }
}

#[test]
fn half_a_diagnosis_is_no_news_while_the_other_half_may_yet_be_read() {
    let mut facts = late();
    facts.network = Some(Err(throttled("ec2:DescribeVpcEndpoints")));
    assert_eq!(status(&facts, &UNMANAGED), Status::Unknown);
    // What is refused for good mustn't hide the instance.
    facts.network = Some(Err(denied("ec2:DescribeVpcEndpoints")));
    assert_eq!(status(&facts, &UNMANAGED), Status::Firing);
    // It may be managed as another node.
    facts.hybrid = Err(throttled("ssm:DescribeInstanceInformation"));
    assert_eq!(status(&facts, &UNMANAGED), Status::Unknown);
}

/// When it got its profile may be a minute ago.
#[test]
fn without_the_time_of_its_profile_an_instance_is_not_called_late() {
    let mut facts = late();
    facts.associated = Err(denied("ec2:DescribeIamInstanceProfileAssociations"));
    assert_eq!(status(&facts, &UNMANAGED), Status::Unknown);
    let facts = facts.attached("i-1", "09:00:00");
    assert_eq!(status(&facts, &UNMANAGED), Status::Firing, "remembered");
}

#[test]
fn what_may_be_in_quarantine_is_told_neither_late_nor_unusable() {
    for (mut facts, kind) in [(late(), &UNMANAGED), (cut_off(), &UNUSABLE)] {
        facts.quarantined = Err(denied("dynamodb:Query"));
        assert_eq!(status(&facts, kind), Status::Unknown, "{}", kind.name);
    }
}

#[test]
fn a_role_that_lacks_permissions_is_told_without_waiting_half_an_hour() {
    let waiting = with_profile("i-1", THEIRS).launched("11:50:00");
    let condition = firing(&facts([waiting]).role(THEIRS, role(&NEEDED)));
    let why = &condition.why;
    assert!(
        why.starts_with("because role web-role doesn't allow ssm:UpdateInstanceInformation, ssmmessages:CreateControlChannel"),
        "{why}"
    );
}

#[test]
fn an_online_node_without_message_channels_is_told() {
    let node = || facts([with_profile("i-1", THEIRS)]).online("i-1");
    let deaf = || node().role(THEIRS, role(&CHANNELS));
    let told = firing(&deaf().connected("i-1", false));
    assert_eq!(told.kind, &UNUSABLE);
    // What AWS proves outweighs what was simulated; without it nothing is told.
    assert_eq!(
        status(&deaf().connected("i-1", true), &UNUSABLE),
        Status::Resolved
    );
    assert_eq!(status(&deaf(), &UNUSABLE), Status::Unknown);
    let mut refused = deaf();
    let error = Err(denied("ssm:GetConnectionStatus"));
    refused.connections.insert("i-1".to_owned(), error);
    assert_eq!(status(&refused, &UNUSABLE), Status::Unknown);
    // Without the right to register it is Online by Default Host Management: all is well.
    let hosted = node().role(THEIRS, role(&NEEDED));
    assert_eq!(status(&hosted, &UNUSABLE), Status::Resolved);
}

#[test]
fn what_was_told_of_a_role_stands_while_the_role_cannot_be_read() {
    let mut facts = facts([with_profile("i-1", THEIRS)]).online("i-1");
    assert_eq!(status(&facts, &UNUSABLE), Status::Unknown);
    let unread = Err(denied("iam:GetInstanceProfile"));
    facts.identities.insert(THEIRS.to_owned(), unread);
    assert_eq!(status(&facts, &UNUSABLE), Status::Unknown);
    let facts = facts.role(THEIRS, role(&[]));
    assert_eq!(status(&facts, &UNUSABLE), Status::Resolved);
}

#[test]
fn a_group_is_told_once_however_many_members_it_has() {
    let with = |has_profile| {
        let members = ["i-1", "i-2", "i-3"].map(|id| instance(id).member_of("web"));
        facts(members).group("web", has_profile)
    };
    let condition = firing(&with(Some(Ok(false))));
    assert_eq!(
        condition.text(),
        "web: its launch template lt-1 version 3 names no instance profile, so each new member starts without one"
    );
    let refused = denied("ec2:DescribeLaunchTemplateVersions");
    assert_eq!(group_status(&with(Some(Err(refused)))), Status::Unknown);
    assert_eq!(group_status(&with(Some(Ok(true)))), Status::Resolved);
}

/// Scaled to nothing at night, a group isn't cured.
#[test]
fn of_a_group_whose_members_say_nothing_nothing_is_known() {
    let web =
        |members: Vec<crate::facts::Instance>| group_status(&facts(members).group("web", None));
    assert_eq!(web(vec![]), Status::Unknown);
    let starting = instance("i-1").member_of("web").is(State::Pending);
    assert_eq!(web(vec![starting]), Status::Unknown);
    let excluded = instance("i-1").member_of("web").tagged("NoSsm", "");
    assert_eq!(web(vec![excluded]), Status::Resolved);
    let mut unread = facts([]);
    unread.groups = Some(Err(denied("autoscaling:DescribeAutoScalingGroups")));
    assert_eq!(group_status(&unread), Status::Unknown, "not covered");
}

/// Several members start at the same moment: none of their events' runs sees what another tells.
#[test]
fn only_a_sweep_tells_of_a_group() {
    for id in ["i-1", "i-2", "i-3"] {
        let facts = facts([instance(id).member_of("web")]).of_an_event();
        assert_eq!(group_status(&facts), Status::Unknown, "the event of {id}");
    }
}

fn lacking(facts: &Facts, outcome: Outcome) -> Status {
    let assessment = settled_as(facts, outcome);
    status_in(&assessment, &WITHOUT_PROFILE, &Resource::instance("i-1"))
}

#[test]
fn in_mode_notify_an_instance_without_profile_is_told_until_it_has_one() {
    let lacks = facts([instance("i-1")]);
    assert_eq!(lacking(&lacks, Outcome::WouldDo), Status::Firing);
    assert_eq!(lacking(&lacks, Outcome::Done), Status::Resolved);
    for outcome in [Outcome::Failed, Outcome::Left, Outcome::Skipped] {
        assert_eq!(lacking(&lacks, outcome), Status::Unknown, "{outcome:?}");
    }
    let has = facts([with_profile("i-1", THEIRS)]);
    assert_eq!(lacking(&has, Outcome::WouldDo), Status::Resolved);
    let starting = facts([instance("i-1").is(State::Pending)]);
    assert_eq!(lacking(&starting, Outcome::WouldDo), Status::Unknown);
}

/// One cause, one notice.
#[test]
fn in_mode_notify_members_are_told_by_their_group_where_its_template_names_no_profile() {
    let with = |has_profile| facts([instance("i-1").member_of("web")]).group("web", has_profile);
    let status = |facts: &Facts| lacking(facts, Outcome::WouldDo);
    assert_eq!(status(&with(Some(Ok(false)))), Status::Resolved);
    let unread = denied("ec2:DescribeLaunchTemplateVersions");
    assert_eq!(status(&with(Some(Err(unread)))), Status::Unknown);
    let event = with(None).of_an_event();
    assert_eq!(status(&event), Status::Unknown, "the sweep knows");
    // It is older than the template.
    assert_eq!(status(&with(Some(Ok(true)))), Status::Firing);
}

/// A node Online in a VPC with an endpoint for `ssm` and none for `ssmmessages`.
fn cut_off() -> Facts {
    facts([with_profile("i-1", OURS)])
        .online("i-1")
        .role(OURS, role(&[]))
        .network(only_ssm_endpoint())
        .connected("i-1", false)
}

#[test]
fn an_online_node_without_a_way_to_its_message_channels_is_told_and_cured() {
    let condition = firing(&cut_off());
    assert_eq!(condition.fingerprint, "endpoint-missing vpc-1/ssmmessages");
    for part in [
        "it shows Online, but AWS says that no session can be opened with it, probably because vpc-1 has no endpoint for ssmmessages",
        "Create an interface endpoint for ssmmessages",
    ] {
        assert!(condition.why.contains(part), "{}", condition.why);
    }
    // Through Default Host Management too.
    let mut hosted = cut_off();
    hosted.instances.get_mut("i-1").unwrap().profile = None;
    assert_eq!(status(&hosted, &UNUSABLE), Status::Firing);

    let connected = cut_off().connected("i-1", true);
    assert_eq!(status(&connected, &UNUSABLE), Status::Resolved);
    let mut facts = cut_off();
    facts.connections.clear();
    assert_eq!(status(&facts, &UNUSABLE), Status::Unknown, "not asked");
    facts.network = Some(Err(denied("ec2:DescribeVpcEndpoints")));
    assert_eq!(status(&facts, &UNUSABLE), Status::Unknown);
    facts.network = None;
    assert_eq!(status(&facts, &UNUSABLE), Status::Resolved);
}

/// What was told of it isn't over because it can't be told any more.
#[test]
fn a_node_of_which_something_is_in_doubt_is_not_called_cured() {
    let of = |identity| {
        let node = facts([with_profile("i-1", OURS)]).online("i-1");
        status(&node.role(OURS, identity), &UNUSABLE)
    };
    let core = "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore";
    assert_eq!(of(in_doubt()), Status::Unknown);
    assert_eq!(of(listed(&[])), Status::Unknown);
    assert_eq!(of(listed(&[core])), Status::Resolved);
    // AWS's yes ends it. Its no is told only where something shows why, or where none was ever
    // possible: it may be that the agent is just being restarted.
    let asked = |connected| {
        let node = facts([with_profile("i-1", OURS)]).online("i-1");
        let node = node.role(OURS, in_doubt()).connected("i-1", connected);
        status(&node, &UNUSABLE)
    };
    assert_eq!(
        (asked(true), asked(false)),
        (Status::Resolved, Status::Unknown)
    );

    let unread = |shared_by: Option<&str>| {
        let mut network = only_ssm_endpoint();
        let vpc = network.vpcs.get_mut("vpc-1").unwrap();
        vpc.dns = Err(denied("ec2:DescribeVpcAttribute"));
        vpc.shared_by = shared_by.map(str::to_owned);
        let mut facts = cut_off().network(network);
        facts.connections.clear();
        status(&facts, &UNUSABLE)
    };
    assert_eq!(unread(None), Status::Unknown);
    // Of a VPC that is another account's nothing is ever seen.
    assert_eq!(unread(Some("444455556666")), Status::Resolved);
}

/// Others may have had their turn.
#[test]
fn a_node_that_had_no_session_yet_is_not_called_usable_unasked() {
    let node = || {
        let online = facts([with_profile("i-1", OURS)]).online("i-1");
        online.role(OURS, role(&[])).attached("i-1", "09:00:00")
    };
    assert_eq!(status(&node(), &UNUSABLE), Status::Unknown);
    let asked = node().connected("i-1", true);
    assert_eq!(status(&asked, &UNUSABLE), Status::Resolved);
}

/// Another cause would be told, and the first one again at the next sweep.
#[test]
fn no_other_cause_is_told_while_the_first_cannot_be_read() {
    let mut facts = cut_off().attached("i-1", "09:00:00");
    facts.memory.get_mut("i-1").unwrap().value.online = Some(at("09:30:00"));
    let missing = "endpoint-missing vpc-1/ssmmessages";
    assert_eq!(firing(&facts).fingerprint, missing);
    facts.network = Some(Err(throttled("ec2:DescribeNetworkAcls")));
    assert_eq!(status(&facts, &UNUSABLE), Status::Unknown);
    facts.network = Some(Err(denied("ec2:DescribeNetworkAcls")));
    assert_eq!(firing(&facts).fingerprint, "not-connected i-1");
}

/// A node that got its profile here: its channel comes up shortly after its first heartbeat.
#[test]
fn a_node_that_no_session_reaches_is_told_after_five_minutes_though_nothing_shows_why() {
    let seen = |online: &str| {
        facts([with_profile("i-1", OURS)])
            .online("i-1")
            .role(OURS, role(&[]))
            .remembered("i-1", "09:00:00", Some(online))
            .connected("i-1", false)
    };
    assert_eq!(status(&seen("11:57:00"), &UNUSABLE), Status::Unknown);
    let told = firing(&seen("11:50:00"));
    assert_eq!(told.fingerprint, "not-connected i-1");
    assert_eq!(told.kind, &UNUSABLE);
}

/// A machine that was registered by a hybrid activation is managed, as another node.
#[test]
fn an_instance_that_is_managed_as_a_hybrid_node_is_not_called_unmanaged() {
    let mut facts = late();
    let node = |address: &str| Ok([(address.to_owned(), "mi-1".to_owned())].into());
    facts.hybrid = node("10.0.1.10");
    assert_eq!(status(&facts, &UNMANAGED), Status::Resolved);
    facts.hybrid = node("10.0.1.11");
    assert_eq!(status(&facts, &UNMANAGED), Status::Firing);
    // Those launched from an image of it share the node, which has the address of one of them.
    facts.hybrid = node("10.0.1.10");
    let mut clone = with_profile("i-2", OURS);
    clone.interface.addresses = vec!["10.0.1.11".parse().unwrap()];
    facts.instances.insert("i-2".to_owned(), clone);
    let of = |id| status_in(&sum_up(&facts), &UNMANAGED, &Resource::instance(id));
    assert_eq!((of("i-1"), of("i-2")), (Status::Resolved, Status::Firing));
}

/// Under its name there is another one, of another id, which the instance never had.
#[test]
fn a_profile_that_was_made_again_is_gone() {
    let mut facts = facts([with_profile("i-1", THEIRS)]).role(THEIRS, role(&[]));
    facts.remade.insert("i-1".to_owned());
    assert_eq!(firing(&facts).fingerprint, "profile-gone web");
}

#[test]
fn counts_where_instances_stand() {
    let facts = facts([
        instance("i-new"),
        instance("i-out").tagged("NoSsm", ""),
        with_profile("i-online", OURS),
        with_profile("i-late", OURS),
        with_profile("i-waiting", OURS).launched("11:59:00"),
    ])
    .online("i-online");
    let assessment = sum_up(&facts);
    let counted = assessment.metrics.iter();
    let counted: Vec<(&str, u64)> = counted.map(|one| (one.name, one.value)).collect();
    assert_eq!(assessment.considered, 5);
    assert_eq!(
        counted,
        [
            ("InstancesManaged", 1),
            ("InstancesWaiting", 1),
            ("InstancesUnmanaged", 1),
            ("InstancesWithoutProfile", 1),
            ("InstancesLeftAlone", 1),
        ]
    );
}

#[test]
fn the_longest_time_to_online_is_measured() {
    let (facts, policy) = (facts([]), default_policy());
    let action = Action::Repair {
        role: "web-role".to_owned(),
        policy: "p".to_owned(),
    };
    let effects = [60, 3_600, 90].map(|after| Effect::Online { after });
    let settled = effects.each_ref().map(|effect| Settled {
        action: &action,
        outcome: Outcome::Done,
        note: None,
        effect: Some(effect),
    });
    let assessment = report(&evaluate(&facts, &policy, now()), &settled);
    let metric = assessment.metrics.last().unwrap();
    assert_eq!((metric.name, metric.value), ("SecondsToOnline", 3_600));
}

#[test]
fn a_diagnosis_that_was_asked_for_is_in_the_detail() {
    let mut facts = late()
        .of_an_event()
        .network(Network::default())
        .attached("i-1", "09:00:00");
    facts.diagnose = true;
    facts.evidence.insert("i-1".to_owned(), Evidence::default());
    let detail = sum_up(&facts).detail;
    assert_eq!(detail["standing"], "late");
    assert_eq!(detail["attached"], at("09:00:00").to_string());
    assert_eq!(detail["primary"]["code"], "metadata-off");
    assert_eq!(detail["primary"]["certainty"], "definite");
    facts.diagnose = false;
    assert!(sum_up(&facts).detail.is_null());
}

/// All that this guardrail tells, for whoever reviews the texts.
#[test]
fn the_notices_as_people_get_them() {
    let web = "i-0b1c2d3e4f5a69788";
    let unmanaged = with_profile(web, OURS).without_metadata();
    let unmanaged = sum_up(&facts([unmanaged.tagged("Name", "web")]));
    let many = (0..50).map(|n| with_profile(&format!("i-0a{n:015x}"), THEIRS));
    let many = sum_up(&facts(many).role(THEIRS, role(&NEEDED)));
    let unusable = sum_up(&cut_off());
    let lacking = facts([instance(web).tagged("Name", "web: blue")]);
    let lacking = settled_as(&lacking, Outcome::WouldDo);
    let member = instance(web).member_of("web");
    let grouped = sum_up(&facts([member]).group("web", Some(Ok(false))));
    let all = [unmanaged, many, unusable, lacking, grouped];
    let firing = |one: &Condition| one.status == Status::Firing;
    let mut each: Vec<Vec<Condition>> = all
        .into_iter()
        .map(|one| one.conditions.into_iter().filter(firing).collect())
        .collect();
    let resolved = KINDS.map(|kind| {
        let resource = match kind.name {
            "template-profile" => Resource::group("web"),
            _ => Resource::instance(web),
        };
        Condition::resolved(resource, kind)
    });
    each.push(resolved.to_vec());
    insta::assert_snapshot!(guardrails::notify::examples(crate::NAME, now(), &each));
}
