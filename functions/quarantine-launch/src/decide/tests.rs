use super::*;
use crate::evaluate::evaluate;
use crate::facts::Facts;
use crate::fixtures::{
    ADMIN, BAD, at, broken, by_hand, decided, facts, group, instance, member, now, policy, record,
    refused, release,
};
use crate::policy::Policy;
use crate::policy::tests::parse;
use crate::rule::Rule;
use guardrails::guardrail::Step;
use guardrails::tags::label;

/// Of what, what, and whether it is carried out.
fn words(decisions: &[Decision<Action>]) -> Vec<(String, &'static str, bool)> {
    decisions
        .iter()
        .map(|one| {
            let acts = matches!(one.step, Step::Act(_));
            (one.resource.to_string(), one.action, acts)
        })
        .collect()
}

fn action(decision: &Decision<Action>) -> &Action {
    let Step::Act(action) = &decision.step else {
        panic!("{decision:?}");
    };
    action
}

fn order(decision: &Decision<Action>) -> &Quarantine {
    match action(decision) {
        Action::Quarantine(order) => order,
        other => panic!("{other:?}"),
    }
}

fn one(facts: &Facts) -> Decision<Action> {
    let mut decisions = decided(facts, &policy());
    assert_eq!(decisions.len(), 1, "{decisions:?}");
    decisions.remove(0)
}

/// An instance in quarantine since 11:00.
fn held(record: Record) -> Facts {
    facts([instance("i-1").isolated()]).recorded("i-1", record)
}

fn known() -> Record {
    record("11:00").launched_by(ADMIN)
}

#[test]
fn an_unapproved_launch_is_quarantined_and_an_approved_one_left_alone() {
    let old_and_good = instance("i-2").from("ami-good").launched("10:30");
    let decisions = decided(&facts([instance("i-1"), old_and_good]), &policy());
    assert_eq!(
        words(&decisions),
        [
            ("i-1".to_owned(), "quarantine", true),
            ("i-2".to_owned(), "leave-alone", false)
        ]
    );
    let reason = &decisions[0].reason;
    for expected in [BAD, "nearest is the rule \"owner amazon"] {
        assert!(reason.contains(expected), "{reason}");
    }
}

#[test]
fn each_instance_that_is_not_to_be_touched_isnt() {
    let of = |instance: Instance| facts([instance]);
    let started = record("11:59:50").only(Stage::Started);
    let releasing = Record {
        at: at("11:59:50"),
        ..record("11:00").only(Stage::Releasing)
    };
    let cases = [
        (
            of(instance("i-1").launched("00:00")),
            "longer ago than launched-within",
        ),
        (
            of(instance("i-1").managed_by("eks.amazonaws.com")),
            "eks.amazonaws.com manages it",
        ),
        (of(instance("i-1").terminated()), "terminated"),
        (
            of(instance("i-1").from("ami-unread")),
            "ami-unread wasn't read",
        ),
        (
            of(instance("i-1")).released("i-1", "ami-bad"),
            "a person released it",
        ),
        (
            of(instance("i-1").tagged("Sandbox", "yes")),
            "its tag Sandbox exempts it",
        ),
        (held(known()), "it is in quarantine since"),
        (held(started), "another run is quarantining it"),
        (held(releasing), "its release is under way"),
    ];
    let section = "{mode: enforce, launched-within: 12h, exempt: {tag: Sandbox}, approve: [{owner: amazon, name: 'al2023-ami-2023.*-x86_64'}]}";
    let policy = parse(section).unwrap();
    for (facts, expected) in cases {
        let decisions = decided(&facts, &policy);
        let [one] = decisions.as_slice() else {
            panic!("{expected}: {decisions:?}");
        };
        assert_eq!(one.step, Step::Leave, "{expected}");
        assert!(one.reason.contains(expected), "{expected}: {}", one.reason);
    }
}

#[test]
fn a_tag_exempts_only_when_the_policy_names_it() {
    let one = instance("i-1").tagged("Sandbox", "yes");
    assert_eq!(decided(&facts([one]), &policy())[0].action, "quarantine");
}

#[test]
fn a_release_for_another_ami_does_not_count() {
    let facts = facts([instance("i-1")]).released("i-1", "ami-other");
    assert_eq!(one(&facts).action, "quarantine");
}

