use super::*;
use crate::decide::tests::{
    OURS, THEIRS, at, default_policy, facts, instance, node, now, role, tagged, with_profile,
};
use crate::diagnosis::identity::CHANNELS;
use crate::diagnosis::network::Network;
use crate::diagnosis::tests::only_ssm_endpoint;
use crate::facts::{Evidence, Group};
use guardrails::aws::{ApiError, ErrorKind};
use guardrails::ec2::State;
use guardrails::finding::{News, news};

fn sum_up(facts: &Facts) -> Assessment {
    assess(facts, &default_policy(), now(), &[])
}

/// What would be told: `+kind resource` for what stands, `-kind resource` for what is cured.
fn told_now(facts: &Facts) -> Vec<String> {
    let assessment = sum_up(facts);
    news(&assessment.findings, &assessment.told)
        .iter()
        .map(|item| {
            let sign = match item {
                News::Stands(_) => '+',
                News::Cured(_) => '-',
            };
            format!("{sign}{} {}", item.kind().name, item.resource())
        })
        .collect()
}

/// A late instance of which nothing could be read but that its metadata service is off.
fn late(tag: Option<&str>) -> Facts {
    let mut instance = with_profile("i-1", OURS);
    instance.metadata = false;
    if let Some(state) = tag {
        instance = tagged(instance, &UNMANAGED.tag(), state);
    }
    facts([instance])
}

#[test]
fn a_late_instance_is_told_once_again_when_its_cause_changes_and_once_when_cured() {
    assert_eq!(told_now(&late(None)), ["+unmanaged i-1"]);
    assert_eq!(told_now(&late(Some("metadata-off i-1"))), [""; 0]);
    assert_eq!(told_now(&late(Some("no-route rtb-1"))), ["+unmanaged i-1"]);
    let mut cured = late(Some("metadata-off i-1"));
    cured.nodes.insert("i-1".to_owned(), node("Online", now()));
    assert_eq!(told_now(&cured), ["-unmanaged i-1"]);
}

#[test]
fn nothing_is_told_while_an_instance_may_still_come_online_or_is_stopped() {
    for (what, launched, state) in [
        ("restarted", at("11:50:00"), State::Running),
        ("stopped", at("08:00:00"), State::Stopped),
    ] {
        for tag in [None, Some("metadata-off i-1")] {
            let mut facts = late(tag);
            let instance = facts.instances.get_mut("i-1").unwrap();
            instance.launched = launched;
            instance.state = state;
            assert_eq!(told_now(&facts), [""; 0], "{what} {tag:?}");
        }
    }
}

#[test]
fn an_excluded_instance_is_no_longer_a_finding() {
    let mut facts = late(Some("metadata-off i-1"));
    let instance = facts.instances.remove("i-1").unwrap();
    let instance = tagged(instance, "NoSsm", "");
    facts.instances.insert("i-1".to_owned(), instance);
    assert_eq!(told_now(&facts), ["-unmanaged i-1"]);
}

#[test]
fn half_a_diagnosis_is_no_news() {
    let mut facts = late(Some("no-route rtb-1"));
    facts.network = Some(Err(ApiError {
        operation: "ec2:DescribeVpcEndpoints",
        code: "RequestLimitExceeded".to_owned(),
        message: "slow down".to_owned(),
        kind: ErrorKind::Throttled,
    }));
    assert_eq!(told_now(&facts), [""; 0]);
}

fn denied(operation: &'static str) -> ApiError {
    ApiError {
        operation,
        code: "UnauthorizedOperation".to_owned(),
        message: "no".to_owned(),
        kind: ErrorKind::Denied,
    }
}

#[test]
fn a_role_that_lacks_permissions_is_told_without_waiting_half_an_hour() {
    let mut facts = facts([Instance {
        launched: at("11:50:00"),
        ..with_profile("i-1", THEIRS)
    }]);
    facts
        .identities
        .insert(THEIRS.to_owned(), Ok(role(&identity::NEEDED)));
    let assessment = sum_up(&facts);
    let text = &assessment.findings[0].text;
    assert!(
        text.starts_with("i-1: because role web-role doesn't allow ssm:UpdateInstanceInformation, ssmmessages:CreateControlChannel"),
        "{text}"
    );
}

