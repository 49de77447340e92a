use std::collections::BTreeSet;

use super::*;
use crate::facts::Facts;
use crate::fixtures::{
    ADMIN, BAD, broken, by_hand, decided, facts, group, instance, member, now, policy, record,
    refused, release, reported, unseen,
};
use crate::policy::Policy;
use crate::policy::tests::parse;
use crate::record::{Record, Seen, Stage};
use guardrails::condition::{Run, Status};
use guardrails::guardrail::Step;
use guardrails::policy::Mode;
use guardrails::tags::label;

type Came = Vec<(Action, Outcome, Option<Effect>)>;

/// What is told, as kind, resource and status.
fn told(assessment: &Assessment) -> Vec<(&'static str, String, Status)> {
    let conditions = assessment.conditions.iter();
    conditions
        .map(|one| (one.kind.name, one.resource.to_string(), one.status))
        .collect()
}

/// The kinds that stand.
fn firing(assessment: &Assessment) -> Vec<&'static str> {
    let conditions = assessment.conditions.iter();
    conditions
        .filter(|one| one.status == Status::Firing)
        .map(|one| one.kind.name)
        .collect()
}

fn only(assessment: &Assessment) -> &Condition {
    assert_eq!(assessment.conditions.len(), 1, "{assessment:?}");
    &assessment.conditions[0]
}

fn metric(assessment: &Assessment, name: &str) -> u64 {
    let mut metrics = assessment.metrics.iter();
    metrics.find(|one| one.name == name).unwrap().value
}

/// All that is decided, with this outcome and effect.
fn came(facts: &Facts, policy: &Policy, outcome: Outcome, effect: Option<&Effect>) -> Came {
    decided(facts, policy)
        .into_iter()
        .filter_map(|decision| match decision.step {
            Step::Act(action) => Some((action, outcome, effect.cloned())),
            _ => None,
        })
        .collect()
}

fn with(facts: &Facts, outcome: Outcome, effect: Option<&Effect>) -> Assessment {
    let came = came(facts, &policy(), outcome, effect);
    reported(facts, &policy(), &came)
}

fn quiet(facts: &Facts) -> Assessment {
    reported(facts, &policy(), &[])
}

fn quarantined(launcher: Option<&str>) -> Effect {
    Effect::Quarantined(Box::new(Quarantined {
        done: vec!["isolated eni-1".to_owned()],
        launcher: launcher.map(|who| Who {
            principal: who.to_owned(),
            text: format!("{who} (from 203.0.113.7)"),
        }),
        ..Quarantined::default()
    }))
}

fn held(record: Record) -> Facts {
    facts([instance("i-1").isolated()]).recorded("i-1", record)
}

#[test]
fn the_notice_names_image_launcher_rule_and_what_was_done() {
    let facts = facts([instance("i-1")]);
    let assessment = with(&facts, Outcome::Done, Some(&quarantined(Some(ADMIN))));
    let condition = only(&assessment);
    assert_eq!(condition.kind.name, "quarantined");
    for expected in [
        BAD,
        "owned by amazon, 11 days old at the launch",
        "by arn:aws:iam::1:user/admin-02 (from 203.0.113.7)",
        "nearest is the rule \"owner amazon, name al2023-ami-2023.*-x86_64\"",
        "Done: isolated eni-1",
    ] {
        assert!(
            condition.why.contains(expected),
            "{expected}: {condition:?}"
        );
    }
    let release = |command: &guardrails::condition::Command| command.run == Run::Invoke("release");
    assert!(QUARANTINED.commands.iter().any(release));
}

#[test]
fn it_is_worth_telling_again_only_when_the_launcher_becomes_known() {
    let fingerprint = |assessment: &Assessment| only(assessment).fingerprint.clone();
    let at_once = with(
        &facts([instance("i-1")]),
        Outcome::Done,
        Some(&quarantined(None)),
    );
    let later = quiet(&held(record("11:00")));
    assert_eq!(fingerprint(&at_once), fingerprint(&later));
    let known = quiet(&held(record("11:00").launched_by(ADMIN)));
    assert_ne!(fingerprint(&known), fingerprint(&later));
    // Found in this run.
    let who = Who {
        principal: ADMIN.to_owned(),
        text: "by name".to_owned(),
    };
    let named = with(
        &held(record("11:00")),
        Outcome::Done,
        Some(&Effect::Named(who)),
    );
    assert_eq!(fingerprint(&named), fingerprint(&known));
    assert!(only(&named).why.contains("by by name"));
}

