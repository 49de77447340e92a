//! A benchmark of a wrong run must fail: each way to be wrong is tried.

use super::*;

fn ids(estate: &Launches) -> Vec<String> {
    let all = estate.unapproved();
    all.map(|at| estate.instances[at].id.clone()).collect()
}

/// What the function does to one instance.
fn hold(estate: &mut Launches, id: &str) -> Result<(), Refusal> {
    let at = estate.find(id)?;
    let (vpc, grouped) = {
        let found = &estate.instances[at];
        (found.vpc, found.group.is_some())
    };
    let ami = crate::estate::id("ami", estate.instances[at].image);
    estate.tag(id, &[(MARK, "started 2026-11-21T12:00:00Z run")])?;
    estate.isolate(id, &[&isolation(vpc)])?;
    estate.held(id)?.steps = Steps {
        isolated: 1,
        protected: 1,
        disks_kept: 1,
        evidence: 1,
        standby: usize::from(grouped),
    };
    estate.tag(id, &[(MARK, "complete 2026-11-21T12:00:00Z"), (TOLD, &ami)])?;
    estate.tag(id, &[(LAUNCHER, "somebody")])
}

/// What the function does, all of it, and as it should.
fn swept(estate: &mut Launches) -> (Outcomes, Told) {
    estate.begin();
    let due = estate.due.clone();
    let due: Vec<String> = due
        .into_iter()
        .map(|at| estate.instances[at].id.clone())
        .collect();
    for id in &due {
        hold(estate, id).unwrap();
    }
    let outcomes = Outcomes {
        considered: estate.instances.len(),
        done: due.len(),
        ..Outcomes::default()
    };
    (outcomes, Told::of(due.into_iter()))
}

fn verdict(estate: &Launches, outcomes: &Outcomes, told: &Told) -> Result<(), String> {
    estate.verify(outcomes, told, &Calls::default(), false)
}

#[test]
fn an_estate_has_all_that_a_run_may_meet() {
    let estate = Launches::new(1_000, Scenario::Enforced);
    let grouped = |at: usize| estate.instances[at].group.is_some();
    let unapproved: Vec<bool> = estate.unapproved().map(grouped).collect();
    assert_eq!(unapproved, [true, false, true, false]);
    let old = estate
        .instances
        .iter()
        .filter(|found| found.image >= IMAGES[0] + IMAGES[1] && found.standing == Standing::Fine);
    assert_eq!(old.count(), 4);
    assert_eq!(estate.ids.len(), 1_000, "no id twice");
    assert_eq!(
        Launches::new(10, Scenario::Enforced).unapproved().count(),
        1
    );
    assert_eq!(
        Launches::new(1_000, Scenario::Approved)
            .unapproved()
            .count(),
        0
    );
}

#[test]
fn a_right_run_passes_and_the_next_has_nothing_to_do() {
    let mut estate = Launches::new(1_000, Scenario::Enforced);
    let (outcomes, told) = swept(&mut estate);
    assert_eq!((outcomes.done, told.findings.len()), (4, 4));
    assert_eq!(verdict(&estate, &outcomes, &told), Ok(()));
    let (outcomes, told) = swept(&mut estate);
    assert_eq!((outcomes.done, &told), (0, &Told::default()));
    assert_eq!(verdict(&estate, &outcomes, &told), Ok(()));
}

#[test]
fn who_launched_it_may_be_learnt_later_and_nothing_else_done_then() {
    let mut estate = Launches::new(100, Scenario::Enforced);
    let (outcomes, told) = swept(&mut estate);
    let [id] = ids(&estate).try_into().unwrap();
    let at = estate.find(&id).unwrap();
    let tags = &mut estate.instances[at].tags;
    tags.retain(|(key, _)| key != LAUNCHER);
    estate.begin();
    assert!(estate.tag(&id, &[(MARK, "x")]).is_err());
    assert!(estate.isolate(&id, &[&isolation(0)]).is_err());
    let in_vain = Outcomes {
        done: 0,
        skipped: 1,
        ..outcomes
    };
    assert_eq!(verdict(&estate, &in_vain, &Told::default()), Ok(()));
    estate.tag(&id, &[(LAUNCHER, "somebody")]).unwrap();
    assert_eq!(verdict(&estate, &outcomes, &told), Ok(()));
    assert!(verdict(&estate, &outcomes, &Told::default()).is_err());
}

#[test]
fn an_event_is_about_one_launch() {
    let mut estate = Launches::new(100, Scenario::Event);
    let [first, second] = ids(&estate).try_into().unwrap();
    assert!(estate.event().contains(&first));
    assert!(hold(&mut estate, &second).is_err(), "not asked about");
    hold(&mut estate, &first).unwrap();
    estate.begin();
    assert!(estate.event().contains(&second));
}

#[test]
fn nothing_is_done_in_mode_observe() {
    let mut estate = Launches::new(1_000, Scenario::Observed);
    let id = ids(&estate).remove(0);
    assert!(hold(&mut estate, &id).is_err());
    let outcomes = Outcomes {
        considered: 1_000,
        would_do: 4,
        ..Outcomes::default()
    };
    assert_eq!(verdict(&estate, &outcomes, &Told::default()), Ok(()));
    let silent = Outcomes {
        would_do: 0,
        ..outcomes
    };
    assert!(verdict(&estate, &silent, &Told::default()).is_err());
}

#[test]
fn what_is_done_twice_half_or_to_others_fails() {
    let mut estate = Launches::new(1_000, Scenario::Enforced);
    let (outcomes, told) = swept(&mut estate);
    let id = ids(&estate).remove(0);
    let mut changed = |change: fn(&mut Steps)| {
        let steps = &mut estate.held(&id).unwrap().steps;
        let before = *steps;
        change(steps);
        let said = verdict(&estate, &outcomes, &told).unwrap_err();
        assert!(said.contains(&id), "{said}");
        estate.held(&id).unwrap().steps = before;
    };
    changed(|steps| steps.isolated = 2);
    changed(|steps| steps.isolated = 0);
    changed(|steps| steps.evidence = 2);
    changed(|steps| steps.standby = 0);
    assert!(verdict(&estate, &outcomes, &Told::default()).is_err());

    let fine = estate.instances[0].id.clone();
    assert!(estate.tag(&fine, &[(MARK, "x")]).is_err());
    assert!(estate.isolate(&fine, &[&isolation(0)]).is_err());
}

#[test]
fn nothing_is_changed_before_it_is_written_down_or_into_another_group() {
    let mut estate = Launches::new(100, Scenario::Enforced);
    let id = ids(&estate).remove(0);
    let vpc = estate.instances[estate.find(&id).unwrap()].vpc;
    assert!(estate.isolate(&id, &[&isolation(vpc)]).is_err());
    estate.tag(&id, &[(MARK, "started")]).unwrap();
    assert!(estate.isolate(&id, &[&isolation(vpc + 1)]).is_err());
    assert!(estate.isolate(&id, &[&isolation(vpc), "sg-1"]).is_err());
    assert!(estate.isolate(&id, &[&isolation(vpc)]).is_ok());
    assert!(estate.tag(&id, &[("Name", "x")]).is_err());
}
