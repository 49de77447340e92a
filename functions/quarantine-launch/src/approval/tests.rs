use std::collections::BTreeMap;

use super::*;
use crate::facts::Parameter;
use crate::fixtures::{BAD, GOOD, at, facts, image, instance, member, now, refused};
use crate::policy::tests::parse;
use crate::record::Approval;
use jiff::SignedDuration;
use proptest::prelude::*;

fn of(rules: &str, instance: &Instance, facts: &Facts) -> String {
    let policy = parse(rules).unwrap_or_else(|mistake| panic!("{rules}: {mistake}"));
    match verdict(instance, facts, &policy) {
        Verdict::Exempt(_) => "exempt".to_owned(),
        Verdict::Released => "released".to_owned(),
        Verdict::NothingApproved => "nothing".to_owned(),
        Verdict::Approved(_) => "approved".to_owned(),
        Verdict::ApprovedAtLaunch(_) => "approved at launch".to_owned(),
        Verdict::Undecided(unclear) => format!("undecided: {}", unclear.why),
        Verdict::Denied(_) => "denied".to_owned(),
        Verdict::Unapproved { nearest, unknown } => {
            let lacks = nearest
                .map(|(_, lacks)| lacks.join("; "))
                .unwrap_or_default();
            format!(
                "{}: {lacks}",
                if unknown { "unknown" } else { "unapproved" }
            )
        }
    }
}

/// An instance from an AMI with these changes.
fn launched(change: impl FnOnce(&mut Image)) -> (Instance, Facts) {
    let mut facts = facts([]);
    let mut changed = image("ami-1", GOOD);
    change(&mut changed);
    facts.images.insert("ami-1".to_owned(), changed);
    (instance("i-1").from("ami-1"), facts)
}

#[test]
fn each_selector_and_condition() {
    let own = |image: &mut Image| {
        image.owner = Some("111122223333".to_owned());
        image.owner_alias = None;
        image.tags = vec![("Approved".to_owned(), "yes".to_owned())];
    };
    let (amazons, facts) = launched(|_| {});
    let (owns, own_facts) = launched(own);
    for (rules, expected) in [
        ("{approve: [{ids: [ami-0, ami-1]}]}", "approved"),
        ("{approve: [{ids: ami-0}]}", "unapproved: its id is ami-1"),
        ("{approve: [{owner: amazon}]}", "approved"),
        (
            "{approve: [{owner: self}]}",
            "unapproved: its owner is amazon",
        ),
        ("{approve: [{owner: '137112412989'}]}", "approved"),
        (
            "{approve: [{owner: amazon, name: 'al2023-ami-2023.*'}]}",
            "approved",
        ),
        (
            "{approve: [{owner: amazon, name: ['x', 'al2023-ami-202?.*']}]}",
            "approved",
        ),
        (
            "{approve: [{owner: amazon, name: 'AL2023*'}]}",
            &format!("unapproved: its name is {GOOD}"),
        ),
        (
            "{approve: [{tag: Approved}]}",
            "unapproved: it has no tag Approved",
        ),
        (
            "{approve: [{owner: amazon, architecture: arm64}]}",
            "unapproved: its architecture is x86_64",
        ),
        (
            "{approve: [{owner: amazon, architecture: x86_64}]}",
            "approved",
        ),
        ("{approve: [{owner: amazon, max-age: 12d}]}", "approved"),
        (
            "{approve: [{owner: amazon, max-age: 11d}]}",
            "unapproved: it was created 2026-11-09T12:00:00Z, too long before",
        ),
        (
            "{approve: [{owner: amazon, scope: {vpc: vpc-1, subnet: [subnet-0, subnet-1]}}]}",
            "approved",
        ),
        (
            "{approve: [{owner: amazon, scope: {vpc: vpc-2}}]}",
            "unapproved: its VPC is vpc-1",
        ),
        (
            "{approve: [{owner: amazon, scope: {group: 'ecs-*'}}]}",
            "unapproved: it is in no Auto Scaling group",
        ),
        (
            "{approve: [{owner: amazon, scope: {tag: Team, values: [a]}}]}",
            "unapproved: the instance has no tag Team",
        ),
        (
            "{approve: [{owner: amazon}], deny: [{name: 'al2023-*'}]}",
            "denied",
        ),
        (
            "{approve: [{owner: amazon}], deny: [{name: 'al2023-*', scope: {vpc: vpc-2}}]}",
            "approved",
        ),
        (
            "{approve: [{owner: amazon}], deny: [{architecture: x86_64}]}",
            "denied",
        ),
        ("{deny: [{ids: ami-1}]}", "nothing"),
        // The rule that lacks least is the nearest.
        (
            "{approve: [{owner: self, name: none}, {owner: amazon, name: other}]}",
            &format!("unapproved: its name is {GOOD}"),
        ),
    ] {
        assert_eq!(of(rules, &amazons, &facts), expected, "{rules}");
    }
    for (rules, expected) in [
        ("{approve: [{owner: self}]}", "approved"),
        (
            "{approve: [{owner: self, tag: Approved, values: [yes]}]}",
            "approved",
        ),
        (
            "{approve: [{owner: self, tag: Approved, values: ['no']}]}",
            "unapproved: its tag Approved is yes",
        ),
        (
            "{approve: [{owner: amazon}]}",
            "unapproved: its owner is account 111122223333",
        ),
    ] {
        let rules = rules.replace("[yes]", "['yes']");
        assert_eq!(of(&rules, &owns, &own_facts), expected, "{rules}");
    }
}