#[test]
fn what_another_run_is_at_is_unknown_here() {
    let unknown = |assessment: &Assessment| {
        assert!(!assessment.conditions.is_empty());
        let mut conditions = assessment.conditions.iter();
        conditions.all(|one| one.status == Status::Unknown)
    };
    let started = record("11:59:55").only(Stage::Started);
    let started = quiet(&held(started));
    assert!(unknown(&started));
    let evidence = ("evidence-failed", "i-1".to_owned(), Status::Unknown);
    assert!(told(&started).contains(&evidence));
    let releasing = record("11:59:55").only(Stage::Releasing);
    assert!(unknown(&quiet(&held(releasing))));
    // Begun here too, but another run was faster.
    let lost = with(&facts([instance("i-1")]), Outcome::Skipped, None);
    assert!(unknown(&lost));
    let left = with(&facts([instance("i-1")]), Outcome::Left, None);
    assert!(unknown(&left));
}

#[test]
fn a_release_resolves_what_was_told_once_it_is_finished() {
    let recorded = held(record("11:00").launched_by(ADMIN)).asked(release(false));
    let labels = instance("i-1").tagged(label::QUARANTINED, "complete 2026-11-20T12:00:00Z");
    let labelled = facts([labels]).asked(release(true));
    for (finished, outcome, status) in [
        (true, Outcome::Done, Status::Resolved),
        (false, Outcome::Done, Status::Unknown),
        (false, Outcome::Failed, Status::Unknown),
    ] {
        for facts in [&recorded, &labelled] {
            let assessment = with(facts, outcome, Some(&Effect::Released { finished }));
            let mut expected = vec!["quarantined", "partly-isolated", "drift"];
            expected.extend((!finished).then_some("evidence-failed"));
            let expected = expected.into_iter();
            let expected: Vec<_> = expected
                .map(|kind| (kind, "i-1".to_owned(), status))
                .collect();
            assert_eq!(told(&assessment), expected);
        }
    }
}

#[test]
fn what_would_be_isolated_is_told_where_nothing_is_done() {
    let facts = facts([instance("i-1")]);
    let mut observing = policy();
    observing.mode = Mode::Notify;
    let came = came(&facts, &observing, Outcome::WouldDo, None);
    let assessment = reported(&facts, &observing, &came);
    let condition = only(&assessment);
    assert_eq!(condition.kind.name, "unapproved");
    for expected in [
        BAD,
        "no rule approves",
        "In mode enforce it would be isolated",
    ] {
        assert!(
            condition.why.contains(expected),
            "{expected}: {condition:?}"
        );
    }
    let failed = with(&facts, Outcome::Failed, None);
    assert!(only(&failed).why.contains("could not be isolated"));
    // Once it is in quarantine that is told instead.
    let done = with(&facts, Outcome::Done, Some(&quarantined(None)));
    assert_eq!(firing(&done), ["quarantined"]);
    // And an approved one is nothing.
    let good = crate::fixtures::facts([instance("i-1").from("ami-good")]);
    assert_eq!(told(&quiet(&good)), []);
}

#[test]
fn planted_labels_are_told() {
    let planted = |one: Instance| one.tagged(label::QUARANTINED, "complete 2026-11-20T12:00:00Z");
    let good = planted(instance("i-1").from("ami-good"));
    let assessment = quiet(&facts([good]));
    assert_eq!(firing(&assessment), ["unrecorded"]);
    assert!(only(&assessment).why.contains("nothing was recorded"));
    assert_eq!(metric(&assessment, "InstancesQuarantined"), 0);
    let both = quiet(&facts([planted(instance("i-1"))]));
    assert_eq!(firing(&both), ["unrecorded", "unapproved"]);
}

