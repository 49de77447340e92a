use super::*;
use crate::fixtures::{
    OURS, THEIRS, at, default_policy, denied, facts, instance, now, with_profile,
};

/// Of the one instance that there is.
fn stands(facts: &Facts) -> Standing {
    let instance = facts.instances.values().next().unwrap();
    standing(instance, facts, &default_policy(), now())
}

fn one(is: State) -> Facts {
    facts([instance("i-1").is(is)])
}

fn not_yet() -> Standing {
    Standing::NotYet(
        "it can get one only when it is running or stopped; its next state change or the next sweep attaches it".to_owned(),
    )
}

fn theirs() -> Facts {
    facts([with_profile("i-1", THEIRS)])
}

#[test]
fn an_instance_without_profile_lacks_one_where_it_can_get_one() {
    for (is, expected) in [
        (State::Running, Standing::Lacking),
        (State::Stopped, Standing::Lacking),
        (State::Pending, not_yet()),
        (State::Stopping, not_yet()),
        (State::Terminal, Standing::Terminal),
    ] {
        assert_eq!(stands(&one(is)), expected, "{is:?}");
    }
    let hosted_by_default = one(State::Running).online("i-1");
    assert_eq!(stands(&hosted_by_default), Standing::Online);
    let host_management_lost_it = one(State::Running).lost("i-1", "12:00:00");
    assert_eq!(stands(&host_management_lost_it), Standing::Lacking);
    let stopped_and_shown_online = one(State::Stopped).online("i-1");
    assert_eq!(stands(&stopped_and_shown_online), Standing::Lacking);
}

#[test]
fn what_is_excluded_operated_or_in_quarantine_is_left_alone() {
    let excluded = facts([instance("i-1").tagged("NoSsm", "")]);
    assert_eq!(
        stands(&excluded),
        Standing::Excluded("its tag NoSsm excludes it".to_owned())
    );
    let operated = facts([instance("i-1").operated()]);
    let by = "eks.amazonaws.com".to_owned();
    assert_eq!(stands(&operated), Standing::Operated(by));
    let quarantined = one(State::Running).quarantined("i-1");
    assert_eq!(stands(&quarantined), Standing::Quarantined);
    let quarantined = theirs().online("i-1").quarantined("i-1");
    assert_eq!(stands(&quarantined), Standing::Quarantined, "and Online");
}

/// Anybody may write these.
#[test]
fn tags_of_our_prefix_say_nothing() {
    for (key, value) in rows! {
        "ec2-guardrails:quarantined" => "complete 2026-11-21T11:00:00Z";
        "ec2-guardrails:managed-node" => "attached 2026-11-21T11:50:00Z";
        "ec2-guardrails:told-unmanaged" => "no-route rtb-1";
    } {
        let lacking = facts([instance("i-1").tagged(key, value)]);
        assert_eq!(stands(&lacking), Standing::Lacking, "{key}");
        let late = facts([with_profile("i-1", OURS).tagged(key, value)]);
        assert_eq!(stands(&late), Standing::Late(at("08:35:00")), "{key}");
    }
}

#[test]
fn where_quarantines_could_not_be_read_no_instance_lacks_a_profile() {
    let unread = |mut facts: Facts| {
        facts.quarantined = Err(denied("dynamodb:Query"));
        stands(&facts)
    };
    assert_eq!(unread(one(State::Running)), Standing::Unknown);
    assert_eq!(unread(one(State::Stopped)), Standing::Unknown);
    assert_eq!(unread(one(State::Pending)), not_yet());
    assert_eq!(unread(theirs().online("i-1")), Standing::Online);
    let excluded = facts([instance("i-1").tagged("NoSsm", "")]);
    let by = Standing::Excluded("its tag NoSsm excludes it".to_owned());
    assert_eq!(unread(excluded), by);
}

#[test]
fn a_node_is_late_when_it_had_its_time_since_its_start_its_profile_and_its_last_ping() {
    let late = |time| Standing::Late(at(time));
    let waiting = |time| Standing::Waiting(at(time));
    for (what, facts, expected) in rows! {
        "never registered", theirs() => late("08:35:00");
        "just attached", theirs().attached("i-1", "11:50:00") => waiting("12:25:00");
        "lost a moment ago", theirs().lost("i-1", "11:40:00") => waiting("12:15:00");
        "lost an hour ago", theirs().lost("i-1", "11:00:00") => late("11:35:00");
        "exactly at its time", theirs().lost("i-1", "11:25:00") => late("12:00:00");
        "stopped", facts([with_profile("i-1", OURS).is(State::Stopped)]) => Standing::Stopped;
    } {
        assert_eq!(stands(&facts), expected, "{what}");
    }
}

#[test]
fn a_profile_associated_by_hand_restarts_the_clock_too() {
    let mut facts = theirs();
    facts.associated = Ok([("i-1".to_owned(), at("11:45:00"))].into());
    assert_eq!(stands(&facts), Standing::Waiting(at("12:20:00")));
}

/// A group scaled to nothing at night is no cure.
#[test]
fn a_member_concerns_its_group_by_what_it_was_launched_with() {
    use Member::{Concerned, Silent, Unconcerned};
    let one = || instance("i-1");
    let with = |profile| with_profile("i-1", profile);
    for (what, facts, expected) in rows! {
        "lacks a profile", facts([one()]) => Concerned;
        "has ours", facts([with(OURS)]).online("i-1") => Concerned;
        "has ours, stopped", facts([with(OURS).is(State::Stopped)]) => Concerned;
        "has its own", facts([with(THEIRS)]) => Unconcerned;
        "hosted by default", facts([one()]).online("i-1") => Unconcerned;
        "excluded", facts([with(OURS).tagged("NoSsm", "")]) => Unconcerned;
        "operated", facts([one().operated()]) => Unconcerned;
        "starting", facts([one().is(State::Pending)]) => Silent;
        "in quarantine", facts([one()]).quarantined("i-1") => Silent;
    } {
        let instance = &facts.instances["i-1"];
        let found = member(instance, &stands(&facts), OURS);
        assert_eq!(found, expected, "{what}");
    }
}