#[test]
fn a_scope_by_group_lets_ecs_images_into_the_ecs_group_only() {
    let facts = facts([]);
    let rules = "{approve: [{owner: amazon, name: 'al2023-ami-ecs-*', scope: {group: 'ecs-*'}}]}";
    let inside = member("i-1", "ecs-cluster-1");
    let outside = member("i-1", "web");
    assert_eq!(of(rules, &inside, &facts), "approved");
    assert_eq!(of(rules, &outside, &facts), "unapproved: its group is web");
}

#[test]
fn roles_come_from_iam_and_a_failure_is_no_no() {
    let rules = "{approve: [{owner: amazon, scope: {role: 'ecs*'}}]}";
    let arn = "arn:aws:iam::1:instance-profile/p".to_owned();
    let one = Instance {
        profile: Some(arn.clone()),
        ..instance("i-1")
    };
    let mut facts = facts([]);
    facts
        .roles
        .insert(arn.clone(), Ok(vec!["ecsInstanceRole".to_owned()]));
    assert_eq!(of(rules, &one, &facts), "approved");
    facts.roles.insert(arn.clone(), Ok(vec!["web".to_owned()]));
    assert_eq!(of(rules, &one, &facts), "unapproved: its role is web");
    facts.roles.insert(arn, Err(refused("AccessDenied")));
    assert!(of(rules, &one, &facts).starts_with("undecided"));
    assert_eq!(
        of(rules, &instance("i-1"), &facts),
        "unapproved: it has no role"
    );
}

#[test]
fn deprecation_counts_at_the_launch() {
    let rules = "{approve: [{owner: amazon, not-deprecated: true}]}";
    let (one, facts) =
        launched(|image| image.deprecated = Some(now() + SignedDuration::from_hours(1)));
    assert_eq!(of(rules, &one, &facts), "approved");
    let (one, facts) =
        launched(|image| image.deprecated = Some(now() - SignedDuration::from_hours(1)));
    assert!(of(rules, &one, &facts).contains("it is deprecated since"));
}

#[test]
fn an_image_that_nobody_knows_is_unapproved_as_unknown_unless_its_id_is_approved() {
    let (one, mut facts) = launched(|_| {});
    facts
        .images
        .insert("ami-1".to_owned(), Image::unknown("ami-1"));
    assert_eq!(
        of("{approve: [{owner: amazon, name: x}]}", &one, &facts),
        "unknown: its owner isn't known; its name isn't known"
    );
    assert_eq!(of("{approve: [{ids: ami-1}]}", &one, &facts), "approved");
    facts.images.clear();
    assert!(of("{approve: [{ids: ami-1}]}", &one, &facts).starts_with("undecided"));
}