#[test]
fn an_online_node_without_message_channels_is_told() {
    let mut facts = facts([with_profile("i-1", THEIRS)]);
    facts.nodes.insert("i-1".to_owned(), node("Online", now()));
    facts
        .identities
        .insert(THEIRS.to_owned(), Ok(role(&CHANNELS)));
    assert_eq!(told_now(&facts), ["+unusable i-1"]);
    // Without the right to register it is Online by Default Host Management: all is well.
    facts
        .identities
        .insert(THEIRS.to_owned(), Ok(role(&identity::NEEDED)));
    assert_eq!(told_now(&facts), [""; 0]);
}

#[test]
fn what_was_told_of_a_role_stands_while_the_role_cannot_be_read() {
    let instance = tagged(
        with_profile("i-1", THEIRS),
        &UNUSABLE.tag(),
        "web-role ssmmessages:CreateControlChannel",
    );
    let mut facts = facts([instance]);
    facts.nodes.insert("i-1".to_owned(), node("Online", now()));
    assert_eq!(told_now(&facts), [""; 0]);
    facts.identities.insert(THEIRS.to_owned(), Ok(role(&[])));
    assert_eq!(told_now(&facts), ["-unusable i-1"]);
}

#[test]
fn a_group_is_told_once_however_many_members_it_has() {
    let member = |id: &str| tagged(instance(id), "aws:autoscaling:groupName", "web");
    let mut facts = facts([member("i-1"), member("i-2"), member("i-3")]);
    let mut group = Group {
        source: "launch template lt-1 version 3".to_owned(),
        has_profile: Ok(false),
        told: None,
    };
    let with = |facts: &mut Facts, group: &Group| {
        facts.groups.insert("web".to_owned(), group.clone());
        told_now(facts)
    };
    assert_eq!(
        with(&mut facts, &group),
        ["+template-profile auto-scaling-group/web"]
    );
    group.told = Some("launches without instance profile".to_owned());
    assert_eq!(with(&mut facts, &group), [""; 0]);
    group.has_profile = Err(denied("ec2:DescribeLaunchTemplateVersions"));
    assert_eq!(with(&mut facts, &group), [""; 0], "couldn't be read");
    group.has_profile = Ok(true);
    assert_eq!(
        with(&mut facts, &group),
        ["-template-profile auto-scaling-group/web"]
    );
}

/// Several members start at the same moment: none of their events' runs sees what another tells.
#[test]
fn only_a_sweep_tells_of_a_group() {
    let member = |id: &str| tagged(instance(id), "aws:autoscaling:groupName", "web");
    let group = Group {
        source: "launch template lt-1 version 3".to_owned(),
        has_profile: Ok(false),
        told: None,
    };
    let with = |complete: bool, members: &[&str]| {
        let mut facts = facts(members.iter().map(|id| member(id)));
        facts.complete = complete;
        facts.groups.insert("web".to_owned(), group.clone());
        told_now(&facts)
    };
    for id in ["i-1", "i-2", "i-3"] {
        assert_eq!(with(false, &[id]), [""; 0], "the event of {id}");
    }
    assert_eq!(
        with(true, &["i-1", "i-2", "i-3"]),
        ["+template-profile auto-scaling-group/web"]
    );
}

/// A node Online in a VPC with an endpoint for `ssm` and none for `ssmmessages`.
fn cut_off(tag: Option<&str>) -> Facts {
    let mut instance = with_profile("i-1", OURS);
    if let Some(state) = tag {
        instance = tagged(instance, &UNUSABLE.tag(), state);
    }
    let mut facts = facts([instance]);
    facts.nodes.insert("i-1".to_owned(), node("Online", now()));
    facts.identities.insert(OURS.to_owned(), Ok(role(&[])));
    facts.network = Some(Ok(only_ssm_endpoint()));
    facts
}

#[test]
fn an_online_node_without_a_way_to_its_message_channels_is_told_once_and_cured_once() {
    let mut facts = cut_off(None);
    let assessment = sum_up(&facts);
    let text = &assessment.findings[0].text;
    assert!(
        text.starts_with("i-1: it shows Online, but can't be reached, because vpc-1 has no endpoint for ssmmessages"),
        "{text}"
    );
    assert!(
        text.contains("Create an interface endpoint for ssmmessages"),
        "{text}"
    );
    assert_eq!(told_now(&facts), ["+unusable i-1"]);
    // Through Default Host Management too.
    facts.instances.get_mut("i-1").unwrap().profile = None;
    assert_eq!(told_now(&facts), ["+unusable i-1"]);

    let state = Some("endpoint-missing vpc-1/ssmmessages");
    assert_eq!(told_now(&cut_off(state)), [""; 0]);
    let mut cured = cut_off(state);
    cured.network = Some(Err(denied("ec2:DescribeVpcEndpoints")));
    assert_eq!(told_now(&cured), [""; 0], "nobody knows");
    cured.network = None;
    assert_eq!(told_now(&cured), ["-unusable i-1"]);
}