#[test]
fn nothing_approved_quarantines_nothing_and_says_so() {
    let policy = parse("{mode: enforce, deny: [{name: '*'}]}").unwrap();
    for facts in [facts([instance("i-1")]), facts([instance("i-1")]).all()] {
        let decisions = decided(&facts, &policy);
        assert!(decisions.iter().all(|one| one.step == Step::Leave));
        let reason = &decisions[0].reason;
        assert!(reason.contains("approves nothing yet"), "{reason}");
    }
}

#[test]
fn what_was_begun_is_finished() {
    let decision = one(&held(known().only(Stage::Started)));
    assert_eq!(
        (decision.action, order(&decision).occasion),
        ("quarantine", Occasion::Unfinished)
    );
    // Whatever the instance's tags say, in which the stage was once.
    let decision = one(&held(known().only(Stage::Releasing)));
    assert_eq!(decision.action, "release");
    assert!(matches!(action(&decision), Action::Release(_)));
}

/// A run that had looked before the release may begin all the same, and be killed before it sees it.
#[test]
fn a_persons_release_wins_over_a_quarantine_that_was_begun_before_it() {
    let begun = |since: &str| {
        let started = record(since).only(Stage::Started);
        one(&held(started).released("i-1", "ami-bad")).action
    };
    // Released at 11:59.
    assert_eq!(begun("11:58"), "release");
    assert_eq!(begun("11:59:30"), "quarantine");
}

// --- what tags say ------------------------------------------------------------------------------

/// Each is what somebody can do who may tag, and nothing else.
#[test]
fn labels_without_a_record_are_reported_and_count_for_nothing() {
    let good = || instance("i-1").from("ami-good").launched("10:30");
    let groups = format!("{}eni-1", label::QUARANTINE_GROUPS);
    let planted = |stage: &str| {
        good()
            .tagged(label::QUARANTINED, stage)
            .tagged(&groups, "sg-admin")
            .tagged(
                label::QUARANTINE_PROFILE,
                "arn:aws:iam::1:instance-profile/admin",
            )
            .tagged(label::QUARANTINE_SERVICE, "detached production")
    };
    let drifted = planted("complete 2026-11-20T12:00:00Z").behind(&["sg-web"]);
    let approved = good().tagged(label::QUARANTINE_REASON, "copied");
    for one in [
        planted("releasing 2026-11-21T11:00:00Z"),
        planted("started 2026-11-21T11:00:00Z"),
        planted("partial 2026-11-21T11:00:00Z"),
        planted("nonsense"),
        drifted,
        approved,
    ] {
        for facts in [facts([one.clone()]), facts([one.clone()]).all()] {
            let decisions = decided(&facts, &policy());
            assert!(
                decisions.iter().all(|one| one.step == Step::Leave),
                "{decisions:?}"
            );
            let first = &decisions[0];
            assert_eq!(first.action, "report");
            assert!(first.reason.contains("nothing was recorded"), "{first:?}");
        }
    }
    // Of a launch that isn't approved they change nothing either.
    for tag in [
        (label::QUARANTINED, "complete 2026-11-20T12:00:00Z"),
        ("ec2-guardrails:released-image", "ami-bad"),
        ("ec2-guardrails:approved-by", "owner self"),
    ] {
        let bad = instance("i-1").tagged(tag.0, tag.1);
        let decisions = decided(&facts([bad]), &policy());
        assert_eq!(decisions.last().unwrap().action, "quarantine", "{tag:?}");
    }
}

#[test]
fn labels_that_stay_behind_a_release_are_no_plant() {
    let one = instance("i-1").tagged(label::QUARANTINED, "releasing 2026-11-21T11:59:00Z");
    let facts = facts([one]).released("i-1", "ami-bad");
    let decisions = decided(&facts, &policy());
    assert_eq!(
        words(&decisions),
        [("i-1".to_owned(), "leave-alone", false)]
    );
}

