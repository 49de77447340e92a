use super::*;
use crate::decide::drills::tests::{drills as policy, going, made as made_by, restore};
use crate::memory::PROOFS;
use aws_sdk_ec2::operation::describe_volumes::DescribeVolumesOutput;
use aws_sdk_ec2::primitives::DateTime;
use aws_sdk_ec2::types::{Tag, VolumeState};
use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};
use guardrails::state::model::Model;

fn now() -> Timestamp {
    "2026-11-21T10:00:00Z".parse().unwrap()
}

/// What is made, where it is looked for so.
fn found_by(name: &'static str, value: &'static str) -> Rule {
    mock!(Client::describe_volumes)
        .match_requests(move |request| {
            let filter = &request.filters()[0];
            filter.name() == Some(name) && filter.values() == [value]
        })
        .then_output(|| {
            let tag = Tag::builder().key(tags::DRILL).value("drill-1").build();
            let volume = Volume::builder()
                .volume_id("vol-9")
                .snapshot_id("snap-1")
                .state(VolumeState::Available)
                .create_time(DateTime::from_secs(restore().begun.as_second() + 10))
                .tags(tag)
                .build();
            DescribeVolumesOutput::builder().volumes(volume).build()
        })
}

async fn observed(rule: &Rule, facts: &Facts, env: bool) -> Drills {
    let state = Model::default().state(crate::NAME);
    for (key, remembered) in &facts.drills.records {
        let put = state.put(&PROOFS, key, &remembered.value, None, &Expect::Any, now());
        put.await.unwrap();
    }
    let ec2 = mock_client!(aws_sdk_ec2, RuleMode::MatchAny, [rule]);
    let mut regions = Regions::of(&ec2, &[], &[]);
    if env {
        let ebs = mock_client!(aws_sdk_ebs, RuleMode::MatchAny, &[]);
        regions = regions.with_ebs(&ebs);
    }
    drills(&regions, &state, &policy(""), now()).await.unwrap()
}

#[tokio::test]
async fn volumes_under_way_are_looked_for_by_id_or_by_token() {
    let nameless = Restore {
        volume: None,
        ..restore()
    };
    for (restore, name, value) in [
        (restore(), "volume-id", "vol-9"),
        (nameless, "tag:ec2-guardrails:drill", "drill-1"),
    ] {
        let rule = found_by(name, value);
        let drills = observed(&rule, &going(restore, vec![]), true).await;
        let made = drills.made["eu-central-1"].as_ref().unwrap();
        assert_eq!(made, &[made_by("available")]);
        assert_eq!(drills.forbidden, None);
        assert_eq!(rule.num_calls(), 1);
    }
}

#[tokio::test]
async fn nothing_under_way_needs_no_call_and_the_parameter_is_named() {
    let rule = found_by("volume-id", "vol-9");
    let drills = observed(&rule, &Facts::default(), false).await;
    assert_eq!(rule.num_calls(), 0);
    assert!(drills.forbidden.unwrap().message.contains("RestoreDrills"));
}

/// Taken for gone, it would be forgotten and left behind.
#[test]
fn a_volume_of_which_an_answer_leaves_something_out_is_there_and_isnt_deleted() {
    let tag = Tag::builder().key(tags::DRILL).value("drill-1").build();
    let volume = Volume::builder().volume_id("vol-9").snapshot_id("snap-1");
    let found = read(volume.tags(tag).build()).unwrap();
    restore().may_delete(&found).unwrap_err();
}

/// Else a plan for all volumes would snapshot them.
#[test]
fn a_drills_own_volume_is_no_matter_of_plans_unless_somebody_uses_it() {
    for (change, stays) in [
        ("", false),
        ("tag", true),
        ("attached", true),
        ("before", true),
    ] {
        let mut its = made_by("available");
        match change {
            "tag" => its.token = None,
            "attached" => its.attached = Some("i-1".to_owned()),
            "before" => its.created = "2026-11-21T08:00:00Z".parse().unwrap(),
            _ => {}
        }
        let mut facts = going(restore(), vec![its]);
        let volume = crate::decide::tests::volume("vol-9");
        facts.volumes.insert(volume.id.clone(), volume);
        set_apart(&mut facts);
        assert_eq!(facts.volumes.contains_key("vol-9"), stays, "{change}");
        assert!(facts.volumes.contains_key("vol-1"));
    }
}