#[test]
fn what_cant_be_isolated_and_what_drifts_is_told() {
    let partly = Effect::Quarantined(Box::new(Quarantined {
        refused: vec!["eni-1".to_owned()],
        ..Quarantined::default()
    }));
    let assessment = with(&facts([instance("i-1")]), Outcome::Done, Some(&partly));
    assert_eq!(firing(&assessment), ["quarantined", "partly-isolated"]);
    let refused = Record {
        refused: ["eni-1".to_owned()].into(),
        ..record("11:00").only(Stage::Partial)
    };
    assert_eq!(
        firing(&quiet(&held(refused))),
        ["quarantined", "partly-isolated"]
    );
    let managed = instance("i-1").managed_by("eks.amazonaws.com");
    assert_eq!(firing(&quiet(&facts([managed]))), ["partly-isolated"]);

    let drift = |facts: &Facts| {
        let assessment = quiet(facts);
        let condition = assessment.conditions.iter().find(|one| one.kind == &DRIFT);
        condition.map(|one| (one.fingerprint.clone(), one.status))
    };
    let open = |record: Record| facts([instance("i-1")]).recorded("i-1", record);
    let firing = |fingerprint: &str| Some((fingerprint.to_owned(), Status::Firing));
    assert_eq!(drift(&held(record("11:00"))), None);
    assert_eq!(drift(&open(record("11:00"))), firing("changed"));
    assert_eq!(
        drift(&held(record("11:00").drifted("11:30"))),
        firing("isolated again")
    );
    assert_eq!(
        drift(&open(record("11:00").drifted("11:30"))),
        firing("changed again")
    );
    for record in [record("11:00"), record("11:00").drifted("11:30")] {
        let unread = Facts {
            isolation: None,
            ..open(record)
        };
        assert_eq!(drift(&unread), Some((String::new(), Status::Unknown)));
    }
}

/// A read that failed once, or an interface that was detached, isn't told for ever.
#[test]
fn what_couldnt_be_isolated_and_is_gone_is_resolved() {
    let trunk = "what hangs on the trunk eni-1";
    let partial = Record {
        refused: [trunk.to_owned()].into(),
        ..record("11:00").only(Stage::Partial)
    };
    let mut facts = held(partial);
    assert_eq!(firing(&quiet(&facts)), ["quarantined"]);
    let one = facts.instances.get_mut("i-1").unwrap();
    let unread = (trunk.to_owned(), "it couldn't be read".to_owned());
    one.beyond.extend([unread]);
    assert_eq!(firing(&quiet(&facts)), ["quarantined", "partly-isolated"]);
    // An answer without any interface tells nothing.
    let one = facts.instances.get_mut("i-1").unwrap();
    one.beyond.clear();
    one.interfaces.clear();
    assert_eq!(firing(&quiet(&facts)), ["quarantined", "partly-isolated"]);
}

#[test]
fn a_loop_is_told_by_the_run_that_broke_it() {
    let members = || facts([member("i-1", "web"), member("i-2", "web")]);
    let of = |facts: &Facts, outcome| {
        let assessment = with(facts, outcome, None);
        let condition = assessment.conditions.iter().find(|one| one.kind == &LOOP);
        let condition = condition.unwrap();
        assert_eq!(condition.label, "Auto Scaling group web");
        (condition.fingerprint.clone(), condition.status)
    };
    let web = members().group(group("web"));
    assert_eq!(
        of(&web, Outcome::Done),
        ("broken".to_owned(), Status::Firing)
    );
    assert_eq!(
        of(&web, Outcome::WouldDo),
        ("goes on".to_owned(), Status::Firing)
    );
    assert_eq!(of(&web, Outcome::Skipped).1, Status::Unknown);
    let suspended = members()
        .group(group("web").suspended())
        .looped("web", broken("11:58"));
    assert_eq!(
        of(&suspended, Outcome::Left),
        ("broken".to_owned(), Status::Firing)
    );
}