#[test]
fn a_release_without_a_record_takes_a_persons_explicit_word() {
    let labelled = instance("i-1")
        .tagged(label::QUARANTINED, "complete 2026-11-20T12:00:00Z")
        .tagged(
            &format!("{}eni-1", label::QUARANTINE_GROUPS),
            "sg-web sg-ssh",
        )
        .tagged(label::QUARANTINE_DISKS, "/dev/xvda=delete /dev/sdf=keep")
        .tagged(label::QUARANTINE_PROTECTION, "off")
        .isolated();
    let told = one(&facts([labelled.clone()]).asked(release(false)));
    assert_eq!((&told.step, told.action), (&Step::Leave, "report"));
    for expected in [
        "nothing was recorded",
        "\"from-labels\": true",
        "gives eni-1 sg-web, sg-ssh",
        "/dev/xvda go with it",
        "no profile and no place in a group",
    ] {
        assert!(
            told.reason.contains(expected),
            "{expected}: {}",
            told.reason
        );
    }
    let ordered = one(&facts([labelled.clone()]).asked(release(true)));
    assert!(matches!(action(&ordered), Action::ReleaseByLabels(_)));
    // The record counts where there is one.
    let recorded = facts([labelled]).recorded("i-1", known());
    let ordered = one(&recorded.asked(release(true)));
    assert!(matches!(action(&ordered), Action::Release(_)));
    let plain = one(&facts([instance("i-1")]).asked(release(true)));
    assert!(plain.reason.contains("isn't in quarantine"), "{plain:?}");
}

// --- in quarantine ------------------------------------------------------------------------------

#[test]
fn a_drift_is_closed_once_and_then_only_told() {
    let open = |record: Record| one(&facts([instance("i-1")]).recorded("i-1", record)).action;
    assert_eq!(open(known()), "isolate-again");
    assert_eq!(open(known().drifted("11:30")), "report");
    // The isolation isn't visible yet.
    assert_eq!(open(known().drifted("11:59:30")), "leave-alone");
    let fresh = Record {
        since: at("11:59"),
        ..known()
    };
    assert_eq!(open(fresh), "leave-alone");
    // What AWS refused to change is no drift.
    let refused = Record {
        refused: ["eni-1".to_owned()].into(),
        ..known()
    };
    assert_eq!(open(refused), "leave-alone");
}

#[test]
fn the_launcher_is_looked_up_later_where_it_isnt_known() {
    let unknown = held(record("11:00"));
    assert_eq!(one(&unknown).action, "name-launcher");
    assert_eq!(one(&held(record("09:00"))).action, "leave-alone");
    let by_hand = Record {
        by_hand: true,
        ..record("11:00")
    };
    assert_eq!(one(&held(by_hand)).action, "leave-alone");
}

#[test]
fn a_quarantine_whose_instance_is_gone_is_forgotten_after_a_day() {
    let yesterday = || Record {
        since: at("12:00") - jiff::SignedDuration::from_hours(24),
        ..known()
    };
    let gone = facts([]).all().recorded("i-1", yesterday());
    assert_eq!(
        words(&decided(&gone, &policy())),
        [("i-1".to_owned(), "forget", true)]
    );
    // Not what a look may have missed, not by a look at one instance, and nothing that lives.
    let fresh = facts([]).all().recorded("i-1", known());
    let other = facts([instance("i-2").from("ami-good")]).recorded("i-1", yesterday());
    let lives = held(yesterday()).all();
    for facts in [fresh, other, lives] {
        let decisions = decided(&facts, &policy());
        assert!(
            decisions.iter().all(|one| one.action != "forget"),
            "{decisions:?}"
        );
    }
}

// --- loops --------------------------------------------------------------------------------------

#[test]
fn a_loop_of_a_group_is_broken_at_the_threshold() {
    let with = |group: Group, launches: usize| {
        let members = (0..launches).map(|n| member(&format!("i-{n}"), "web"));
        facts(members).group(group)
    };
    let first = |facts: &Facts| words(&decided(facts, &policy())).remove(0);
    let web = |action, acts| ("auto-scaling-group/web".to_owned(), action, acts);
    assert_eq!(decided(&with(group("web"), 1), &policy()).len(), 1);
    assert_eq!(first(&with(group("web"), 2)), web("break-loop", true));
    let suspended = with(group("web").suspended(), 2);
    assert_eq!(first(&suspended), web("report", false));
    let managed = Group {
        operator: Some("x".to_owned()),
        ..group("web")
    };
    assert_eq!(first(&with(managed, 2)), web("report", false));
    // A run that was killed after it had suspended isn't done.
    let begun = Loop {
        broken: None,
        ..broken("11:58")
    };
    let killed = with(group("web").suspended(), 2).looped("web", begun);
    assert_eq!(first(&killed), web("break-loop", true));
}