#[test]
fn a_parameter_approves_what_it_names_and_for_a_while_what_it_named() {
    let rules = "{approve: [{ssm-parameter: /golden, grace: 2d}]}";
    let (one, mut facts) = launched(|_| {});
    let mut named = |parameter| {
        facts.parameters = BTreeMap::from([("/golden".to_owned(), parameter)]);
        of(rules, &one, &facts)
    };
    let at = |hours: i64| now() - SignedDuration::from_hours(hours);
    let parameter = |image: &str, before: &[(&str, Timestamp)]| {
        Ok(Parameter {
            image: image.to_owned(),
            since: Some(at(1)),
            before: before
                .iter()
                .map(|(id, until)| ((*id).to_owned(), *until))
                .collect(),
        })
    };
    assert_eq!(named(parameter("ami-1", &[])), "approved");
    assert_eq!(named(parameter("ami-2", &[("ami-1", at(47))])), "approved");
    assert_eq!(
        named(parameter("ami-2", &[("ami-1", at(49))])),
        "unapproved: parameter /golden names ami-2"
    );
    for code in ["AccessDenied", "ParameterNotFound", "ThrottlingException"] {
        assert!(named(Err(refused(code))).starts_with("undecided"), "{code}");
    }
    facts.parameters.clear();
    assert!(of(rules, &one, &facts).starts_with("undecided"));
    // Another rule that approves makes up for it; a missing read is never a "no".
    let both = "{approve: [{ssm-parameter: /golden}, {owner: amazon}]}";
    assert_eq!(of(both, &one, &facts), "approved");
}

#[test]
fn an_earlier_release_of_a_public_parameter_has_its_grace() {
    const NAME: &str = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64";
    let rules = format!("{{approve: [{{ssm-parameter: {NAME}, grace: 2d}}]}}");
    let judged = |name: &str, owner: &str, hours: i64| {
        let (one, mut facts) = launched(|image| {
            image.name = Some(name.to_owned());
            image.owner = Some(owner.to_owned());
        });
        let mut latest = image("ami-2", "al2023-ami-2023.9.20251215.0-kernel-6.1-x86_64");
        latest.created = Some(now() - SignedDuration::from_hours(3));
        facts.images.insert("ami-2".to_owned(), latest);
        let parameter = Parameter {
            image: "ami-2".to_owned(),
            since: Some(now() - SignedDuration::from_hours(hours)),
            before: Vec::new(),
        };
        facts.parameters.insert(NAME.to_owned(), Ok(parameter));
        of(&rules, &one, &facts)
    };
    let amazon = "137112412989";
    assert_eq!(judged(GOOD, amazon, 1), "approved");
    assert!(
        judged(GOOD, amazon, 72).starts_with("unapproved"),
        "too late"
    );
    assert!(
        judged(GOOD, "999999999999", 1).starts_with("unapproved"),
        "whoAMI"
    );
    for other in [
        BAD,
        "al2023-ami-2023.9.20251208.0-kernel-6.12-x86_64",
        "al2023-ami-2023.9.20251208.0-kernel-6.1-arm64",
        "al2023-ami-minimal-2023.9.20251208.0-kernel-6.1-x86_64",
    ] {
        assert!(
            judged(other, amazon, 1).starts_with("unapproved"),
            "{other}"
        );
    }
}