#[test]
fn a_broken_loop_stands_until_it_is_released() {
    let stands = facts([])
        .all()
        .group(group("web").suspended())
        .looped("web", broken("09:00"));
    let assessment = quiet(&stands);
    assert_eq!(firing(&assessment), ["loop"]);
    assert_eq!(metric(&assessment, "LoopsBroken"), 1);
    // Resumed by hand.
    let resumed = facts([])
        .all()
        .group(group("web"))
        .looped("web", broken("09:00"));
    assert_eq!(told(&quiet(&resumed)), []);
    let ordered = stands.asked(Ask::ReleaseGroup("web".to_owned()));
    let assessment = with(&ordered, Outcome::Done, None);
    let web = "auto-scaling-group/web".to_owned();
    assert_eq!(told(&assessment), [("loop", web, Status::Resolved)]);
    assert_eq!(metric(&assessment, "LoopsBroken"), 0);
}

#[test]
fn a_persons_loop_is_told_of_its_newest_launch_and_the_others_stand() {
    let by = || record("11:30").launched_by(ADMIN);
    let both = facts(["i-1", "i-2"].map(|id| instance(id).isolated()))
        .all()
        .recorded("i-1", by())
        .recorded("i-2", by());
    let assessment = quiet(&both);
    let loops: Vec<_> = assessment
        .conditions
        .iter()
        .filter(|one| one.kind == &LOOP)
        .map(|one| (one.resource.name(), one.status))
        .collect();
    assert_eq!(loops, [("i-2", Status::Firing), ("i-1", Status::Unknown)]);
}

#[test]
fn a_launch_that_cant_be_judged_is_told_and_counted() {
    let golden = parse("{mode: enforce, approve: [{ssm-parameter: /golden}]}").unwrap();
    let mut facts = facts([instance("i-1")]).all();
    facts
        .parameters
        .insert("/golden".to_owned(), Err(refused("AccessDeniedException")));
    let assessment = reported(&facts, &golden, &[]);
    assert_eq!(
        told(&assessment),
        [
            ("unapproved", "i-1".to_owned(), Status::Unknown),
            ("partly-isolated", "i-1".to_owned(), Status::Unknown),
            ("undecided", "i-1".to_owned(), Status::Firing)
        ]
    );
    assert_eq!(metric(&assessment, "LaunchesUndecided"), 1);
    assert!(assessment.conditions[2].why.contains("ssm:GetParameters"));
    // How many launches there are that nothing approves isn't known either.
    let Coverage::All { kinds, .. } = &assessment.coverage else {
        panic!("a sweep");
    };
    assert!(!kinds.contains(&&LOOP) && !kinds.contains(&&BRAKE));
    assert_eq!(kinds.len(), KINDS.len() - 2);
}

#[test]
fn whether_an_isolation_group_was_opened_is_unknown_where_none_was_read() {
    let mut unread = held(record("11:00")).all();
    unread.isolation = None;
    let told = told(&quiet(&unread));
    let unknown = ("isolation-opened", "i-1".to_owned(), Status::Unknown);
    assert!(told.contains(&unknown), "{told:?}");
}

#[test]
fn a_broad_policy_is_told_anew_when_it_changes() {
    let broad = parse("{approve: [{owner: amazon, name: 'al2023-ami-*-x86_64'}]}").unwrap();
    let broader = parse("{approve: [{owner: amazon}]}").unwrap();
    let facts = facts([]).all();
    let of = |policy: &Policy| reported(&facts, policy, &[]);
    let (one, other) = (of(&broad), of(&broader));
    let parameter = "parameter//p".to_owned();
    assert_eq!(told(&one), [("broad-approval", parameter, Status::Firing)]);
    assert_eq!(only(&one).text(), format!("policy /p: {}", only(&one).why));
    assert_ne!(only(&one).fingerprint, only(&other).fingerprint);
    assert_eq!(told(&of(&policy())), []);
}

#[test]
fn a_sweep_speaks_for_all_that_it_has_judged() {
    let one = facts([instance("i-1"), instance("i-2").terminated()]).group(group("web"));
    assert_eq!(quiet(&one).coverage, Coverage::Named);
    let mut all = one.all();
    let Coverage::All { kinds, present } = quiet(&all).coverage else {
        panic!("a sweep");
    };
    assert_eq!(kinds, KINDS);
    let expected = [
        Resource::instance("i-1"),
        Resource::group("web"),
        Resource::Parameter("/p".to_owned()),
    ];
    assert_eq!(present, expected.into());
    all.groups_unread = Some(refused("AccessDenied"));
    let Coverage::All { kinds, .. } = quiet(&all).coverage else {
        panic!("a sweep");
    };
    assert!(!kinds.contains(&&LOOP) && kinds.len() == KINDS.len() - 1);
}