#[test]
fn a_group_that_couldnt_be_read_fails_the_run() {
    let mut facts = facts([member("i-1", "web"), member("i-2", "web")]);
    facts.groups_unread = Some(refused("AccessDenied"));
    let decisions = decided(&facts, &policy());
    assert!(matches!(decisions[0].step, Step::CannotJudge(_)));
}

/// It keeps nothing from being done, and the run is no success.
#[test]
fn what_else_couldnt_be_read_fails_the_run_too() {
    let mut facts = held(known()).all();
    let unread = ("the isolation groups", refused("AccessDenied"));
    facts.unread.push(unread);
    let orders = [by_hand(), release(false), Ask::Confirm(1)];
    for ask in [Ask::Reconcile, Ask::List].into_iter().chain(orders) {
        let decisions = decided(&facts.clone().asked(ask), &policy());
        let last = decisions.last().unwrap();
        assert!(matches!(last.step, Step::CannotJudge(_)), "{last:?}");
        assert_eq!(last.reason, "the isolation groups couldn't be read");
    }
}

#[test]
fn a_loop_of_a_person_is_only_told() {
    let by = |id: &str| facts([]).recorded(id, known());
    let mut facts = facts(["i-1", "i-2"].map(|id| instance(id).isolated()));
    facts.records = by("i-1").records;
    facts.records.extend(by("i-2").records);
    let decisions = decided(&facts, &policy());
    assert_eq!(
        words(&decisions)[0],
        ("i-2".to_owned(), "report", false),
        "{decisions:?}"
    );
    assert!(decisions[0].reason.contains("admin-02 launched 2"));
}

// --- what can't be told -------------------------------------------------------------------------

#[test]
fn a_read_that_failed_fails_the_run_and_a_missing_parameter_is_told() {
    let policy = parse("{approve: [{ssm-parameter: /golden}]}").unwrap();
    for (code, action) in [
        ("AccessDeniedException", "cannot-judge"),
        ("ParameterNotFound", "cannot-tell"),
    ] {
        let mut facts = facts([instance("i-1")]);
        facts
            .parameters
            .insert("/golden".to_owned(), Err(refused(code)));
        let decision = &decided(&facts, &policy)[0];
        assert_eq!(decision.action, action);
        let failed = matches!(decision.step, Step::CannotJudge(_));
        assert_eq!(failed, action == "cannot-judge");
    }
}

// --- orders -------------------------------------------------------------------------------------

#[test]
fn orders_of_a_person_are_carried_out_and_nothing_else() {
    let good = facts([instance("i-1").from("ami-good")]).asked(by_hand());
    assert_eq!(order(&one(&good)).reason, "by hand: odd traffic");

    let decision = one(&held(known()).asked(release(false)));
    assert_eq!(
        (decision.action, &decision.reason),
        ("release", &"a person releases it".to_owned())
    );
    let decision = one(&facts([instance("i-1")]).asked(release(false)));
    assert_eq!(
        (decision.action, decision.step),
        ("leave-alone", Step::Leave)
    );
}

#[test]
fn an_order_on_what_isnt_there_is_a_failure() {
    for ask in [
        release(false),
        by_hand(),
        Ask::CheckInstance("i-1".to_owned()),
        Ask::ReleaseGroup("web".to_owned()),
    ] {
        let decision = one(&facts([]).asked(ask));
        assert!(
            matches!(decision.step, Step::CannotJudge(_)),
            "{decision:?}"
        );
        assert!(decision.reason.contains("there is no such"), "{decision:?}");
    }
}

#[test]
fn a_group_is_restored_where_this_guardrail_suspended_something() {
    let ask = || Ask::ReleaseGroup("web".to_owned());
    // Suspended by somebody else, whatever its tags say.
    let theirs = facts([]).group(group("web").suspended()).asked(ask());
    assert_eq!(one(&theirs).step, Step::Leave);
    let ours = facts([])
        .group(group("web").suspended())
        .looped("web", broken("11:00"))
        .asked(ask());
    assert_eq!(one(&ours).action, "restore-group");
    // Gone meanwhile: it isn't to be listed for ever.
    let gone = facts([]).looped("web", broken("11:00")).asked(ask());
    assert_eq!(one(&gone).action, "restore-group");
}

#[test]
fn a_release_knows_who_of_its_group_is_in_quarantine_still() {
    let detached = || known().detached_from("web");
    let facts = held(detached())
        .asked(release(false))
        .recorded("i-2", detached())
        .recorded("i-4", detached())
        .recorded("i-9", known())
        .beside([
            instance("i-2"),
            instance("i-3"),
            instance("i-4").terminated(),
            instance("i-9"),
        ]);
    let decision = one(&facts);
    let Action::Release(order) = action(&decision) else {
        panic!("{decision:?}");
    };
    assert_eq!(order.others, ["i-2"]);
}

