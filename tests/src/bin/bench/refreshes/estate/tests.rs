//! A benchmark of a wrong sweep must fail: each way to be wrong is tried.

use super::*;
use crate::server::Count;

fn names(estate: &Groups, standing: Standing) -> Vec<String> {
    estate
        .all(standing)
        .map(|group| group.name.clone())
        .collect()
}

/// What the function does to one group.
fn stop(estate: &mut Groups, name: &str) -> Result<(), Refusal> {
    let at = estate.find(name)?;
    let refresh = estate.groups[at].refresh.as_ref().unwrap();
    let (action, claim, done) = if refresh.names_version {
        ("RollbackInstanceRefresh", "rollback", "rolled-back")
    } else {
        ("CancelInstanceRefresh", "cancel", "cancelled")
    };
    let id = refresh.id.clone();
    estate.tag(
        name,
        MARK,
        &format!("{id} {claim} 2026-11-21T12:00:00Z run"),
    )?;
    assert_eq!(estate.stop(name, action)?, id);
    estate.tag(name, MARK, &format!("{id} {done} 2026-11-21T12:00:00Z run"))?;
    estate.tag(name, TOLD, &format!("{id} stopped"))
}

/// What the function does, all of it, and as it should.
fn swept(estate: &mut Groups) -> (Outcomes, Told) {
    estate.begin();
    let failing = names(estate, Standing::Failing);
    for name in &failing {
        stop(estate, name).unwrap();
    }
    let outcomes = Outcomes {
        considered: estate.groups.len(),
        done: failing.len(),
        ..Outcomes::default()
    };
    let told = failing
        .iter()
        .map(|name| format!("auto-scaling-group/{name}"));
    (outcomes, Told::of(told))
}

fn verdict(estate: &Groups, outcomes: &Outcomes, told: &Told) -> Result<(), String> {
    estate.verify(outcomes, told, &Calls::default(), false)
}

#[test]
fn an_estate_has_all_that_a_sweep_may_meet() {
    for (scenario, rolling, failing) in [
        (Scenario::Quiet, 0, 0),
        (Scenario::Rolling, 10, 0),
        (Scenario::Failing, 10, 4),
    ] {
        let estate = Groups::new(100, scenario);
        assert_eq!(estate.all(Standing::Rolling).count(), rolling);
        assert_eq!(estate.all(Standing::Failing).count(), failing);
    }
    let small = Groups::new(10, Scenario::Failing);
    let ways = small.all(Standing::Failing).map(|group| {
        let refresh = group.refresh.as_ref().unwrap();
        refresh.names_version
    });
    assert_eq!(ways.collect::<Vec<bool>>(), [true, false]);
}

#[test]
fn a_right_sweep_passes_and_the_next_has_nothing_to_do() {
    let mut estate = Groups::new(100, Scenario::Failing);
    let (outcomes, told) = swept(&mut estate);
    assert_eq!((outcomes.done, told.findings.len()), (4, 4));
    assert_eq!(verdict(&estate, &outcomes, &told), Ok(()));
    let (outcomes, told) = swept(&mut estate);
    assert_eq!((outcomes.done, &told), (0, &Told::default()));
    assert_eq!(verdict(&estate, &outcomes, &told), Ok(()));
    let again = Told::of(["auto-scaling-group/web-007".to_owned()].into_iter());
    assert!(verdict(&estate, &outcomes, &again).is_err(), "told again");
}

#[test]
fn what_is_left_or_told_wrongly_fails() {
    let mut estate = Groups::new(100, Scenario::Failing);
    let (right, told) = swept(&mut estate);
    let wrong = Outcomes { done: 3, ..right };
    assert!(verdict(&estate, &wrong, &told).is_err());
    assert!(verdict(&estate, &right, &Told::default()).is_err());
    let untouched = Groups::new(100, Scenario::Failing);
    let nothing = Outcomes {
        done: 0,
        left: 4,
        ..right
    };
    assert!(verdict(&untouched, &nothing, &Told::default()).is_err());
    let calls = Calls::default();
    let verdict = untouched.verify(&nothing, &Told::default(), &calls, true);
    assert_eq!(verdict, Ok(()), "where time may run out");
}

#[test]
fn only_a_failing_refresh_is_stopped_once_and_after_its_claim() {
    let mut estate = Groups::new(100, Scenario::Failing);
    let failing = names(&estate, Standing::Failing).remove(0);
    let rolling = names(&estate, Standing::Rolling).remove(0);
    assert!(stop(&mut estate, &rolling).is_err());
    let early = estate.stop(&failing, "RollbackInstanceRefresh");
    assert_eq!(early.unwrap_err().code, "UnexpectedCall");
    stop(&mut estate, &failing).unwrap();
    let twice = estate.stop(&failing, "RollbackInstanceRefresh");
    assert_eq!(twice.unwrap_err().code, "ActiveInstanceRefreshNotFound");
}

#[test]
fn a_read_too_many_fails() {
    let mut estate = Groups::new(10, Scenario::Quiet);
    let (outcomes, told) = swept(&mut estate);
    for (name, made) in [
        ("DescribeInstanceRefreshes", 11),
        ("DescribeScalingActivities", 1),
    ] {
        let count = Count { made, throttled: 0 };
        let calls = Calls([(name.to_owned(), count)].into());
        let said = estate.verify(&outcomes, &told, &calls, false);
        assert!(said.unwrap_err().contains(name));
    }
}