#[test]
fn check_answers_rule_by_rule() {
    let rules = "{approve: [{owner: amazon, name: 'al2023-ami-2023.*'}, {owner: self}], deny: [{name: '*-ecs-*'}]}";
    let policy = parse(rules).unwrap();
    let answer = |ask| reported(&held(record("11:00")).asked(ask), &policy, &[]).detail;
    let of_instance = answer(Ask::CheckInstance("i-1".to_owned()));
    assert_eq!(of_instance["verdict"], "denied");
    assert_eq!(of_instance["image"]["name"], BAD);
    assert_eq!(of_instance["rules"][0]["result"], "applies");
    assert_eq!(of_instance["rules"][2]["because"][0], "its owner is amazon");
    assert_eq!(of_instance["quarantine"]["stage"], "complete");
    let of_image = answer(Ask::CheckImage("ami-good".to_owned()));
    assert_eq!(of_image["verdict"], "approved");
    assert_eq!(of_image["quarantine"], Value::Null);
}

#[test]
fn a_quarantine_by_hand_says_so() {
    let fresh = facts([instance("i-1")]).asked(by_hand());
    let assessment = with(&fresh, Outcome::Done, Some(&quarantined(None)));
    assert!(only(&assessment).why.contains("by hand: odd traffic"));
    // On what is in quarantine already it is no drift.
    let again = held(record("11:00")).asked(by_hand());
    let assessment = with(&again, Outcome::Done, Some(&quarantined(None)));
    assert_eq!(firing(&assessment), ["quarantined"]);
}

#[test]
fn what_the_brake_holds_back_is_told_at_once_and_again_when_it_has_doubled() {
    let held = |count: usize| {
        let braked = (0..count).map(|n| instance(&format!("i-{n:03}")));
        quiet(&facts(braked).all())
    };
    let brake = |assessment: &Assessment| {
        let mut conditions = assessment.conditions.iter();
        let brake = conditions.find(|one| one.kind == &BRAKE).cloned();
        brake.map(|one| (one.fingerprint, one.why))
    };
    assert_eq!(brake(&held(10)), None);
    let (fingerprint, why) = brake(&held(11)).unwrap();
    for expected in [
        "11 unapproved launches are held back",
        "more than 10",
        "more than 25%",
    ] {
        assert!(why.contains(expected), "{why}");
    }
    assert_eq!(brake(&held(15)).unwrap().0, fingerprint);
    assert_ne!(brake(&held(16)).unwrap().0, fingerprint);
    // Each of them stands as what it is.
    let unapproved = held(11)
        .conditions
        .iter()
        .filter(|one| one.kind == &UNAPPROVED)
        .count();
    assert_eq!(unapproved, 11);
    assert_eq!(metric(&held(11), "LaunchesUnapproved"), 11);
}

/// Another run took the last place between this one's look and its act.
#[test]
fn what_finds_no_place_is_told_as_held_back() {
    let facts = facts([instance("i-1")]).all();
    let assessment = with(&facts, Outcome::Skipped, Some(&Effect::Braked));
    assert_eq!(firing(&assessment), ["unapproved", "brake"]);
}

/// The fingerprint would change from a sweep to the next event and back, with a notice each time.
#[test]
fn one_launch_of_many_that_are_held_back_says_nothing_of_how_many() {
    let brake = ("brake", "parameter//p".to_owned(), Status::Unknown);
    let one = facts([instance("i-1")]).braked(10);
    assert_eq!(firing(&quiet(&one)), ["unapproved"]);
    assert!(told(&quiet(&one)).contains(&brake));
    let late = with(
        &facts([instance("i-1")]),
        Outcome::Skipped,
        Some(&Effect::Braked),
    );
    assert!(told(&late).contains(&brake));
    // Those of one call that are too many by themselves.
    let many = facts((0..11).map(|n| instance(&format!("i-{n}"))));
    assert!(firing(&quiet(&many)).contains(&"brake"));
}