#[test]
fn descent_counts_for_the_accounts_own_only() {
    let rules = "{approve: [{owner: amazon, name: 'al2023-ami-2023.*'}, {derived: true}]}";
    let (one, mut facts) = launched(|image| {
        image.name = Some("web-7".to_owned());
        image.owner = Some("111122223333".to_owned());
        image.owner_alias = None;
    });
    assert!(of(rules, &one, &facts).starts_with("undecided"), "not read");
    let mut chain = |ids: Result<Vec<String>, ApiError>| {
        facts.ancestry = BTreeMap::from([("ami-1".to_owned(), ids)]);
        of(rules, &one, &facts)
    };
    assert_eq!(chain(Ok(vec!["ami-good".to_owned()])), "approved");
    assert!(chain(Ok(vec!["ami-bad".to_owned()])).starts_with("unapproved"));
    assert!(chain(Ok(vec![])).starts_with("unapproved"));
    assert!(chain(Err(refused("RequestLimitExceeded"))).starts_with("undecided"));
    facts.ancestry = BTreeMap::from([("ami-1".to_owned(), Ok(vec!["ami-good".to_owned()]))]);
    let denied = "{approve: [{owner: amazon, name: 'al2023-ami-2023.*'}, {derived: true}], deny: [{name: 'al2023-ami-2023.9*'}]}";
    assert!(
        of(denied, &one, &facts).starts_with("unapproved"),
        "a denied ancestor"
    );
    // Without the opt-in descent is nothing.
    let without = "{approve: [{owner: amazon, name: 'al2023-ami-2023.*'}]}";
    assert!(of(without, &one, &facts).starts_with("unapproved"));
    facts.images.get_mut("ami-1").unwrap().owner = Some("999999999999".to_owned());
    assert!(
        of(rules, &one, &facts).starts_with("unapproved"),
        "a stranger's copy"
    );
}

#[test]
fn a_deny_rule_that_cant_be_judged_approves_nothing_and_refuses_nothing() {
    let rules = "{approve: [{owner: amazon}], deny: [{name: 'al2023*', scope: {role: web}}]}";
    let arn = "arn:aws:iam::1:instance-profile/p".to_owned();
    let (one, mut facts) = launched(|_| {});
    let one = Instance {
        profile: Some(arn.clone()),
        ..one
    };
    facts.roles.insert(arn, Err(refused("AccessDenied")));
    assert!(of(rules, &one, &facts).starts_with("undecided"));
}

#[test]
fn what_was_approved_at_the_launch_stays_so_whatever_changes() {
    let (one, mut facts) = launched(|image| image.name = Some(BAD.to_owned()));
    let narrow = "{approve: [{owner: amazon, name: 'al2023-ami-2023.*'}]}";
    let deny = "{approve: [{owner: amazon}], deny: [{name: '*'}]}";
    let golden = "{approve: [{ssm-parameter: /golden}]}";
    let approval = |image: &str| Approval {
        rule: "owner self".to_owned(),
        image: image.to_owned(),
        launched: at("11:59"),
    };
    facts
        .approvals
        .insert("i-1".to_owned(), approval("ami-other"));
    assert!(of(narrow, &one, &facts).starts_with("unapproved"));
    facts.approvals.insert("i-1".to_owned(), approval("ami-1"));
    for rules in [narrow, golden] {
        assert_eq!(of(rules, &one, &facts), "approved at launch", "{rules}");
    }
    // Whoever denies it now means those that run.
    assert!(of(deny, &one, &facts).starts_with("denied"));
    facts.images.clear();
    assert_eq!(of(narrow, &one, &facts), "approved at launch");
}

/// A person's release counts from the table, and only for its AMI.
#[test]
fn a_label_releases_nothing() {
    let rules = "{approve: [{owner: amazon, name: 'al2023-ami-2023.*'}]}";
    let one = instance("i-1").tagged("ec2-guardrails:released-image", "ami-bad");
    assert!(of(rules, &one, &facts([])).starts_with("unapproved"));
    let other = facts([]).released("i-1", "ami-other");
    assert!(of(rules, &one, &other).starts_with("unapproved"));
    let released = facts([]).released("i-1", "ami-bad");
    assert_eq!(of(rules, &one, &released), "released");
}

