//! A benchmark of a wrong sweep must fail: each way to be wrong is tried.

use super::*;
use crate::server::Count;

fn call(
    estate: &mut Instances,
    action: &str,
    parameters: &[(&str, &str)],
) -> Result<String, Refusal> {
    let body = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(parameters)
        .finish();
    estate.ec2(action, &Query::parse(body.as_bytes()))
}

fn ids(estate: &Instances, standing: Standing) -> Vec<String> {
    estate.all(standing).map(|found| found.id.clone()).collect()
}

/// What the function does, all of it, and as it should.
fn swept(estate: &mut Instances) -> (Outcomes, Told) {
    estate.begin();
    let told = Told::of(estate.news().into_iter());
    let (lacking, confirming, late) = (
        ids(estate, Standing::Lacking),
        ids(estate, Standing::Confirming),
        ids(estate, Standing::Late),
    );
    let waiting = ids(estate, Standing::Waiting).len();
    for id in &lacking {
        estate
            .tag(id, MARK, "attached 2026-11-21T03:00:00Z")
            .unwrap();
        estate.associate(id, OUR_PROFILE).unwrap();
    }
    for id in &confirming {
        estate.tag(id, MARK, "online 2026-11-21T03:00:00Z").unwrap();
    }
    for id in &late {
        estate.tag(id, TOLD_INSTANCE, "egress").unwrap();
    }
    let groups: Vec<String> = estate.without_profile().map(|g| g.name.clone()).collect();
    for group in groups {
        estate.tag_group(&group, TOLD_GROUP, "without").unwrap();
    }
    let outcomes = Outcomes {
        considered: estate.instances.len(),
        done: lacking.len() + confirming.len(),
        skipped: waiting + late.len(),
        ..Outcomes::default()
    };
    (outcomes, told)
}

fn verdict(estate: &Instances, outcomes: &Outcomes, told: &Told) -> Result<(), String> {
    estate.verify(outcomes, told, &Calls::default(), false)
}

#[track_caller]
fn fails(verdict: Result<(), String>, why: &str) {
    let said = verdict.unwrap_err();
    assert!(said.contains(why), "{said}");
}

#[test]
fn an_estate_has_all_that_a_sweep_may_meet() {
    let estate = Instances::new(5_000, Scenario::Unmanaged);
    for (standing, least) in [
        (Standing::Healthy, 4_800),
        (Standing::Lacking, 30),
        (Standing::Waiting, 30),
        (Standing::Confirming, 20),
        (Standing::Late, 20),
    ] {
        assert!(estate.all(standing).count() >= least, "{standing:?}");
    }
    assert_eq!(estate.without_profile().count(), 5);
    assert!(estate.all(Standing::Lacking).any(|found| !found.running));
    assert!(
        estate
            .all(Standing::Lacking)
            .any(|found| found.group.is_some())
    );
    assert_eq!(estate.ids.len(), 5_000, "no id twice");
    let all_is_well = Instances::new(5_000, Scenario::Managed);
    assert_eq!(all_is_well.all(Standing::Healthy).count(), 5_000);
    assert!(all_is_well.news().is_empty());
}

#[test]
fn a_right_sweep_passes_and_the_next_has_nothing_to_tell() {
    let mut estate = Instances::new(400, Scenario::Unmanaged);
    let (outcomes, told) = swept(&mut estate);
    assert!(!told.findings.is_empty());
    assert_eq!(verdict(&estate, &outcomes, &told), Ok(()));
    let (outcomes, told) = swept(&mut estate);
    assert_eq!((outcomes.done, told), (0, Told::default()));
    assert_eq!(verdict(&estate, &outcomes, &Told::default()), Ok(()));
    let again = Told::of(["i-1".to_owned()].into_iter());
    fails(verdict(&estate, &outcomes, &again), "told");
}

#[test]
fn a_report_that_does_not_tell_the_truth_fails() {
    let mut estate = Instances::new(400, Scenario::Unmanaged);
    let (right, told) = swept(&mut estate);
    let change = |change: fn(&mut Outcomes)| {
        let mut outcomes = right;
        change(&mut outcomes);
        outcomes
    };
    for wrong in [
        change(|o| o.considered -= 1),
        change(|o| o.done += 1),
        change(|o| o.skipped = 0),
        change(|o| o.failed = 1),
        change(|o| o.left = 1),
    ] {
        fails(verdict(&estate, &wrong, &told), "instead of");
    }
    let mut less = told;
    less.findings.pop();
    fails(verdict(&estate, &right, &less), "told");
}

#[test]
fn what_is_left_undone_fails_unless_time_may_run_out() {
    let mut estate = Instances::new(400, Scenario::Unmanaged);
    let one = ids(&estate, Standing::Lacking).remove(0);
    let (mut outcomes, told) = swept(&mut estate);
    let at = estate.find(&one).unwrap();
    estate.instances[at].profile = None;
    outcomes.done -= 1;
    outcomes.left = 1;
    fails(verdict(&estate, &outcomes, &told), &one);
    let made = Calls::default();
    assert_eq!(estate.verify(&outcomes, &told, &made, true), Ok(()));
}

#[test]
fn a_call_about_a_healthy_instance_is_refused() {
    let mut estate = Instances::new(400, Scenario::Unmanaged);
    let healthy = ids(&estate, Standing::Healthy).remove(0);
    for (action, name) in [
        ("GetConsoleOutput", "InstanceId"),
        ("DescribeInstanceStatus", "InstanceId.1"),
        ("AssociateIamInstanceProfile", "InstanceId"),
        ("CreateTags", "ResourceId.1"),
    ] {
        let refusal = call(&mut estate, action, &[(name, &healthy)]).unwrap_err();
        assert!(refusal.message.contains("healthy"), "{action}: {refusal:?}");
    }
    let late = ids(&estate, Standing::Late).remove(0);
    assert!(call(&mut estate, "GetConsoleOutput", &[("InstanceId", &late)]).is_ok());
}

#[test]
fn more_reads_than_need_be_fail() {
    let mut estate = Instances::new(400, Scenario::Managed);
    let (outcomes, told) = swept(&mut estate);
    for (name, made) in [("GetConsoleOutput", 1), ("DescribeInstances", 2)] {
        let count = Count { made, throttled: 0 };
        let calls = Calls([(name.to_owned(), count)].into());
        fails(estate.verify(&outcomes, &told, &calls, false), name);
    }
}

#[test]
fn what_nobody_asked_for_is_refused() {
    let mut estate = Instances::new(400, Scenario::Unmanaged);
    let (lacking, waiting) = (
        ids(&estate, Standing::Lacking).remove(0),
        ids(&estate, Standing::Waiting).remove(0),
    );
    let theirs = own_profile(1);
    assert!(
        estate.associate(&lacking, &theirs).is_err(),
        "another profile"
    );
    let taken = estate.associate(&waiting, OUR_PROFILE).unwrap_err();
    assert_eq!(taken.code, "IncorrectState");
    assert!(estate.tag(&waiting, MARK, "online now").is_err());
    assert!(estate.tag(&lacking, "Name", "x").is_err());
    let other = estate.groups.iter().find(|group| group.has_profile);
    let other = other.unwrap().name.clone();
    assert!(estate.tag_group(&other, TOLD_GROUP, "x").is_err());
}