/// Nobody looks for whoever launched what a person put into quarantine.
#[test]
fn a_launcher_is_promised_only_where_it_is_looked_for() {
    let by_hand = Record {
        by_hand: true,
        ..record("11:00")
    };
    for (record, promised) in [
        (by_hand, false),
        (record("11:00"), true),
        (record("09:00"), false),
    ] {
        let assessment = quiet(&held(record).all());
        let why = &only(&assessment).why;
        assert_eq!(why.contains("you are told when it does"), promised, "{why}");
    }
}

#[test]
fn evidence_that_failed_is_told_and_evidence_that_wasnt_looked_at_is_unknown() {
    let mut one = held(record("11:00").launched_by(ADMIN)).all();
    assert_eq!(firing(&quiet(&one)), ["quarantined"]);
    one.failed_evidence = None;
    let unread = told(&quiet(&one));
    let unknown = ("evidence-failed", "i-1".to_owned(), Status::Unknown);
    assert!(unread.contains(&unknown), "{unread:?}");
    one.failed_evidence = Some([("i-1".to_owned(), vec!["snap-1".to_owned()])].into());
    assert_eq!(firing(&quiet(&one)), ["quarantined", "evidence-failed"]);
}

#[test]
fn the_list_says_what_is_in_quarantine_and_since_when() {
    let isolated = instance("i-1").isolated().tagged("Name", "web");
    let mut facts = facts([isolated, instance("i-2")])
        .recorded("i-1", record("11:00").launched_by(ADMIN))
        .recorded("i-2", record("11:30").detached_from("api"))
        .recorded("i-3", record("10:00"))
        .looped("api", broken("11:30"))
        .asked(Ask::List);
    let list = quiet(&facts).detail;
    let of = |id: usize, key: &str| list["quarantine"][id][key].clone();
    assert_eq!(
        (of(0, "name"), of(0, "isolated")),
        (json!("web"), json!(true))
    );
    assert_eq!(of(0, "since"), json!("2026-11-21T11:00:00Z"));
    assert_eq!(
        (of(1, "group"), of(1, "isolated")),
        (json!("api"), json!(false))
    );
    assert_eq!(
        (of(2, "state"), of(2, "isolated")),
        (json!("gone"), Value::Null)
    );
    assert_eq!(list["groups"][0]["group"], "api");
    facts.isolation = None;
    let list = quiet(&facts).detail;
    assert_eq!(
        list["quarantine"][0]["isolated"],
        Value::Null,
        "couldn't be read"
    );
}

#[test]
fn the_launches_of_a_week_are_counted_by_what_was_said_of_them() {
    let mut facts = facts([]).asked(Ask::Launches);
    let mut seen = |id: &str, rule: Option<&str>, refused: Option<&str>, days: i64| {
        let seen = Seen {
            rule: rule.map(str::to_owned),
            refused: refused.map(str::to_owned),
            launched: now() - jiff::SignedDuration::from_hours(24 * days),
            ..unseen("ami-1")
        };
        facts.seen.insert(id.to_owned(), seen);
    };
    seen("i-1", Some("owner self"), None, 1);
    seen("i-2", Some("owner self"), None, 6);
    seen("i-3", None, Some("no rule approves its AMI"), 2);
    seen("i-4", None, Some("no rule approves its AMI"), 2);
    seen("i-5", None, Some("no rule approves its AMI"), 8);
    let week = quiet(&facts).detail;
    assert_eq!(week["approved"], json!({"owner self": 2}));
    assert_eq!(week["not-approved"][0]["launches"], 2);
    assert_eq!(week["not-approved"][0]["instances"], json!(["i-3", "i-4"]));
}

#[test]
fn the_check_of_an_ami_names_who_runs_it() {
    let facts = facts([instance("i-1").isolated(), instance("i-2")])
        .recorded("i-1", record("11:00"))
        .asked(Ask::CheckImage("ami-bad".to_owned()));
    let assessment = quiet(&facts);
    let running = &assessment.detail["instances"];
    assert_eq!(running[0]["in-quarantine-since"], "2026-11-21T11:00:00Z");
    assert_eq!(
        (&running[1]["instance"], &running[1]["verdict"]),
        (&json!("i-2"), &json!("unapproved"))
    );
    assert_eq!(assessment.detail["verdict"], "unapproved");
}