// --- the brake ----------------------------------------------------------------------------------

/// So many launches of `ami-bad`, and of `ami-good`, an hour ago.
fn launches(bad: usize, good: usize) -> Facts {
    let bad = (0..bad).map(|n| instance(&format!("i-bad-{n}")));
    let good = (0..good).map(|n| instance(&format!("i-good-{n}")).from("ami-good"));
    facts(bad.chain(good).map(|one| one.launched("11:00")))
}

fn quarantines(facts: &Facts, policy: &Policy) -> usize {
    let decisions = decided(facts, policy);
    decisions
        .iter()
        .filter(|one| one.action == "quarantine")
        .count()
}

#[test]
fn one_wrong_rule_does_not_isolate_a_fleet() {
    // (unapproved, approved, isolated a moment ago, whether all were looked at) → isolated.
    for (bad, good, lately, all, isolated) in [
        (10, 0, 0, true, 10),
        (11, 0, 0, true, 0),
        (200, 100, 0, true, 0),
        // A quarter of all launches may be.
        (50, 150, 0, true, 50),
        (51, 150, 0, true, 0),
        (45, 155, 5, true, 45),
        (46, 154, 5, true, 0),
        // Who looks at few doesn't know the share.
        (1, 0, 9, false, 1),
        (1, 0, 10, false, 0),
        (1, 300, 10, true, 1),
        (3, 0, 8, false, 0),
    ] {
        let mut facts = launches(bad, good).braked(lately);
        facts.complete = all;
        let case = format!("{bad} of {}, {lately} lately, {all}", bad + good);
        assert_eq!(quarantines(&facts, &policy()), isolated, "{case}");
        // What is held back is told, each.
        let held = decided(&facts, &policy());
        let held = held
            .iter()
            .filter(|one| one.reason.contains("the brake holds"));
        assert_eq!(held.count(), bad - isolated, "{case}");
    }
}

#[test]
fn the_brake_takes_its_numbers_from_the_policy_and_holds_only_where_something_is_done() {
    let of = |rest: &str| {
        let rules = "approve: [{owner: amazon, name: 'al2023-ami-2023.*-x86_64'}]";
        parse(&format!("{{{rest}, {rules}}}")).unwrap()
    };
    let facts = launches(11, 0).all();
    for (rest, isolated) in [
        ("mode: enforce, brake: {count: 11}", 11),
        ("mode: enforce, brake: {percent: 100}", 11),
        ("mode: enforce, brake: {count: 2}", 0),
        ("mode: notify", 11),
    ] {
        assert_eq!(quarantines(&facts, &of(rest)), isolated, "{rest}");
    }
    // What was isolated longer ago than `within` counts no more.
    let facts = launches(3, 0).braked(10).all();
    let short = of("mode: enforce, brake: {within: 5m}");
    assert_eq!(quarantines(&facts, &short), 3);
    assert_eq!(quarantines(&facts, &policy()), 0);
}

#[test]
fn no_group_is_suspended_while_the_brake_holds() {
    let members = (0..11).map(|n| member(&format!("i-{n:02}"), "web"));
    let looping = facts(members).group(group("web")).all();
    let decisions = decided(&looping, &policy());
    assert!(
        decisions.iter().all(|one| one.step == Step::Leave),
        "{decisions:?}"
    );
    assert!(
        decisions[0].reason.contains("the brake holds"),
        "{:?}",
        decisions[0]
    );
    let fewer = (0..10).map(|n| member(&format!("i-{n:02}"), "web"));
    let looping = facts(fewer).group(group("web")).all();
    assert_eq!(decided(&looping, &policy())[0].action, "break-loop");
}

#[test]
fn a_person_confirms_as_many_as_were_told() {
    let confirm = |count: usize| launches(12, 3).braked(10).all().asked(Ask::Confirm(count));
    let refused = decided(&confirm(11), &policy());
    assert_eq!(
        words(&refused),
        [("parameter//p".to_owned(), "report", false)]
    );
    assert!(
        refused[0].reason.contains("12 launches would be isolated"),
        "{refused:?}"
    );
    let confirmed = decided(&confirm(12), &policy());
    assert_eq!(confirmed[0].action, "release-brake");
    let quarantined = confirmed.iter().filter(|one| one.action == "quarantine");
    let places = quarantined.map(|one| order(one).place.is_some());
    assert_eq!(places.collect::<Vec<_>>(), [false; 12]);
}

