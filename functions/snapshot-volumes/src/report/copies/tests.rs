use crate::conditions::{COPY_FAILED, COPY_FULL, COPY_STALE, DISOWNED, PLANLESS};
use crate::decide::copies::tests::{THERE, copied, copy, slot, two_regions, unreadable};
use crate::decide::tests::{at, attached, snapshot};
use crate::evaluate::evaluate;
use crate::facts::{Disowned, Facts, Snapshot, State};
use crate::policy::tests::parse;
use crate::report::report;
use guardrails::condition::{Condition, Coverage, Kind, Status};
use guardrails::guardrail::Assessment;

const NOW: &str = "2026-11-23T10:00:00Z";

fn assessed(facts: &Facts) -> Assessment {
    report(&evaluate(facts, &copied("keep: {last: 2}"), at(NOW)), &[])
}

fn of_kind<'a>(assessment: &'a Assessment, kind: &Kind) -> Vec<&'a Condition> {
    let all = assessment.conditions.iter();
    all.filter(|c| c.kind.name == kind.name).collect()
}

fn completed(id: &str, days_ago: i64) -> Snapshot {
    snapshot(id, "vol-1", &slot(days_ago), State::Completed)
}

#[test]
fn what_people_read_of_copies() {
    let here = vec![completed("snap-0", 0), completed("snap-1", 1)];
    let made = copy("copy-1", &here[1], State::Completed);
    let failed = copy(
        "copy-0",
        &here[0],
        State::Error("Given key ID is not accessible".to_owned()),
    );
    let mut rekeyed = copy("copy-0", &here[0], State::Completed);
    rekeyed.copy.as_mut().unwrap().key = "key-2".to_owned();
    let mut texts = Vec::new();
    for copies in [
        vec![],
        vec![made.clone()],
        vec![made.clone(), failed],
        vec![made, rekeyed],
    ] {
        let assessment = assessed(&two_regions(&["vol-1"], here.clone(), copies));
        for kind in [&COPY_STALE, &COPY_FAILED, &COPY_FULL] {
            let firing = of_kind(&assessment, kind).into_iter();
            let firing = firing.filter(|c| c.status == Status::Firing);
            texts.extend(firing.map(|c| format!("{}: {}", kind.name, c.text())));
        }
    }
    insta::assert_snapshot!(texts.join("\n"));
}

#[test]
fn what_can_not_be_read_is_unknown_and_resolves_nothing() {
    let mut facts = two_regions(&["vol-1"], vec![completed("snap-0", 0)], vec![]);
    facts.elsewhere.insert(THERE.to_owned(), Err(unreadable()));
    let assessment = assessed(&facts);
    for kind in [&COPY_STALE, &COPY_FAILED, &COPY_FULL] {
        let [only] = of_kind(&assessment, kind)[..] else {
            panic!("{assessment:?}");
        };
        assert_eq!(only.status, Status::Unknown);
        assert!(only.why.contains(THERE), "{}", only.why);
    }
    let Coverage::All { kinds, .. } = &assessment.coverage else {
        panic!("all");
    };
    assert!(!kinds.contains(&&DISOWNED) && kinds.contains(&&COPY_STALE));
    // Of a volume that is gone only what can't be read would tell.
    assert!(!kinds.contains(&&COPY_FAILED) && !kinds.contains(&&COPY_FULL));
}

/// Else a copy that is overdue would be told as resolved.
#[test]
fn whether_copies_are_wanted_of_a_volume_whose_instance_is_not_found_is_unknown() {
    let policy = parse(&format!(
        "{{name: daily, select: {{tag: Backup}}, exclude: {{boot: true}}, schedule: \"0 3 * * *\", keep: {{last: 3}}, copies: [{{region: {THERE}, keep: {{last: 2}}}}]}}"
    ))
    .unwrap();
    // With snapshots and without.
    for here in [vec![completed("snap-9", 9)], vec![]] {
        let mut facts = two_regions(&["vol-1"], here, vec![]);
        let volume = attached("vol-1", "i-1", "/dev/sdf");
        facts.volumes.insert(volume.id.clone(), volume);
        let assessment = report(&evaluate(&facts, &policy, at(NOW)), &[]);
        let [only] = of_kind(&assessment, &COPY_STALE)[..] else {
            panic!("{assessment:?}");
        };
        assert_eq!(only.status, Status::Unknown);
        assert!(only.why.contains("instance wasn't found"), "{}", only.why);
    }
}

#[test]
fn a_copy_that_is_ours_no_longer_is_told_with_its_region() {
    let mut facts = two_regions(&["vol-1"], vec![], vec![]);
    let there = facts.elsewhere.get_mut(THERE).unwrap().as_mut().unwrap();
    there.disowned.push(Disowned {
        id: "copy-1".to_owned(),
        volume: "vol-1".to_owned(),
        why: "its tag is gone".to_owned(),
    });
    let assessment = assessed(&facts);
    let [only] = of_kind(&assessment, &DISOWNED)[..] else {
        panic!("{assessment:?}");
    };
    assert_eq!(only.label, "copy-1 (of vol-1, in us-east-1)");
}

#[test]
fn plans_that_are_gone_are_told_once_all_regions_could_be_read() {
    let mut other = completed("snap-0", 0);
    other.plan = std::sync::Arc::from("gone");
    let made = copy("copy-0", &other, State::Completed);
    let mut facts = two_regions(&["vol-1"], vec![other], vec![made]);
    let assessment = assessed(&facts);
    let [told] = of_kind(&assessment, &PLANLESS)[..] else {
        panic!("{assessment:?}");
    };
    assert!(
        told.why.contains("plan gone: 1 snapshots")
            && told.why.contains("plan gone in us-east-1: 1 snapshots"),
        "{}",
        told.why
    );
    facts.elsewhere.insert(THERE.to_owned(), Err(unreadable()));
    assert!(of_kind(&assessed(&facts), &PLANLESS).is_empty());
}

#[test]
fn explain_shows_both_regions() {
    let here = vec![completed("snap-0", 0), completed("snap-1", 1)];
    let made = copy("copy-1", &here[1], State::Completed);
    let mut facts = two_regions(&["vol-1"], here, vec![made]);
    facts.complete = false;
    insta::assert_json_snapshot!(assessed(&facts).detail);
    facts.elsewhere.insert(THERE.to_owned(), Err(unreadable()));
    let detail = assessed(&facts).detail;
    let unknown = &detail["volumes"]["vol-1"]["plans"]["daily"]["copies"][THERE]["unknown"];
    assert!(unknown.as_str().unwrap().contains("Timeout"), "{detail}");
}