/// All that this guardrail tells, for whoever reviews the texts.
#[test]
fn the_notices_as_people_get_them() {
    let id = "i-0b1c2d3e4f5a69788";
    let named = || instance(id).tagged("Name", "web");
    let partly = Effect::Quarantined(Box::new(Quarantined {
        done: vec!["isolated eni-1".to_owned()],
        refused: vec!["eni-0a1b2c3d4e5f60718".to_owned()],
        not_done: vec!["dissociated its profile: it has none".to_owned()],
        launcher: record("11:00")
            .launched_by("arn:aws:iam::123456789012:user/admin-02")
            .launcher,
    }));
    let partly = with(&facts([named()]), Outcome::Done, Some(&partly));
    let would = with(&facts([named()]), Outcome::WouldDo, None);
    let members = ["i-0b1c2d3e4f5a69701", "i-0b1c2d3e4f5a69702"].map(|id| member(id, "web"));
    let mut looping = with(&facts(members).group(group("web")), Outcome::Done, None);
    looping.conditions.retain(|one| one.kind == &LOOP);
    let drifted = facts([instance("i-1").behind(&["sg-0a1b2c3d4e5f60718"])])
        .recorded("i-1", record("11:00").drifted("11:30"));
    let mut drifted = quiet(&drifted);
    drifted.conditions.retain(|one| one.kind == &DRIFT);
    let mut undecided = facts([named()]);
    undecided
        .parameters
        .insert("/golden".to_owned(), Err(refused("AccessDeniedException")));
    let golden = parse("{mode: enforce, approve: [{ssm-parameter: /golden}]}").unwrap();
    let undecided = reported(&undecided, &golden, &[]);
    let planted = named()
        .from("ami-good")
        .tagged(label::QUARANTINED, "complete 2026-11-20T12:00:00Z");
    let planted = quiet(&facts([planted]));
    let broad = parse("{approve: [{owner: amazon, name: 'al2023-ami-*-x86_64'}]}").unwrap();
    let broad = reported(&facts([]).all(), &broad, &[]);

    let braked = (0..25).map(|n| instance(&format!("i-0b1c2d3e4f5a697{n:02}")));
    let braked = braked.chain([instance("i-1").from("ami-good")]);
    let mut braked = quiet(&facts(braked).all());
    braked.conditions.retain(|one| one.kind == &BRAKE);
    let mut opened = held(record("11:00")).all();
    opened
        .isolation
        .as_mut()
        .unwrap()
        .get_mut("vpc-1")
        .unwrap()
        .lets_out = true;
    let mut opened = with(&opened, Outcome::Done, None);
    opened
        .conditions
        .retain(|one| one.kind == &ISOLATION_OPENED);
    let mut failed = held(record("11:00")).all();
    let why = "snap-0a1b2c3d4e5f60718 of vol-0a1b2c3d4e5f60718: Given key ID is not accessible";
    failed.failed_evidence = Some([("i-1".to_owned(), vec![why.to_owned()])].into());
    let mut failed = quiet(&failed);
    failed.conditions.retain(|one| one.kind == &EVIDENCE_FAILED);

    let sets = [
        partly, would, braked, looping, drifted, opened, failed, undecided, planted, broad,
    ];
    let mut each: Vec<Vec<Condition>> = sets
        .into_iter()
        .map(|set| {
            let conditions = set.conditions.into_iter();
            conditions
                .filter(|one| one.status == Status::Firing)
                .collect()
        })
        .collect();
    let kinds: BTreeSet<_> = each.iter().flatten().map(|one| one.kind.name).collect();
    assert_eq!(kinds.len(), KINDS.len(), "{kinds:?}");
    let resolved = KINDS.iter().map(|kind| {
        let resource = match kind.name {
            "loop" => Resource::group("web"),
            "broad-approval" | "brake" => Resource::Parameter("/p".to_owned()),
            _ => Resource::instance(id),
        };
        Condition::resolved(resource, kind)
    });
    each.push(resolved.collect());
    insta::assert_snapshot!(guardrails::notify::examples(crate::NAME, now(), &each));
}