/// A place is taken for a launch; what was begun, or a person orders, needs none.
#[test]
fn only_launches_take_a_place_under_the_brake() {
    let place = |facts: &Facts| order(&one(facts)).place.clone();
    let launch = place(&facts([instance("i-1")]).braked(3)).unwrap();
    assert_eq!((launch.limit, launch.from), (10, at("11:00")));
    assert_eq!(place(&held(known().only(Stage::Started)).braked(99)), None);
    let ordered = facts([instance("i-1")]).braked(99).asked(by_hand());
    assert_eq!(place(&ordered), None);
}

/// A controller replaces each node that is isolated: what is kept of each would pile up for ever.
#[test]
fn of_a_loop_that_goes_on_the_first_launches_are_kept_as_evidence() {
    let kept = |of: &dyn Fn(&str) -> Instance| {
        let nodes = ["11:50", "11:51", "11:52", "11:53"].iter().enumerate();
        let nodes = nodes.map(|(n, time)| of(&format!("i-{n}")).launched(time));
        let mut found = facts(nodes).group(group("web"));
        let managed = Group {
            operator: Some("eks.amazonaws.com".to_owned()),
            ..group("nodes")
        };
        found = found.group(managed);
        found.groups_unread = Some(refused("AccessDenied"));
        let decisions = decided(&found, &policy());
        let orders = decisions.iter().filter(|one| one.action == "quarantine");
        let kept = orders.filter(|one| !order(one).piles_up);
        kept.map(|one| one.resource.to_string()).collect::<Vec<_>>()
    };
    let tagged = |id: &str| instance(id).tagged("karpenter.sh/nodepool", "default");
    let node = |id: &str| tagged(id).tagged("aws:ec2:fleet-id", &format!("fleet-{id}"));
    assert_eq!(kept(&node), ["i-0", "i-1"]);
    // Whoever launches may write Karpenter's tag, and makes no evidence go by it.
    assert_eq!(kept(&tagged).len(), 4);
    assert_eq!(kept(&|id| member(id, "nodes")), ["i-0", "i-1"]);
    // This one is stopped here, and these are no loop.
    assert_eq!(kept(&|id| member(id, "web")).len(), 4);
    assert_eq!(kept(&instance).len(), 4);
    // Whether it goes on isn't known.
    assert_eq!(kept(&|id| member(id, "unread")).len(), 4);
}

// --- the isolation group ------------------------------------------------------------------------

#[test]
fn rules_that_were_added_to_an_isolation_group_in_use_are_taken_away() {
    let opened = |mut facts: Facts| {
        let groups = facts.isolation.as_mut().unwrap();
        groups.get_mut("vpc-1").unwrap().lets_out = true;
        words(&decided(&facts.all(), &policy()))
    };
    let mended = ("account".to_owned(), "mend-isolation", true);
    assert!(opened(held(known())).contains(&mended));
    // Nobody is behind it.
    assert_eq!(opened(facts([])), []);
    let elsewhere = facts([instance("i-1")]).recorded("i-1", known().drifted("11:30"));
    assert!(!opened(elsewhere).contains(&mended));
}

fn letting_in(mut facts: Facts, incoming: &[&str]) -> Facts {
    let groups = facts.isolation.as_mut().unwrap();
    let rules = incoming.iter().map(|from| Rule::everything(from));
    groups.get_mut("vpc-1").unwrap().incoming = rules.collect();
    facts.all()
}

fn why(facts: &Facts, responders: &str) -> Vec<String> {
    let section = format!(
        "{{mode: enforce, approve: [{{owner: amazon, name: 'al2023-ami-2023.*-x86_64'}}], responders: [{responders}]}}"
    );
    let decisions = decided(facts, &parse(&section).unwrap()).into_iter();
    decisions
        .map(|one| format!("{}: {}", one.action, one.reason))
        .collect()
}