#[test]
fn counts_where_instances_stand() {
    let mut facts = facts([
        instance("i-new"),
        tagged(instance("i-out"), "NoSsm", ""),
        with_profile("i-online", OURS),
        with_profile("i-late", OURS),
        Instance {
            launched: at("11:59:00"),
            ..with_profile("i-waiting", OURS)
        },
    ]);
    facts
        .nodes
        .insert("i-online".to_owned(), node("Online", now()));
    let assessment = sum_up(&facts);
    let counted: Vec<(&str, u64)> = assessment
        .metrics
        .iter()
        .map(|metric| (metric.name, metric.value))
        .collect();
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
fn the_time_to_online_runs_from_the_start_or_the_profile() {
    let attached = Mark::Attached(at("11:00:00")).value();
    let facts = facts([tagged(
        with_profile("i-1", OURS),
        guardrails::tags::MANAGED_NODE,
        &attached,
    )]);
    let action = Action::Confirm {
        instance: "i-1".to_owned(),
        at: now(),
    };
    let settled = [Settled {
        action: &action,
        outcome: Outcome::Done,
        note: None,
    }];
    let assessment = assess(&facts, &default_policy(), now(), &settled);
    let metric = assessment.metrics.last().unwrap();
    assert_eq!((metric.name, metric.value), ("SecondsToOnline", 3_600));
}

#[test]
fn a_diagnosis_that_was_asked_for_is_in_the_detail() {
    let mut facts = late(None);
    facts.asked = Some("i-1".to_owned());
    facts.diagnose = true;
    facts.evidence.insert("i-1".to_owned(), Evidence::default());
    facts.network = Some(Ok(Network::default()));
    let detail = sum_up(&facts).detail;
    assert_eq!(detail["standing"], "late");
    assert_eq!(detail["primary"]["code"], "metadata-off");
    assert_eq!(detail["primary"]["certainty"], "definite");
    facts.asked = Some("i-9".to_owned());
    let detail = sum_up(&facts).detail;
    assert!(
        detail["problem"]
            .as_str()
            .unwrap()
            .contains("no such instance")
    );
    facts.diagnose = false;
    assert!(sum_up(&facts).detail.is_null());
}

/// All that this guardrail tells, for whoever reviews the texts.
#[test]
fn the_notices_as_people_get_them() {
    let web = "i-0b1c2d3e4f5a69788";
    let named = |one: Instance| tagged(one, "Name", "web");
    let mut off = with_profile(web, OURS);
    off.metadata = false;
    let unmanaged = sum_up(&facts([named(off)]));
    let mut role_lacks = facts((0..50).map(|n| with_profile(&format!("i-0a{n:015x}"), THEIRS)));
    let denied = Ok(role(&identity::NEEDED));
    role_lacks.identities.insert(THEIRS.to_owned(), denied);
    let many = sum_up(&role_lacks);
    let unusable = sum_up(&cut_off(None));
    let member = tagged(instance(web), "aws:autoscaling:groupName", "web");
    let mut grouped = facts([member]);
    let group = Group {
        source: "launch template lt-0a1b2c3d4e5f60718 version 3".to_owned(),
        has_profile: Ok(false),
        told: None,
    };
    grouped.groups.insert("web".to_owned(), group);
    let grouped = sum_up(&grouped);
    let told = [
        (&UNMANAGED, web),
        (&UNUSABLE, web),
        (&NO_PROFILE_IN_TEMPLATE, "auto-scaling-group/web"),
    ]
    .map(|(kind, resource)| Told {
        resource: resource.to_owned(),
        kind,
        state: String::new(),
        gone: false,
    });
    let mut each: Vec<Vec<News<'_>>> = [&unmanaged, &many, &unusable, &grouped]
        .iter()
        .map(|one| one.findings.iter().map(News::Stands).collect())
        .collect();
    each.push(told.iter().map(News::Cured).collect());
    insta::assert_snapshot!(guardrails::notify::examples(crate::NAME, now(), &each));
}
