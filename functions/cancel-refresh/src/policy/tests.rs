use super::*;
use guardrails::policy;

const GROUPS: &str = "{groups: [{name: 'web*', alarms: [errors, slow], image: {repository: team/app, tag: prod, stable-tag: prod-stable}}, {name: web-eu, alarms: [errors], image: {repository: team/eu, tag: prod, stable-tag: good}}]}";

fn parse(section: &str) -> Result<Policy, policy::Mistakes> {
    policy::parse(&format!("cancel-refresh: {section}"), crate::NAME)
}

fn group(name: &str, tags: &[(&str, &str)]) -> Group {
    Group {
        name: name.to_owned(),
        desired: 4,
        tags: tags
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
        ..Group::default()
    }
}

fn settings_of(section: &str, name: &str, tags: &[(&str, &str)]) -> Settings {
    Settings::of(&parse(section).unwrap(), &group(name, tags))
}

fn settings(tags: &[(&str, &str)]) -> Settings {
    settings_of("{}", "web", tags)
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
            "{failing-share: 10}",
            "cancel-refresh.failing-share (line 1): `failing-share` must be from 20 to 100",
        ),
        ("{failing-share: 101}", "must be from 20 to 100"),
        (
            "{launch-failures: 0}",
            "launch-failures (line 1): expected a whole number, 1 or more",
        ),
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
        (
            "{when-started-again: never}",
            "expected one of `judge`, `stop`",
        ),
        ("{exclude: {values: [a]}}", "`values` without `tag`"),
        ("{rollback: true}", "unknown key `rollback`"),
        ("{groups: [{alarms: [errors]}]}", "name"),
        ("{groups: [{name: ''}]}", "an empty `name` matches nothing"),
        ("{groups: [{name: web, tags: [a]}]}", "unknown key `tags`"),
        (
            "{groups: [{name: web, image: {repository: app, tag: prod}}]}",
            "stable-tag",
        ),
        (
            "{groups: [{name: web, image: {repository: 1.dkr.ecr.eu-central-1.amazonaws.com/app, tag: prod, stable-tag: good}}]}",
            "is no name of a repository of this account and Region",
        ),
        (
            "{groups: [{name: web, image: {repository: app, tag: prod, stable-tag: prod}}]}",
            "nothing to go back to",
        ),
        (
            "{groups: [{name: web, image: {repository: app, tag: -prod, stable-tag: good}}]}",
            "`tag`: \"-prod\" is no image tag",
        ),
    ] {
        let mistake = parse(section).expect_err(section).to_string();
        assert!(mistake.contains(expected), "{section}: {mistake}");
    }
}

#[test]
fn a_limit_that_another_always_comes_before_is_told() {
    let told = |section: &str| parse(section).unwrap().warnings();
    let remarks = told("{permanent-launch-failures: 6, launch-failures: 5}");
    assert_eq!(remarks[0].path, "permanent-launch-failures");
    assert!(remarks[0].text.contains("which is 5"), "{remarks:?}");
    assert_eq!(
        told("{permanent-launch-failures: 5, launch-failures: 5}"),
        []
    );
    assert_eq!(told("{}"), []);
}

#[test]
fn tags_can_ask_for_less() {
    let read = settings(&[
        (tags::ON_FAILURE, "cancel"),
        (tags::LAUNCH_FAILURES, "9"),
        (tags::PERMANENT_LAUNCH_FAILURES, "2"),
        (tags::UNHEALTHY_TERMINATIONS, "4"),
        (tags::STALLED_FOR, "1h"),
        ("ec2-guardrails:alarms", "not one of ours"),
    ]);
    assert_eq!(read.problems, []);
    assert_eq!(read.on_failure, OnFailure::Cancel);
    assert_eq!(
        (
            read.launch_failures,
            read.permanent_launch_failures,
            read.unhealthy_terminations
        ),
        (9, 2, 4)
    );
    assert_eq!(read.stalled_for, Age::from_hours(1));
}

fn changes_nothing_and_is_named(policy: &str, key: &str, value: &str) {
    let read = settings_of(policy, "web", &[(key, value)]);
    assert_eq!(read.problems.len(), 1, "{key}={value}: {read:?}");
    assert_eq!(read.problems[0].tag, key);
    let problems = Vec::new();
    let plain = settings_of(policy, "web", &[]);
    assert_eq!(Settings { problems, ..read }, plain, "{key}={value}");
}

/// Whoever may tag a group could otherwise have good releases stopped.
#[test]
fn tags_can_ask_for_no_more_than_the_policy() {
    let policy = "{on-failure: notify, launch-failures: 5}";
    for (key, value) in [
        (tags::ON_FAILURE, "rollback"),
        (tags::ON_FAILURE, "cancel"),
        (tags::LAUNCH_FAILURES, "4"),
        (tags::PERMANENT_LAUNCH_FAILURES, "1"),
        (tags::UNHEALTHY_TERMINATIONS, "1"),
        (tags::STALLED_FOR, "1m"),
        (tags::ALARM, "always"),
        ("ec2-guardrails:alarm-2", "always"),
        (tags::IMAGE_REPOSITORY, "team/app"),
        (tags::IMAGE_TAG, "prod"),
    ] {
        changes_nothing_and_is_named(policy, key, value);
    }
}

#[test]
fn a_tag_that_cant_be_used_changes_nothing_and_is_named() {
    for (key, value) in [
        (tags::LAUNCH_FAILURES, "0"),
        (tags::LAUNCH_FAILURES, "many"),
        (tags::PERMANENT_LAUNCH_FAILURES, "-1"),
        (tags::UNHEALTHY_TERMINATIONS, ""),
        (tags::STALLED_FOR, "1mo"),
    ] {
        changes_nothing_and_is_named("{}", key, value);
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

/// Whoever may tag any group could otherwise have any image moved.
#[test]
fn which_image_is_put_back_is_the_policys_to_say() {
    let of = |name: &str, tags: &[(&str, &str)]| settings_of(GROUPS, name, tags);
    let repository = |settings: &Settings| settings.image.as_ref().map(|i| i.repository.clone());
    assert_eq!(repository(&of("web-1", &[])).as_deref(), Some("team/app"));
    assert_eq!(repository(&of("db", &[])), None);
    // Tags choose among those that the policy allows.
    let eu = [
        (tags::IMAGE_REPOSITORY, "team/eu"),
        (tags::STABLE_TAG, "good"),
    ];
    assert_eq!(repository(&of("web-eu", &[])).as_deref(), Some("team/app"));
    assert_eq!(repository(&of("web-eu", &eu)).as_deref(), Some("team/eu"));
    for (name, tags) in [
        ("web-1", eu.as_slice()),
        ("db", &[(tags::IMAGE_REPOSITORY, "team/app")]),
        ("web-1", &[(tags::IMAGE_TAG, "other")]),
        ("web-1", &[(tags::STABLE_TAG, "old")]),
    ] {
        let read = of(name, tags);
        assert_eq!(read.image, None, "{name}");
        assert_eq!(read.problems[0].tag, tags[0].0);
    }
}

#[test]
fn which_alarms_count_is_the_policys_to_say() {
    assert_eq!(
        settings_of(GROUPS, "web-eu", &[]).alarms,
        ["errors", "slow"]
    );
    assert!(settings_of(GROUPS, "db", &[]).alarms.is_empty());
    let policy = parse(GROUPS).unwrap();
    assert!(names_alarm(&policy, "slow") && !names_alarm(&policy, "fast"));
}
