use std::collections::BTreeMap;

use super::*;
use crate::facts::{Ancestor, Parameter};
use crate::fixtures::{BAD, GOOD, at, facts, image, instance, member, now, refused, unseen};
use crate::policy::tests::parse;
use crate::record::Seen;
use jiff::SignedDuration;
use proptest::prelude::*;

fn of(rules: &str, instance: &Instance, facts: &Facts) -> String {
    let policy = parse(rules).unwrap_or_else(|mistake| panic!("{rules}: {mistake}"));
    match verdict(instance, facts, &policy, now()) {
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

/// The account's own.
fn own(image: &mut Image) {
    image.owner = Some("111122223333".to_owned());
    image.owner_alias = None;
}

fn tagged(image: &mut Image) {
    image.tags = vec![("Approved".to_owned(), "yes".to_owned())];
}

/// With one rule that approves.
fn approving(rule: &str) -> String {
    format!("{{approve: [{{{rule}}}]}}")
}

#[test]
fn each_selector_and_condition() {
    let (amazons, facts) = launched(|_| {});
    let other_name = format!("unapproved: its name is {GOOD}");
    for (rule, expected) in [
        ("ids: [ami-0, ami-1]", "approved"),
        ("ids: ami-0", "unapproved: its id is ami-1"),
        ("owner: amazon", "approved"),
        ("owner: self", "unapproved: its owner is amazon"),
        ("owner: '137112412989'", "approved"),
        ("owner: amazon, name: 'al2023-ami-2023.*'", "approved"),
        (
            "owner: amazon, name: ['x', 'al2023-ami-202?.*']",
            "approved",
        ),
        ("owner: amazon, name: 'AL2023*'", &other_name),
        ("tag: Approved", "unapproved: it has no tag Approved"),
        (
            "owner: amazon, architecture: arm64",
            "unapproved: its architecture is x86_64",
        ),
        ("owner: amazon, architecture: x86_64", "approved"),
        ("owner: amazon, max-age: 12d", "approved"),
        (
            "owner: amazon, max-age: 11d",
            "unapproved: it was created 2026-11-09T12:00:00Z, too long before",
        ),
        (
            "owner: amazon, scope: {vpc: vpc-1, subnet: [subnet-0, subnet-1]}",
            "approved",
        ),
        (
            "owner: amazon, scope: {vpc: vpc-2}",
            "unapproved: its VPC is vpc-1",
        ),
        (
            "owner: amazon, scope: {group: 'ecs-*'}",
            "unapproved: it is in no Auto Scaling group",
        ),
        (
            "owner: amazon, scope: {tag: Team, values: [a]}",
            "unapproved: the instance has no tag Team",
        ),
    ] {
        assert_eq!(of(&approving(rule), &amazons, &facts), expected, "{rule}");
    }
    for (rules, expected) in [
        (
            "approve: [{owner: amazon}], deny: [{name: 'al2023-*'}]",
            "denied",
        ),
        (
            "approve: [{owner: amazon}], deny: [{name: 'al2023-*', scope: {vpc: vpc-2}}]",
            "approved",
        ),
        (
            "approve: [{owner: amazon}], deny: [{architecture: x86_64}]",
            "denied",
        ),
        ("deny: [{ids: ami-1}]", "nothing"),
        // The rule that lacks least is the nearest.
        (
            "approve: [{owner: self, name: none}, {owner: amazon, name: other}]",
            &other_name,
        ),
    ] {
        let rules = format!("{{{rules}}}");
        assert_eq!(of(&rules, &amazons, &facts), expected, "{rules}");
    }
    let (owns, facts) = launched(|image| {
        own(image);
        tagged(image);
    });
    for (rule, expected) in [
        ("owner: self", "approved"),
        ("owner: self, tag: Approved, values: ['yes']", "approved"),
        (
            "owner: self, tag: Approved, values: ['no']",
            "unapproved: its tag Approved is yes",
        ),
        (
            "owner: amazon",
            "unapproved: its owner is account 111122223333",
        ),
    ] {
        assert_eq!(of(&approving(rule), &owns, &facts), expected, "{rule}");
    }
}

#[test]
fn a_product_of_the_marketplace_is_known_by_its_code() {
    let rules = "{approve: [{owner: aws-marketplace, product-code: [aw0evgkw8e5c1q413zgy5pjce]}]}";
    let of_seller = |code: &str| {
        launched(|image| {
            image.owner = Some("679593333241".to_owned());
            image.owner_alias = Some("aws-marketplace".to_owned());
            image.product_codes = vec![code.to_owned()];
        })
    };
    let (one, facts) = of_seller("aw0evgkw8e5c1q413zgy5pjce");
    assert_eq!(of(rules, &one, &facts), "approved");
    let (one, facts) = of_seller("another");
    assert_eq!(
        of(rules, &one, &facts),
        "unapproved: its product code is another"
    );
    let (one, mut facts) = of_seller("aw0evgkw8e5c1q413zgy5pjce");
    let hidden = facts.images.get_mut("ami-1").unwrap();
    (hidden.known, hidden.product_codes) = (Known::Metadata, Vec::new());
    assert!(of(rules, &one, &facts).starts_with("undecided"));
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
fn of_an_image_that_nobody_knows_only_the_id_counts() {
    let (one, mut facts) = launched(|_| {});
    facts
        .images
        .insert("ami-1".to_owned(), Image::unknown("ami-1"));
    for rules in [
        "{approve: [{owner: amazon, name: x}]}",
        "{approve: [{owner: self}]}",
        "{approve: [{owner: '111122223333'}]}",
        "{approve: [{tag: Approved}]}",
        "{approve: [{ids: ami-1, max-age: 3d}]}",
        "{approve: [{ids: ami-1, not-deprecated: true}]}",
        "{approve: [{derived: true}]}",
        "{approve: [{ids: ami-1}], deny: [{name: 'x*'}]}",
    ] {
        let judged = of(rules, &one, &facts);
        assert!(judged.starts_with("undecided"), "{rules}: {judged}");
    }
    assert_eq!(of("{approve: [{ids: ami-1}]}", &one, &facts), "approved");
    assert_eq!(
        of("{approve: [{ids: ami-2}]}", &one, &facts),
        "unknown: its id is ami-1"
    );
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
            images: vec![image.to_owned()],
            since: Some(at(1)),
            before: before
                .iter()
                .map(|(id, until)| ((*id).to_owned(), *until))
                .collect(),
            ..Parameter::default()
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

/// An ancestor of this Region of which the ancestry tells.
fn ancestor(id: &str) -> Ancestor {
    Ancestor {
        id: id.to_owned(),
        is_here: true,
        is_told: true,
        ..Ancestor::default()
    }
}

/// EKS, Bottlerocket, Debian and the rest each name their releases in a way of their own: what
/// counts is what was seen.
#[test]
fn what_a_public_parameter_named_before_counts_as_far_as_it_was_seen() {
    const NAME: &str = "/aws/service/eks/optimized-ami/1.33/amazon-linux-2023/x86_64/standard/recommended/image_id";
    let rules = format!("{{approve: [{{ssm-parameter: {NAME}, grace: 2d}}]}}");
    let hours = |hours: i64| now() - SignedDuration::from_hours(hours);
    let judged = |created: i64, owner: &str, before: &[(&str, Timestamp)], known_from: i64| {
        let (one, mut facts) = launched(|image| {
            image.name = Some("amazon-eks-node-al2023-x86_64-standard-1.33-v20251108".to_owned());
            image.owner = Some(owner.to_owned());
            image.created = Some(hours(created));
        });
        let latest = "amazon-eks-node-al2023-x86_64-standard-1.33-v20260209";
        facts
            .images
            .insert("ami-2".to_owned(), image("ami-2", latest));
        let before = before.iter();
        let parameter = Parameter {
            images: vec!["ami-2".to_owned()],
            since: Some(hours(1)),
            before: before
                .map(|(id, until)| ((*id).to_owned(), *until))
                .collect(),
            known_from: Some(hours(known_from)),
            ..Parameter::default()
        };
        facts.parameters.insert(NAME.to_owned(), Ok(parameter));
        of(&rules, &one, &facts)
    };
    let amazon = "137112412989";
    let seen = [("ami-1", hours(1))];
    assert_eq!(judged(999, amazon, &seen, 1), "approved");
    let long_ago = [("ami-1", hours(50))];
    assert!(judged(999, amazon, &long_ago, 60).starts_with("unapproved"));
    // Nobody looked before its last change, an hour ago: perhaps this is what it named.
    let unknown = judged(999, amazon, &[], 1);
    assert!(unknown.starts_with("undecided"), "{unknown}");
    assert!(unknown.contains("perhaps it was ami-1"), "{unknown}");
    // It changed so long ago that what it named before has no grace any more.
    assert!(judged(999, amazon, &[], 72).starts_with("unapproved"));
    // It never named what wasn't there yet, or what is somebody else's (whoAMI).
    assert!(judged(1, amazon, &[], 1).starts_with("unapproved"));
    assert!(judged(999, "999999999999", &[], 1).starts_with("unapproved"));
}

/// Tag, group and role come and go: what isn't so any more may have been so at the launch.
#[test]
fn what_changed_since_a_launch_that_nobody_saw_is_unknown() {
    let old = |instance: Instance| instance.launched("06:00");
    let cases = [
        "{approve: [{owner: self, tag: Approved}]}",
        "{approve: [{owner: self, scope: {tag: Team, values: [a]}}]}",
        "{approve: [{owner: self, scope: {group: 'web-*'}}]}",
        "{approve: [{owner: self, scope: {role: 'web-*'}}]}",
    ];
    for rules in cases {
        let (one, mut facts) = launched(own);
        // Soon after the launch it is as it was.
        assert!(of(rules, &one, &facts).starts_with("unapproved"), "{rules}");
        let unknown = of(rules, &old(one.clone()), &facts);
        assert!(unknown.starts_with("undecided"), "{rules}: {unknown}");
        // Somebody looked then, and it wasn't so.
        let was = facts.images["ami-1"].clone();
        let looked = Seen {
            refused: Some("no rule approves its AMI".to_owned()),
            was: Some(was),
            ..unseen("ami-1")
        };
        facts.seen.insert("i-1".to_owned(), looked);
        let judged = of(rules, &old(one), &facts);
        assert!(judged.starts_with("unapproved"), "{rules}: {judged}");
    }
    // What never changes is known however late.
    let (one, facts) = launched(own);
    for rules in [
        "{approve: [{owner: amazon}]}",
        "{approve: [{owner: self, scope: {vpc: vpc-2}}]}",
    ] {
        assert!(of(rules, &old(one.clone()), &facts).starts_with("unapproved"));
    }
    // And what is so now is approved.
    let (one, facts) = launched(|image| {
        own(image);
        tagged(image);
    });
    assert_eq!(of(cases[0], &old(one), &facts), "approved");
}

/// What was seen counts for a policy that was written later.
#[test]
fn a_launch_that_was_seen_is_judged_by_what_it_was() {
    let rules = "{approve: [{owner: self, tag: Golden}]}";
    let (one, mut facts) = launched(|image| {
        image.owner = Some("111122223333".to_owned());
        image.tags = vec![("Golden".to_owned(), "yes".to_owned())];
    });
    let was = facts.images["ami-1"].clone();
    let looked = Seen {
        refused: Some("another policy".to_owned()),
        was: Some(was),
        ..unseen("ami-1")
    };
    facts.seen.insert("i-1".to_owned(), looked);
    facts.images.get_mut("ami-1").unwrap().tags.clear();
    let old = one.launched("06:00");
    assert_eq!(of(rules, &old, &facts), "approved");
    // Deregistered since, and nothing is told of it any more.
    facts
        .images
        .insert("ami-1".to_owned(), Image::unknown("ami-1"));
    assert_eq!(of(rules, &old, &facts), "approved");
    facts.seen.clear();
    assert!(of(rules, &old, &facts).starts_with("undecided"));
}

#[test]
fn a_parameter_that_names_several_approves_each() {
    let rules = "{approve: [{ssm-parameter: /golden}]}";
    let (one, mut facts) = launched(|_| {});
    for (images, expected) in [
        (vec!["ami-0", "ami-1"], "approved"),
        (
            vec!["ami-0", "ami-2"],
            "unapproved: parameter /golden names ami-0 or ami-2",
        ),
    ] {
        let images = images.into_iter().map(str::to_owned).collect();
        let parameter = Parameter {
            images,
            ..Parameter::default()
        };
        facts.parameters.insert("/golden".to_owned(), Ok(parameter));
        assert_eq!(of(rules, &one, &facts), expected);
    }
}

/// An ancestor of another Region, or one that Amazon has made private since.
#[test]
fn what_cant_be_described_of_an_ancestry_is_unknown() {
    let derived = |rule: &str, deny: &str, chain: Vec<Ancestor>| {
        let (one, mut facts) = launched(|image| {
            own(image);
            image.name = Some("web-7".to_owned());
        });
        facts.ancestry.insert("ami-1".to_owned(), Ok(chain));
        let parameter = Parameter {
            images: vec!["ami-good".to_owned()],
            ..Parameter::default()
        };
        facts.parameters.insert("/golden".to_owned(), Ok(parameter));
        let approve = format!("approve: [{{derived: true}}, {{{rule}}}]");
        of(&format!("{{{approve}, deny: [{deny}]}}"), &one, &facts)
    };
    let private = || Ancestor {
        owner_alias: Some("amazon".to_owned()),
        created: Some(now() - SignedDuration::from_hours(24 * 100)),
        built_upon: Some(now() - SignedDuration::from_hours(24 * 40)),
        ..ancestor("ami-windows")
    };
    let abroad = |id: &str| Ancestor {
        is_here: false,
        owner_alias: Some("amazon".to_owned()),
        ..ancestor(id)
    };
    let built_now = Ancestor {
        built_upon: Some(now()),
        ..ancestor("ami-bad")
    };
    for (rule, chain, expected) in [
        // The id and Amazon's ownership count by themselves.
        ("ids: ami-windows", private(), "approved"),
        ("owner: amazon", private(), "approved"),
        ("owner: amazon, max-age: 61d", private(), "approved"),
        ("owner: amazon, max-age: 59d", private(), "unapproved"),
        ("owner: aws-marketplace", private(), "unapproved"),
        (
            "owner: amazon, name: 'Windows_Server-2022-*'",
            private(),
            "undecided",
        ),
        ("owner: '801119661308'", private(), "undecided"),
        // Of the same id there may be something else here.
        ("ids: ami-good", abroad("ami-good"), "approved"),
        (
            "owner: amazon, name: 'al2023-ami-2023.*'",
            abroad("ami-good"),
            "undecided",
        ),
        ("ssm-parameter: /golden", abroad("ami-us"), "undecided"),
        ("ssm-parameter: /golden", built_now, "unapproved"),
        ("ssm-parameter: /golden", ancestor("ami-bad"), "undecided"),
    ] {
        let judged = derived(rule, "", vec![chain]);
        assert!(judged.starts_with(expected), "{rule}: {judged}");
    }
    // Whether it is denied can't be told, and that is said.
    let ended = "{name: '*-EOL-*'}";
    let judged = |deny| derived("ids: ami-windows", deny, vec![private()]);
    assert!(judged(ended).starts_with("undecided"));
    assert_eq!(judged("{owner: aws-marketplace}"), "approved");
    // What lies behind an approved ancestor doesn't matter.
    let chain = vec![ancestor("ami-good"), private()];
    assert_eq!(derived("ids: ami-good", ended, chain), "approved");
}

/// Packer and Image Builder run instances from bases that aren't approved for anything else.
#[test]
fn builders_are_approved_by_their_role_and_by_nothing_that_others_may_write() {
    let rules = "{approve: [{ids: ami-0}, {owner: amazon, scope: {role: [packer, EC2InstanceProfileForImageBuilder]}}]}";
    let arn = "arn:aws:iam::1:instance-profile/packer".to_owned();
    let (one, mut facts) = launched(|_| {});
    let builder = Instance {
        profile: Some(arn.clone()),
        ..one.clone()
    };
    facts.roles.insert(arn, Ok(vec!["packer".to_owned()]));
    assert_eq!(of(rules, &builder, &facts), "approved");
    let pretender = one
        .tagged("Name", "Packer Builder")
        .tagged("CreatedBy", "EC2 Image Builder");
    assert!(of(rules, &pretender, &facts).starts_with("unapproved"));
}

#[test]
fn descent_counts_for_the_accounts_own_only() {
    let rules = "{approve: [{owner: amazon, name: 'al2023-ami-2023.*'}, {derived: true}]}";
    let (one, mut facts) = launched(|image| {
        own(image);
        image.name = Some("web-7".to_owned());
    });
    assert!(of(rules, &one, &facts).starts_with("undecided"), "not read");
    let mut chain = |ids: Result<Vec<Ancestor>, ApiError>| {
        facts.ancestry = BTreeMap::from([("ami-1".to_owned(), ids)]);
        of(rules, &one, &facts)
    };
    assert_eq!(chain(Ok(vec![ancestor("ami-good")])), "approved");
    assert!(chain(Ok(vec![ancestor("ami-bad")])).starts_with("unapproved"));
    assert!(chain(Ok(vec![])).starts_with("unapproved"));
    assert!(chain(Err(refused("RequestLimitExceeded"))).starts_with("undecided"));
    facts.ancestry = BTreeMap::from([("ami-1".to_owned(), Ok(vec![ancestor("ami-good")]))]);
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
    let approval = |image: &str| Seen {
        rule: Some("owner self".to_owned()),
        ..unseen(image)
    };
    facts.seen.insert("i-1".to_owned(), approval("ami-other"));
    assert!(of(narrow, &one, &facts).starts_with("unapproved"));
    facts.seen.insert("i-1".to_owned(), approval("ami-1"));
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
        let Verdict::Undecided(unclear) = verdict(&one, &facts, &policy, now()) else {
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
    let unclear = verdict(&one, &facts, &policy, now());
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
    (0..4usize, any::<bool>(), any::<bool>()).prop_map(|(kind, owned, tagged)| {
        launched(|image| match kind {
            0 => {}
            1 => image.name = Some(BAD.to_owned()),
            2 => {
                if owned {
                    own(image);
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
        if !verdict(&one, &facts, &before, now()).is_unapproved() {
            prop_assert!(!verdict(&one, &facts, &after, now()).is_unapproved());
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
        let refused = |policy| verdict(&one, &facts, policy, now()).is_unapproved();
        if refused(&before) {
            // Of an AMI of which nothing is known another rule may not be told of.
            let unclear = matches!(verdict(&one, &facts, &after, now()), Verdict::Undecided(_));
            prop_assert!(refused(&after) || unclear);
        }
        let launch = Launch::of(&one, &facts, now()).unwrap();
        if after.deny.iter().any(|rule| denies(rule, launch, &facts) == Applies::Yes) {
            prop_assert!(matches!(verdict(&one, &facts, &after, now()), Verdict::Denied(_)));
        }
    }

    #[test]
    fn nothing_approved_quarantines_nothing(
        (one, facts) in launch(),
        deny in proptest::collection::vec(rule(), 0..3),
    ) {
        let policy = policy_of(&[], &deny);
        prop_assert!(!verdict(&one, &facts, &policy, now()).is_unapproved());
    }
}

// --- what isn't known ---------------------------------------------------------------------------

/// Rules of every kind, some of which hold for [`known`].
fn any_rule() -> impl Strategy<Value = String> {
    let which = proptest::sample::select(vec![
        "ids: ami-1",
        "owner: self",
        "owner: amazon",
        "owner: '111122223333'",
        "name: 'web-*'",
        "tag: Approved",
        "tag: Bad",
        "product-code: abc",
        "ssm-parameter: /golden",
        "ssm-parameter: /aws/service/x",
        "derived: true",
    ]);
    let narrowed = proptest::sample::select(vec![
        "",
        ", max-age: 13d",
        ", max-age: 1d",
        ", not-deprecated: true",
        ", architecture: x86_64",
        ", scope: {vpc: vpc-1}",
        ", scope: {tag: Team}",
        ", scope: {group: 'web*'}",
        ", scope: {role: 'web*'}",
    ]);
    (which, narrowed).prop_map(|(which, narrowed)| format!("{{{which}{narrowed}}}"))
}

/// A launch of the account's own AMI of which everything is known.
fn known(approved: bool, ancestor: &str) -> (Instance, Facts) {
    let (one, mut facts) = launched(|image| {
        own(image);
        image.name = Some("web-7".to_owned());
        image.architecture = Some("x86_64".to_owned());
        image.product_codes = vec!["abc".to_owned()];
        if approved {
            tagged(image);
        }
    });
    let arn = "arn:aws:iam::1:instance-profile/p".to_owned();
    let one = Instance {
        profile: Some(arn.clone()),
        ..one.tagged("Team", "a")
    };
    let one = one.tagged("aws:autoscaling:groupName", "web");
    facts.roles.insert(arn, Ok(vec!["web".to_owned()]));
    for name in ["/golden", "/aws/service/x"] {
        let parameter = Parameter {
            images: vec!["ami-1".to_owned()],
            ..Parameter::default()
        };
        facts.parameters.insert(name.to_owned(), Ok(parameter));
    }
    let chain = Ok(vec![ancestor_at(ancestor)]);
    facts.ancestry.insert("ami-1".to_owned(), chain);
    (one, facts)
}

fn ancestor_at(id: &str) -> Ancestor {
    Ancestor {
        owner_alias: Some("amazon".to_owned()),
        created: Some(now() - SignedDuration::from_hours(24 * 12)),
        built_upon: Some(now() - SignedDuration::from_hours(24 * 12)),
        ..ancestor(id)
    }
}

/// Takes away what was known: the way in which things are gone, hidden, throttled or changed.
fn forget(kind: usize, one: &mut Instance, facts: &mut Facts) {
    let image = facts.images.get_mut("ami-1");
    match (kind, image) {
        (0, _) => {
            facts.images.remove("ami-1");
        }
        (1, Some(image)) => *image = Image::unknown("ami-1"),
        (2, Some(image)) => {
            image.known = Known::Metadata;
            image.tags.clear();
            image.product_codes.clear();
        }
        (3, _) => facts.account = None,
        (4, _) => {
            for parameter in facts.parameters.values_mut() {
                *parameter = Err(refused("ThrottlingException"));
            }
        }
        (5, _) => {
            for chain in facts.ancestry.values_mut() {
                *chain = Err(refused("AccessDenied"));
            }
        }
        (6, _) => {
            for roles in facts.roles.values_mut() {
                *roles = Err(refused("AccessDenied"));
            }
        }
        // Nobody looked for hours, and meanwhile it was changed.
        (7, Some(image)) => {
            image.tags.clear();
            one.tags.clear();
            one.profile = None;
            one.launched = at("04:00");
        }
        // AWS moved its parameter on before anybody had looked.
        (8, _) => {
            if let Some(Ok(parameter)) = facts.parameters.get_mut("/aws/service/x") {
                parameter.images = vec!["ami-next".to_owned()];
                parameter.known_from = Some(now() - SignedDuration::from_mins(30));
            }
        }
        // What it descends from was made private, or is of another Region.
        (9, _) => {
            facts.images.remove("ami-good");
        }
        (10, _) => {
            for chain in facts.ancestry.values_mut().flatten() {
                for ancestor in chain {
                    ancestor.is_here = false;
                }
            }
        }
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_024))]

    /// Whatever can't be told any more of a launch that isn't refused: it is never refused for that.
    #[test]
    fn an_unknown_never_isolates(
        approve in proptest::collection::vec(any_rule(), 1..4),
        deny in proptest::collection::vec(rule(), 0..2),
        approved in any::<bool>(),
        ancestor in proptest::sample::select(vec!["ami-good", "ami-bad"]),
        forgotten in proptest::collection::vec(0..11usize, 1..4),
    ) {
        let policy = policy_of(&approve, &deny);
        let (mut one, mut facts) = known(approved, ancestor);
        prop_assume!(!verdict(&one, &facts, &policy, now()).is_unapproved());
        for kind in &forgotten {
            forget(*kind, &mut one, &mut facts);
        }
        let then = verdict(&one, &facts, &policy, now());
        prop_assert!(!then.is_unapproved(), "{forgotten:?}: {then:?}");
    }

    /// What a rule approved when it was launched stays so, whatever is changed, forgotten or written
    /// into the policy later. Only a deny rule wins.
    #[test]
    fn a_remembered_approval_always_holds(
        approve in proptest::collection::vec(any_rule(), 1..4),
        deny in proptest::collection::vec(rule(), 0..2),
        ancestor in proptest::sample::select(vec!["ami-good", "ami-bad"]),
        forgotten in proptest::collection::vec(0..11usize, 0..4),
    ) {
        let policy = policy_of(&approve, &deny);
        let (mut one, mut facts) = known(true, ancestor);
        let seen = Seen {
            rule: Some("another".to_owned()),
            was: facts.images.get("ami-1").cloned(),
            ..unseen("ami-1")
        };
        facts.seen.insert("i-1".to_owned(), seen);
        for kind in forgotten {
            forget(kind, &mut one, &mut facts);
        }
        let verdict = verdict(&one, &facts, &policy, now());
        prop_assert!(verdict.is_approved() || matches!(verdict, Verdict::Denied(_)), "{verdict:?}");
    }
}
