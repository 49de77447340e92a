use std::sync::OnceLock;

use super::*;
use crate::decide::tests::{BAD, facts, group, instance, member, now, policy, with_tags};
use crate::decide::{BreakLoop, NameLauncher, Release, decide};
use crate::facts::PolicyParameter;
use crate::policy::tests::parse;
use guardrails::aws::{ApiError, ErrorKind};
use guardrails::finding::{News, news};

fn settle(action: &Action, outcome: Outcome) -> Settled<'_, Action> {
    Settled {
        action,
        outcome,
        note: None,
    }
}

/// What is told, as kind, resource and whether it stands.
fn told(assessment: &Assessment) -> Vec<(&'static str, String, bool)> {
    news(&assessment.findings, &assessment.told)
        .iter()
        .map(|item| {
            (
                item.kind().name,
                item.resource().to_owned(),
                matches!(item, News::Stands(_)),
            )
        })
        .collect()
}

fn quarantined(facts: &Facts, held: Held) -> Action {
    let step = decide(facts, &policy(), now())
        .into_iter()
        .find_map(|decision| decision.step);
    let Some(Action::Quarantine(order)) = step else {
        panic!("{step:?}");
    };
    order.held.set(held).unwrap();
    Action::Quarantine(order)
}

fn held(launcher: Option<&str>) -> Held {
    Held {
        done: vec!["isolated eni-1".to_owned()],
        launcher: launcher.map(|who| (who.to_owned(), format!("{who} (from 203.0.113.7)"))),
        ..Held::default()
    }
}

const HELD: &str = "complete 2026-11-21T11:00:00Z";

fn in_quarantine(extra: &[(&str, &str)]) -> Instance {
    let tags = [
        (tags::QUARANTINED, HELD),
        (tags::QUARANTINE_IMAGE, "ami-bad (its name)"),
        (tags::QUARANTINE_REASON, "no rule approves its AMI"),
    ];
    let mut one = with_tags(with_tags(instance("i-1"), &tags), extra);
    one.interfaces[0].groups = vec!["sg-isolation".to_owned()];
    one
}

