use super::*;
use guardrails::policy;
use proptest::prelude::*;

fn parse(section: &str) -> Result<Policy, policy::Mistakes> {
    policy::parse(&format!("cancel-refresh: {section}"), crate::NAME)
}

fn group(tags: &[(&str, &str)]) -> Group {
    Group {
        name: "web".to_owned(),
        desired: 4,
        tags: tags
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
        ..Group::default()
    }
}

fn settings(tags: &[(&str, &str)]) -> Settings {
    Settings::of(&parse("{}").unwrap(), &group(tags))
}

#[test]
fn the_built_in_section_states_the_defaults() {
    let built_in: Policy = policy::parse(policy::BUILT_IN, crate::NAME).unwrap();
    let written = parse("{exclude: {tag: NoRefreshGuard}}").unwrap();
    assert_eq!(built_in, written);
    assert_eq!(built_in.on_failure, OnFailure::Rollback);
    assert!(policy::BUILT_IN.len() < 4_096, "fits a standard parameter");
}

#[test]
fn each_mistake_is_named() {
    for (section, expected) in [
        (
            "{on-failure: stop}",
            "cancel-refresh.on-failure (line 1): `stop` isn't known here; expected one of `notify`, `cancel`, `rollback`",
        ),
        (
            "{launch-failures: {percent: 0}}",
            "`percent` must be from 1 to 100",
        ),
        (
            "{launch-failures: {percent: 101}}",
            "`percent` must be from 1 to 100",
        ),
        (
            "{launch-failures: {min: 0}}",
            "launch-failures.min (line 1): `min` must be at least 1",
        ),
        (
            "{launch-failures: {min: 5, max: 4}}",
            "`max` (4) is below `min` (5)",
        ),
        ("{launch-failures: {most: 4}}", "unknown key `most`"),
        (
            "{permanent-launch-failures: 0}",
            "permanent-launch-failures (line 1): expected a whole number, 1 or more",
        ),
        (
            "{unhealthy-terminations: -1}",
            "unhealthy-terminations (line 1): expected a whole number, 1 or more",
        ),
        (
            "{unhealthy-terminations: 4294967296}",
            "unhealthy-terminations (line 1): 4294967296 is too large a number here",
        ),
        ("{stalled-for: soon}", "is no length of time"),
        ("{exclude: {values: [a]}}", "`values` without `tag`"),
        ("{rollback: true}", "unknown key `rollback`"),
    ] {
        let mistake = parse(section).expect_err(section).to_string();
        assert!(mistake.contains(expected), "{section}: {mistake}");
    }
}

#[test]
fn a_limit_that_another_always_comes_before_is_told() {
    let told = |section: &str| parse(section).unwrap().warnings();
    let remarks = told("{permanent-launch-failures: 6, launch-failures: {max: 5}}");
    assert_eq!(remarks[0].path, "permanent-launch-failures");
    assert!(remarks[0].text.contains("5 at most"), "{remarks:?}");
    assert_eq!(
        told("{permanent-launch-failures: 5, launch-failures: {max: 5}}"),
        []
    );
    assert_eq!(told("{}"), []);
}

/// The numbers of the deployment circuit breaker of Amazon ECS (ASG-7).
#[test]
fn the_threshold_is_that_of_the_circuit_breaker() {
    let default = LaunchFailures::default();
    for (desired, expected) in [
        (0, 3),
        (1, 3),
        (6, 3),
        (7, 4),
        (25, 13),
        (399, 200),
        (400, 200),
        (u32::MAX, 200),
    ] {
        assert_eq!(default.threshold(desired), expected, "{desired}");
    }
}

proptest! {
    #[test]
    fn a_threshold_stays_within_its_bounds(
        desired: u32, percent in 1..=100_u32, min in 1..500_u32, more in 0..500_u32,
    ) {
        let limits = LaunchFailures { percent, min, max: min + more };
        let threshold = limits.threshold(desired);
        prop_assert!((min..=min + more).contains(&threshold));
        prop_assert!(limits.threshold(desired.saturating_add(1)) >= threshold);
    }
}

#[test]
fn a_groups_tags_override_the_policy() {
    let read = settings(&[
        (tags::ON_FAILURE, "cancel"),
        (tags::LAUNCH_FAILURES, "9"),
        (tags::PERMANENT_LAUNCH_FAILURES, "1"),
        (tags::UNHEALTHY_TERMINATIONS, "4"),
        (tags::STALLED_FOR, "1h"),
        (tags::ALARM, "too many errors"),
        ("ec2-guardrails:alarm-2", "slow"),
        ("ec2-guardrails:alarms", "not one of ours"),
        (tags::IMAGE_REPOSITORY, "team/app"),
        (tags::IMAGE_TAG, "prod"),
        (tags::STABLE_TAG, "prod-stable"),
    ]);
    assert_eq!(read.problems, []);
    assert_eq!(read.on_failure, OnFailure::Cancel);
    assert_eq!(
        (
            read.launch_failures,
            read.permanent_launch_failures,
            read.unhealthy_terminations
        ),
        (9, 1, 4)
    );
    assert_eq!(read.stalled_for, Age::from_hours(1));
    assert_eq!(read.alarms, ["too many errors", "slow"]);
    assert_eq!(read.image.unwrap().repository, "team/app");
}

#[test]
fn a_tag_that_cant_be_used_changes_nothing_and_is_named() {
    let plain = settings(&[]);
    for (key, value) in [
        (tags::LAUNCH_FAILURES, "0"),
        (tags::LAUNCH_FAILURES, "many"),
        (tags::PERMANENT_LAUNCH_FAILURES, "-1"),
        (tags::UNHEALTHY_TERMINATIONS, ""),
        (tags::STALLED_FOR, "1mo"),
    ] {
        let read = settings(&[(key, value)]);
        assert_eq!(read.problems.len(), 1, "{key}={value}");
        assert_eq!(read.problems[0].tag, key);
        let problems = Vec::new();
        assert_eq!(Settings { problems, ..read }, plain, "{key}={value}");
    }
}

/// A person wanted something else than the policy says: doing what the policy says could be the
/// very thing that was meant to be turned off.
#[test]
fn a_misspelt_action_only_tells() {
    let read = settings(&[(tags::ON_FAILURE, "none")]);
    assert_eq!(read.on_failure, OnFailure::Notify);
    assert_eq!(read.problems[0].tag, tags::ON_FAILURE);
}

#[test]
fn image_tags_are_watched_only_when_all_make_sense() {
    let all = |repository, tag, stable| {
        settings(&[
            (tags::IMAGE_REPOSITORY, repository),
            (tags::IMAGE_TAG, tag),
            (tags::STABLE_TAG, stable),
        ])
    };
    assert!(all("app", "prod", "stable").image.is_some());
    for (read, named) in [
        (all("app", "prod", ""), tags::STABLE_TAG),
        (
            settings(&[(tags::IMAGE_TAG, "prod")]),
            tags::IMAGE_REPOSITORY,
        ),
        (
            all("1.dkr.ecr.eu-central-1.amazonaws.com/app", "prod", "stable"),
            tags::IMAGE_REPOSITORY,
        ),
        (all("app", "prod", "prod"), tags::STABLE_TAG),
        (all("app", "-prod", "stable"), tags::IMAGE_TAG),
        (all("app", "prod", "a b"), tags::STABLE_TAG),
    ] {
        assert_eq!(read.image, None);
        assert_eq!(read.problems[0].tag, named, "{:?}", read.problems);
    }
}