/// A policy that changes is followed, and isn't taken for somebody who opens what is isolated.
#[test]
fn the_isolation_group_lets_in_whom_the_policy_names_by_now() {
    let net = "{from: 10.1.2.0/24}";
    let stands = letting_in(held(known()), &["10.1.2.0/24"]);
    assert_eq!(why(&stands, net), [""; 0]);
    let widened = why(&letting_in(held(known()), &[]), net);
    assert!(widened[0].starts_with("mend-isolation: the policy names responders that"));
    let opened = why(
        &letting_in(held(known()), &["10.1.2.0/24", "192.0.2.0/24"]),
        net,
    );
    assert!(opened[0].starts_with("mend-isolation: somebody added rules"));
    let mut narrowed = stands.clone();
    let admitted = [Rule::everything("10.1.2.0/24")].into();
    narrowed.admitted = [("sg-isolation".to_owned(), admitted)].into();
    let told = why(&narrowed, "{from: 10.9.0.0/24}");
    assert!(told[0].starts_with("mend-isolation: the policy names fewer responders"));
    // What was let in by the policy is no excuse for the rest.
    let both = letting_in(narrowed, &["10.1.2.0/24", "192.0.2.0/24"]);
    assert!(why(&both, "")[0].starts_with("mend-isolation: somebody added rules"));
}

#[test]
fn nobody_is_let_into_a_strangers_group_and_what_isnt_there_is_said() {
    let mut strange = letting_in(held(known()), &[]);
    let groups = strange.isolation.as_mut().unwrap();
    groups.get_mut("vpc-1").unwrap().ours = false;
    let told = why(&strange, "{from: 10.1.2.0/24}");
    assert!(told[0].starts_with("report: ") && told[0].contains("isn't this guardrail's"));
    let mut missing = letting_in(held(known()), &[]);
    assert_eq!(
        why(&missing, "{from: sg-0a}"),
        [""; 0],
        "they couldn't be read"
    );
    missing.responders = Some([("sg-0b".to_owned(), "vpc-2".to_owned())].into());
    let told = why(&missing, "{from: [sg-0a, sg-0b]}");
    assert!(
        told[0].starts_with("report: responders: sg-0a isn't"),
        "{told:?}"
    );
    assert_eq!(told.len(), 1);
}

// --- what comes to it later ---------------------------------------------------------------------

/// It is isolated as often as one comes: nobody has changed it by hand.
#[test]
fn an_interface_that_comes_later_is_isolated_and_no_drift() {
    let phase = |instance: Instance, record: Record| {
        let facts = facts([instance]).recorded("i-1", record);
        match &evaluate(&facts, &policy(), now()).judged["i-1"].stance {
            Stance::Held(held) => held.phase,
            other => panic!("{other:?}"),
        }
    };
    let mut grown = instance("i-1").isolated();
    let mut another = grown.interfaces[0].clone();
    (another.id, another.groups) = ("eni-2".to_owned(), vec!["sg-db".to_owned()]);
    grown.interfaces.push(another);
    for record in [known(), known().drifted("11:30")] {
        assert_eq!(phase(grown.clone(), record), Phase::Grown);
    }
    let mut recorded = known();
    let db = vec!["sg-db".to_owned()];
    recorded.interfaces.insert("eni-2".to_owned(), db);
    assert_eq!(phase(grown, recorded), Phase::Drifted);
}

#[test]
fn what_was_in_a_warm_pool_is_taken_out_of_service_when_it_comes_into_it() {
    let found = |state: &str, pooled: bool| {
        let members = [("i-1".to_owned(), state.to_owned())].into();
        let web = Group {
            members,
            ..group("web")
        };
        let record = Record { pooled, ..known() };
        let isolated = member("i-1", "web").isolated();
        let found = facts([isolated]).recorded("i-1", record).group(web).all();
        words(&decided(&found, &policy()))
    };
    let again = [("i-1".to_owned(), "quarantine", true)];
    assert_eq!(found("InService", true), again);
    assert_eq!(found("Pending", true), []);
    // One that stays in service for another reason isn't tried again and again.
    assert_eq!(found("InService", false), []);
}

// --- what is gone -------------------------------------------------------------------------------

#[test]
fn the_release_of_what_is_gone_gives_back_what_it_left_behind() {
    let gone = facts([]).recorded("i-1", known());
    let going = facts([instance("i-1").terminated()]).recorded("i-1", known());
    for facts in [gone, going] {
        let decision = one(&facts.asked(release(false)));
        assert!(
            matches!(action(&decision), Action::Forget { .. }),
            "{decision:?}"
        );
    }
}