/// A read that failed stops the run, a parameter that isn't there is a mistake in the policy.
#[test]
fn a_failed_read_is_told_from_a_mistake() {
    let policy = parse("{approve: [{ssm-parameter: /golden}]}").unwrap();
    for (code, failed) in [("AccessDenied", true), (PARAMETER_NOT_FOUND, false)] {
        let (one, mut facts) = launched(|_| {});
        facts
            .parameters
            .insert("/golden".to_owned(), Err(refused(code)));
        let Verdict::Undecided(unclear) = verdict(&one, &facts, &policy) else {
            panic!("{code}");
        };
        assert_eq!(unclear.error.is_some(), failed, "{code}");
    }
    let (one, mut facts) = launched(|_| {});
    facts.images.clear();
    let unread = refused("RequestLimitExceeded");
    facts
        .images_unread
        .insert("ami-1".to_owned(), unread.clone());
    let unclear = verdict(&one, &facts, &policy);
    assert!(matches!(unclear, Verdict::Undecided(unclear) if unclear.error == Some(unread)));
}

fn rule() -> impl Strategy<Value = String> {
    let which = prop_oneof![
        Just("ids: ami-1".to_owned()),
        Just("ids: ami-2".to_owned()),
        Just("owner: amazon".to_owned()),
        Just("owner: self".to_owned()),
        Just("name: 'al2023-ami-2023.*'".to_owned()),
        Just("name: '*ecs*'".to_owned()),
        Just("tag: Approved".to_owned()),
    ];
    let scope = prop_oneof![
        Just(String::new()),
        Just(", scope: {vpc: vpc-1}".to_owned()),
        Just(", scope: {vpc: vpc-2}".to_owned()),
        Just(", architecture: arm64".to_owned()),
    ];
    (which, scope).prop_map(|(which, scope)| format!("{{{which}{scope}}}"))
}

fn launch() -> impl Strategy<Value = (Instance, Facts)> {
    (0..4usize, any::<bool>(), any::<bool>()).prop_map(|(kind, own, tagged)| {
        launched(|image| match kind {
            0 => {}
            1 => image.name = Some(BAD.to_owned()),
            2 => {
                if own {
                    image.owner = Some("111122223333".to_owned());
                    image.owner_alias = None;
                }
                if tagged {
                    image.tags.push(("Approved".to_owned(), String::new()));
                }
            }
            _ => *image = Image::unknown("ami-1"),
        })
    })
}

fn policy_of(approve: &[String], deny: &[String]) -> Policy {
    let document = format!(
        "{{approve: [{}], deny: [{}]}}",
        approve.join(", "),
        deny.join(", ")
    );
    parse(&document).unwrap()
}

proptest! {
    #[test]
    fn another_approve_rule_never_quarantines_more(
        (one, facts) in launch(),
        approve in proptest::collection::vec(rule(), 1..4),
        deny in proptest::collection::vec(rule(), 0..3),
        more in rule(),
    ) {
        let before = policy_of(&approve, &deny);
        let mut longer = approve.clone();
        longer.insert(0, more);
        let after = policy_of(&longer, &deny);
        if !verdict(&one, &facts, &before).is_unapproved() {
            prop_assert!(!verdict(&one, &facts, &after).is_unapproved());
        }
    }

    #[test]
    fn deny_wins(
        (one, facts) in launch(),
        approve in proptest::collection::vec(rule(), 1..4),
        deny in proptest::collection::vec(rule(), 0..3),
        more in rule(),
    ) {
        let before = policy_of(&approve, &deny);
        let mut longer = deny.clone();
        longer.push(more);
        let after = policy_of(&approve, &longer);
        if verdict(&one, &facts, &before).is_unapproved() {
            prop_assert!(verdict(&one, &facts, &after).is_unapproved());
        }
        let launch = Launch { image: &facts.images["ami-1"], instance: Some(&one), at: one.launched };
        if after.deny.iter().any(|rule| denies(rule, launch, &facts) == Applies::Yes) {
            prop_assert!(matches!(verdict(&one, &facts, &after), Verdict::Denied(_)));
        }
    }

    #[test]
    fn nothing_approved_quarantines_nothing(
        (one, facts) in launch(),
        deny in proptest::collection::vec(rule(), 0..3),
    ) {
        let policy = policy_of(&[], &deny);
        prop_assert!(!verdict(&one, &facts, &policy).is_unapproved());
    }
}