#[test]
fn the_notice_names_image_launcher_rule_and_what_was_done() {
    let facts = facts([instance("i-1")]);
    let action = quarantined(&facts, held(Some("arn:aws:iam::1:user/admin-02")));
    let assessment = assess(&facts, &policy(), now(), &[settle(&action, Outcome::Done)]);
    assert_eq!(told(&assessment), [("quarantined", "i-1".to_owned(), true)]);
    let text = &assessment.findings[0].text;
    for expected in [
        BAD,
        "owned by amazon, 11 days old at the launch",
        "by arn:aws:iam::1:user/admin-02 (from 203.0.113.7)",
        "nearest is the rule \"owner amazon, name al2023-ami-2023.*-x86_64\"",
        "Done: isolated eni-1",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let release = |command: &Command| command.run == Run::Invoke("release");
    assert!(QUARANTINED.commands.iter().any(release));
}

#[test]
fn what_was_told_is_told_again_only_when_the_launcher_becomes_known() {
    let known = [(tags::QUARANTINE_LAUNCHER, "arn:a")];
    let told_without = [("ec2-guardrails:told-quarantined", "ami-bad")];
    let told_with = [(
        "ec2-guardrails:told-quarantined",
        "ami-bad launched by arn:a",
    )];
    let of = |tags: &[&[(&str, &str)]]| {
        let one = in_quarantine(&tags.concat());
        told(&assess(&facts([one]), &policy(), now(), &[]))
    };
    assert_eq!(of(&[&told_without]), []);
    assert_eq!(of(&[&told_with, &known]), []);
    assert_eq!(of(&[&told_without, &known]).len(), 1);
    assert_eq!(of(&[]).len(), 1, "not told yet");

    // Found in this run.
    let facts = facts([in_quarantine(&told_without)]);
    let found = OnceLock::new();
    found
        .set(Some(("arn:a".to_owned(), "arn:a (text)".to_owned())))
        .unwrap();
    let action = Action::NameLauncher(Box::new(NameLauncher {
        instance: "i-1".to_owned(),
        group: None,
        found,
    }));
    let assessment = assess(&facts, &policy(), now(), &[settle(&action, Outcome::Done)]);
    assert_eq!(told(&assessment).len(), 1);
    assert!(assessment.findings[0].text.contains("by arn:a (text)"));
}

#[test]
fn another_runs_quarantine_is_not_told_by_this_one() {
    let mut one = in_quarantine(&[]);
    one.tags[0].1 = "started 2026-11-21T11:59:55Z run-1".to_owned();
    assert_eq!(told(&assess(&facts([one]), &policy(), now(), &[])), []);
    // Isolated here too, but the other's mark stands.
    let facts = facts([instance("i-1")]);
    let step = decide(&facts, &policy(), now()).remove(0).step.unwrap();
    let assessment = assess(&facts, &policy(), now(), &[settle(&step, Outcome::Skipped)]);
    assert_eq!(told(&assessment), []);
}

#[test]
fn a_release_resolves_what_was_told() {
    let tags = [("ec2-guardrails:told-quarantined", "ami-bad")];
    let mut facts = facts([in_quarantine(&tags)]);
    facts.asked = Asked::Release("i-1".to_owned());
    let action = Action::Release(Box::new(Release {
        instance: facts.instances["i-1"].clone(),
        others: Vec::new(),
        at: now(),
    }));
    let of = |outcome| {
        let settled = [settle(&action, outcome)];
        told(&assess(&facts, &policy(), now(), &settled))
    };
    assert_eq!(
        of(Outcome::Done),
        [("quarantined", "i-1".to_owned(), false)]
    );
    assert_eq!(of(Outcome::Failed), [], "it stands as it was told");
}

#[test]
fn what_cant_be_isolated_and_what_drifts_is_told_once() {
    let refused = Held {
        refused: vec!["eni-1".to_owned()],
        ..held(None)
    };
    let facts_of = |one| facts([one]);
    let facts = facts_of(instance("i-1"));
    let action = quarantined(&facts, refused);
    let assessment = assess(&facts, &policy(), now(), &[settle(&action, Outcome::Done)]);
    let kinds: Vec<&str> = told(&assessment).iter().map(|item| item.0).collect();
    assert_eq!(kinds, ["quarantined", "partly-isolated"]);

    let mut operated = instance("i-1");
    operated.operator = Some("eks.amazonaws.com".to_owned());
    let assessment = assess(&facts_of(operated), &policy(), now(), &[]);
    assert_eq!(told(&assessment)[0].0, "partly-isolated");

    let quiet = ("ec2-guardrails:told-quarantined", "ami-bad");
    let again = (tags::QUARANTINE_DRIFT, "2026-11-21T11:30:00Z");
    let mut open = in_quarantine(&[quiet, again]);
    open.interfaces[0].groups = vec!["sg-web".to_owned()];
    let state = ("ec2-guardrails:told-drift", "isolated again");
    for (one, expected) in [
        (in_quarantine(&[quiet, again]), 1),
        (in_quarantine(&[quiet, again, state]), 0),
        (with_tags(open, &[state]), 1),
    ] {
        let assessment = assess(&facts_of(one), &policy(), now(), &[]);
        assert_eq!(told(&assessment).len(), expected, "{assessment:?}");
    }
}

#[test]
fn a_loop_is_told_once_by_the_run_that_broke_it() {
    let with = |group: crate::facts::Group, outcome| {
        let mut facts = facts([member("i-1", "web"), member("i-2", "web")]);
        facts.groups.insert("web".to_owned(), group.clone());
        let action = Action::BreakLoop(Box::new(BreakLoop { group, at: now() }));
        let assessment = assess(&facts, &policy(), now(), &[settle(&action, outcome)]);
        told(&assessment)
    };
    let looping = vec![("loop", "auto-scaling-group/web".to_owned(), true)];
    assert_eq!(with(group("web"), Outcome::Done), looping);
    assert_eq!(with(group("web"), Outcome::Skipped), []);
    let mut known = group("web");
    known.suspended = crate::launches::PROCESSES.map(str::to_owned).into();
    known
        .tags
        .insert("ec2-guardrails:told-loop".to_owned(), "broken".to_owned());
    assert_eq!(with(known, Outcome::Left), []);
}

#[test]
fn a_broken_loop_stands_until_it_is_released() {
    let mut web = group("web");
    web.suspended = crate::launches::PROCESSES.map(str::to_owned).into();
    for (key, value) in [
        ("ec2-guardrails:told-loop", "broken"),
        (tags::LOOP_BROKEN, "2026-11-20T11:00:00Z run-1"),
    ] {
        web.tags.insert(key.to_owned(), value.to_owned());
    }
    let mut facts = Facts {
        complete: true,
        ..facts([])
    };
    facts.groups.insert("web".to_owned(), web.clone());
    let assessment = assess(&facts, &policy(), now(), &[]);
    assert_eq!(told(&assessment), []);
    let loops = assessment
        .metrics
        .iter()
        .find(|one| one.name == "LoopsBroken");
    assert_eq!(loops.map(|one| one.value), Some(1));
    web.tags.remove(tags::LOOP_BROKEN);
    web.suspended.clear();
    facts.groups.insert("web".to_owned(), web);
    let resolved = vec![("loop", "auto-scaling-group/web".to_owned(), false)];
    assert_eq!(told(&assess(&facts, &policy(), now(), &[])), resolved);
}

#[test]
fn a_launch_that_cant_be_judged_is_told_and_counted() {
    let policy = parse("{mode: enforce, approve: [{ssm-parameter: /golden}]}").unwrap();
    let mut facts = facts([instance("i-1")]);
    facts.complete = true;
    facts.parameters.insert(
        "/golden".to_owned(),
        Err(ApiError {
            operation: "ssm:GetParameters",
            code: "AccessDeniedException".to_owned(),
            message: "no".to_owned(),
            kind: ErrorKind::Denied,
        }),
    );
    let assessment = assess(&facts, &policy, now(), &[]);
    assert_eq!(told(&assessment), [("undecided", "i-1".to_owned(), true)]);
    let undecided = assessment
        .metrics
        .iter()
        .find(|one| one.name == "LaunchesUndecided");
    assert_eq!(undecided.map(|one| one.value), Some(1));
    assert!(assessment.findings[0].text.contains("ssm:GetParameters"));
}

#[test]
fn a_broad_policy_is_told_once_per_change() {
    let broad = parse("{approve: [{owner: amazon, name: 'al2023-ami-*-x86_64'}]}").unwrap();
    let mut facts = facts([]);
    facts.policy_parameter = PolicyParameter {
        name: "/p".to_owned(),
        told: Some(std::collections::BTreeMap::new()),
    };
    let assessment = assess(&facts, &broad, now(), &[]);
    assert_eq!(
        told(&assessment),
        [("broad-approval", "parameter//p".to_owned(), true)]
    );
    let state = assessment.findings[0].state.clone();
    facts.policy_parameter.told = Some(std::collections::BTreeMap::from([(BROAD.tag(), state)]));
    assert_eq!(told(&assess(&facts, &broad, now(), &[])), []);
    assert_eq!(
        told(&assess(&facts, &policy(), now(), &[])).len(),
        1,
        "resolved"
    );
    facts.policy_parameter.told = None;
    assert_eq!(told(&assess(&facts, &broad, now(), &[])), []);
}

#[test]
fn check_answers_rule_by_rule() {
    let mut facts = facts([instance("i-1")]);
    facts.asked = Asked::CheckInstance("i-1".to_owned());
    let policy = parse(
        "{approve: [{owner: amazon, name: 'al2023-ami-2023.*'}, {owner: self}], deny: [{name: '*-ecs-*'}]}",
    )
    .unwrap();
    let answer = assess(&facts, &policy, now(), &[]).detail;
    assert_eq!(answer["verdict"], "denied");
    assert_eq!(answer["image"]["name"], BAD);
    assert_eq!(answer["rules"][0]["result"], "applies");
    assert_eq!(answer["rules"][2]["because"][0], "its owner is amazon");
    facts.asked = Asked::CheckImage("ami-good".to_owned());
    let answer = assess(&facts, &policy, now(), &[]).detail;
    assert_eq!(answer["verdict"], "approved");
    facts.asked = Asked::CheckInstance("i-9".to_owned());
    let answer = assess(&facts, &policy, now(), &[]).detail;
    assert!(
        answer["problem"]
            .as_str()
            .unwrap()
            .contains("no such instance")
    );
}

#[test]
fn a_quarantine_by_hand_says_so() {
    let mut facts = facts([instance("i-1")]);
    facts.asked = Asked::Quarantine {
        instance: "i-1".to_owned(),
        reason: "odd traffic".to_owned(),
    };
    let action = quarantined(&facts, held(None));
    let Action::Quarantine(order) = &action else {
        panic!("{action:?}");
    };
    assert_eq!(order.occasion, Occasion::ByHand);
    let assessment = assess(&facts, &policy(), now(), &[settle(&action, Outcome::Done)]);
    assert!(assessment.findings[0].text.contains("by hand: odd traffic"));
}

#[test]
fn an_order_on_what_is_in_quarantine_already_is_no_drift() {
    let mut facts = facts([in_quarantine(&[])]);
    facts.asked = Asked::Quarantine {
        instance: "i-1".to_owned(),
        reason: "to be sure".to_owned(),
    };
    let action = quarantined(&facts, held(None));
    let assessment = assess(&facts, &policy(), now(), &[settle(&action, Outcome::Done)]);
    assert_eq!(told(&assessment), [("quarantined", "i-1".to_owned(), true)]);
}

/// All that this guardrail tells, for whoever reviews the texts.
#[test]
fn the_notices_as_people_get_them() {
    let id = "i-0b1c2d3e4f5a69788";
    let named = || Instance {
        tags: vec![("Name".to_owned(), "web".to_owned())],
        ..instance(id)
    };
    let partly = facts([named()]);
    let action = quarantined(
        &partly,
        Held {
            refused: vec!["eni-0a1b2c3d4e5f60718".to_owned()],
            not_done: vec!["dissociated its profile: it has none".to_owned()],
            ..held(Some("arn:aws:iam::123456789012:user/admin-02"))
        },
    );
    let partly = assess(&partly, &policy(), now(), &[settle(&action, Outcome::Done)]);

    let mut looping = facts([
        member("i-0b1c2d3e4f5a69701", "web"),
        member("i-0b1c2d3e4f5a69702", "web"),
    ]);
    looping.groups.insert("web".to_owned(), group("web"));
    let broken = Action::BreakLoop(Box::new(BreakLoop {
        group: group("web"),
        at: now(),
    }));
    let looping = assess(
        &looping,
        &policy(),
        now(),
        &[settle(&broken, Outcome::Done)],
    );

    let quiet = ("ec2-guardrails:told-quarantined", "ami-bad");
    let mut open = in_quarantine(&[quiet, (tags::QUARANTINE_DRIFT, "2026-11-21T11:30:00Z")]);
    open.interfaces[0].groups = vec!["sg-0a1b2c3d4e5f60718".to_owned()];
    let drift = assess(&facts([open]), &policy(), now(), &[]);

    let mut undecided = facts([named()]);
    let denied = ApiError {
        operation: "ssm:GetParameters",
        code: "AccessDeniedException".to_owned(),
        message: "not allowed".to_owned(),
        kind: ErrorKind::Denied,
    };
    undecided
        .parameters
        .insert("/golden".to_owned(), Err(denied));
    let golden = parse("{mode: enforce, approve: [{ssm-parameter: /golden}]}").unwrap();
    let undecided = assess(&undecided, &golden, now(), &[]);

    let mut broad = facts([]);
    broad.policy_parameter = PolicyParameter {
        name: "/ec2-guardrails/policy".to_owned(),
        told: Some(std::collections::BTreeMap::new()),
    };
    let rules = parse("{approve: [{owner: amazon, name: 'al2023-ami-*-x86_64'}]}").unwrap();
    let broad = assess(&broad, &rules, now(), &[]);

    let told = [
        (&QUARANTINED, id),
        (&PARTLY_ISOLATED, id),
        (&LOOP, "auto-scaling-group/web"),
        (&DRIFT, id),
        (&UNDECIDED, id),
        (&BROAD, "parameter//ec2-guardrails/policy"),
    ]
    .map(|(kind, resource)| Told {
        resource: resource.to_owned(),
        kind,
        state: String::new(),
        gone: false,
    });
    let sets = [&partly, &looping, &drift, &undecided, &broad];
    let mut each: Vec<Vec<News<'_>>> = sets
        .iter()
        .map(|one| news(&one.findings, &one.told))
        .collect();
    let kinds: BTreeSet<_> = each.iter().flatten().map(|item| item.kind().name).collect();
    for one in &told {
        assert!(
            kinds.contains(one.kind.name),
            "{} is missing",
            one.kind.name
        );
    }
    each.push(told.iter().map(News::Cured).collect());
    insta::assert_snapshot!(guardrails::notify::examples(crate::NAME, now(), &each));
}
