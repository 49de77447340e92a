//! A benchmark of a wrong sweep must fail: each way to be wrong is tried.

use super::*;
use crate::query::Query;

fn call(
    estate: &mut Volumes,
    action: &str,
    parameters: &[(&str, &str)],
) -> Result<String, Refusal> {
    let body = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(parameters)
        .finish();
    ec2::respond(estate, action, &Query::parse(body.as_bytes()))
}

/// What the function sends for a set.
fn make_set(estate: &mut Volumes, instance: usize, attempt: &str) -> Result<String, Refusal> {
    let mut tags = estate.our_tags(instance, estate.slot);
    for (key, value) in &mut tags {
        if key == ATTEMPT {
            attempt.clone_into(value);
        }
    }
    let mut parameters = vec![
        (
            "InstanceSpecification.InstanceId".to_owned(),
            estate.instances[instance].id.clone(),
        ),
        (
            "TagSpecification.1.ResourceType".to_owned(),
            "snapshot".to_owned(),
        ),
        ("CopyTagsFromSource".to_owned(), "volume".to_owned()),
    ];
    for (n, (key, value)) in tags.into_iter().enumerate() {
        let tag = format!("TagSpecification.1.Tag.{}", n + 1);
        parameters.push((format!("{tag}.Key"), key));
        parameters.push((format!("{tag}.Value"), value));
    }
    let parameters: Vec<(&str, &str)> = parameters
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    call(estate, "CreateSnapshots", &parameters)
}

fn outcomes(estate: &Volumes, done: usize, left: usize) -> Outcomes {
    Outcomes {
        considered: estate.volumes.len(),
        done,
        left,
        ..Outcomes::default()
    }
}

/// An estate of 40 sets, all made as they should be.
fn swept() -> Volumes {
    let mut estate = Volumes::new(100, Scenario::Slot);
    for instance in 0..40 {
        make_set(&mut estate, instance, "1").unwrap();
    }
    estate
}

fn verdict(estate: &Volumes, outcomes: Outcomes) -> Result<(), String> {
    estate.verify(&outcomes, &Told::default(), &Calls::default(), false)
}

#[track_caller]
fn fails(verdict: Result<(), String>, why: &str) {
    let said = verdict.unwrap_err();
    assert!(said.contains(why), "{said}");
}

#[test]
fn a_right_sweep_passes() {
    let estate = swept();
    assert_eq!(estate.snapshots.len(), 1_000 + 10 + 100);
    assert_eq!(verdict(&estate, outcomes(&estate, 40, 0)), Ok(()));
}

#[test]
fn a_report_that_does_not_tell_the_truth_fails() {
    let estate = swept();
    for (done, left) in [(39, 1), (41, 0), (40, 1)] {
        assert!(verdict(&estate, outcomes(&estate, done, left)).is_err());
    }
    let failed = Outcomes {
        failed: 1,
        ..outcomes(&estate, 40, 0)
    };
    assert!(verdict(&estate, failed).is_err());
}

#[test]
fn what_is_left_passes_only_where_time_may_run_out() {
    let mut estate = Volumes::new(100, Scenario::Slot);
    make_set(&mut estate, 7, "1").unwrap();
    let one = outcomes(&estate, 1, 39);
    fails(verdict(&estate, one), "39 left");
    assert_eq!(
        estate.verify(&one, &Told::default(), &Calls::default(), true),
        Ok(())
    );
}

#[test]
fn a_second_snapshot_of_a_slot_fails() {
    let mut estate = swept();
    let refused = make_set(&mut estate, 0, "1").unwrap_err();
    assert_eq!(refused.code, "SnapshotCreationPerVolumeRateExceeded");
    let again = Wanted {
        tags: Arc::new(estate.our_tags(0, estate.slot)),
        copy_tags: true,
        description: "".into(),
    };
    let now = Timestamp::now() + 1.minute();
    estate.snapshot(0, &again, now);
    fails(verdict(&estate, outcomes(&estate, 40, 0)), "made twice");
}

#[test]
fn a_partial_set_or_one_with_other_tags_fails() {
    let mut estate = Volumes::new(100, Scenario::Slot);
    let rightly = Wanted {
        tags: Arc::new(estate.our_tags(0, estate.slot)),
        copy_tags: true,
        description: "".into(),
    };
    estate.snapshot(0, &rightly, Timestamp::now());
    fails(verdict(&estate, outcomes(&estate, 1, 39)), "1 of its 2");

    let mut estate = Volumes::new(100, Scenario::Slot);
    let wrongly = Wanted {
        tags: Arc::new(estate.our_tags(0, estate.slot_before(1))),
        ..rightly
    };
    for volume in 0..2 {
        estate.snapshot(volume, &wrongly, Timestamp::now());
    }
    fails(verdict(&estate, outcomes(&estate, 1, 39)), "its tags are");
}

#[test]
fn a_snapshot_that_nobody_lacks_fails() {
    let mut estate = Volumes::new(100, Scenario::Idle);
    assert_eq!(verdict(&estate, outcomes(&estate, 0, 0)), Ok(()));
    make_set(&mut estate, 3, "1").unwrap();
    fails(
        verdict(&estate, outcomes(&estate, 1, 0)),
        "had a snapshot already",
    );
}

#[test]
fn only_what_is_no_longer_kept_may_go() {
    let mut estate = Volumes::new(100, Scenario::Prune);
    let doomed: Vec<usize> = estate.doomed().collect();
    assert_eq!(doomed.len(), 100);
    for index in doomed {
        let id = estate.snapshots[index].id.clone();
        call(&mut estate, "DeleteSnapshot", &[("SnapshotId", &id)]).unwrap();
    }
    assert_eq!(verdict(&estate, outcomes(&estate, 100, 0)), Ok(()));
    // The last one of all is one made by hand, the one before it the newest of a volume.
    for index in [estate.snapshots.len() - 1, 999] {
        let id = estate.snapshots[index].id.clone();
        call(&mut estate, "DeleteSnapshot", &[("SnapshotId", &id)]).unwrap();
        fails(
            verdict(&estate, outcomes(&estate, 101, 0)),
            "though it was to stay",
        );
        estate.snapshots[index].deleted = false;
    }
}

#[test]
fn failed_snapshots_must_be_made_again_and_told_of_once() {
    let mut estate = Volumes::new(100, Scenario::Failed);
    let failing: Vec<String> = estate
        .failing()
        .map(|volume| estate.volumes[volume].id.clone())
        .collect();
    for instance in [0, 10, 20, 30] {
        make_set(&mut estate, instance, "2").unwrap();
    }
    let done = outcomes(&estate, 4, 0);
    let told = Told::of(failing.iter().cloned());
    let verify =
        |estate: &Volumes, told: &Told| estate.verify(&done, told, &Calls::default(), false);
    fails(verify(&estate, &Told::default()), "told");
    fails(verify(&estate, &told), "the tag");
    for id in &failing {
        let tag = [
            ("ResourceId.1", id.as_str()),
            ("Tag.1.Key", TOLD),
            ("Tag.1.Value", "daily: key"),
        ];
        call(&mut estate, "CreateTags", &tag).unwrap();
    }
    assert_eq!(verify(&estate, &told), Ok(()));
    let twice = Told {
        notices: 2,
        ..told.clone()
    };
    fails(verify(&estate, &twice), "told");
    let mut another = told;
    another.findings[0] = estate.instances[0].id.clone();
    fails(verify(&estate, &another), "told");
}

#[test]
fn requests_that_aws_refuses_are_refused() {
    let mut estate = Volumes::new(10, Scenario::Slot);
    let root = estate.volumes[0].id.clone();
    let instance = estate.instances[0].id.clone();
    for (action, parameters, code) in [
        (
            "DescribeSnapshots",
            vec![("MaxResults", "5")],
            "InvalidParameterValue",
        ),
        (
            "DescribeVolumes",
            vec![("MaxResults", "501")],
            "InvalidParameterValue",
        ),
        ("DescribeVolumes", vec![], "MissingParameter"),
        (
            "DescribeVolumes",
            vec![
                ("MaxResults", "5"),
                ("Filter.1.Name", "size"),
                ("Filter.1.Value.1", "1"),
            ],
            "InvalidParameterValue",
        ),
        (
            "DescribeVolumes",
            vec![("MaxResults", "5"), ("Owner.1", "self")],
            "UnknownParameter",
        ),
        ("DeleteVolume", vec![], "InvalidAction"),
        (
            "DeleteSnapshot",
            vec![("SnapshotId", "snap-1")],
            "InvalidSnapshot.NotFound",
        ),
        (
            "CreateSnapshots",
            vec![
                ("InstanceSpecification.InstanceId", instance.as_str()),
                ("InstanceSpecification.ExcludeDataVolumeId.1", root.as_str()),
            ],
            "InvalidParameterValue",
        ),
    ] {
        let refusal = call(&mut estate, action, &parameters).unwrap_err();
        assert_eq!(refusal.code, code, "{action} {parameters:?}");
    }
}

#[test]
fn a_set_leaves_out_what_is_excluded() {
    let mut estate = Volumes::new(10, Scenario::Slot);
    let (data, instance) = (estate.volumes[1].id.clone(), estate.instances[0].id.clone());
    for (name, value, made) in [
        ("InstanceSpecification.ExcludeBootVolume", "true", 1),
        (
            "InstanceSpecification.ExcludeDataVolumeId.1",
            data.as_str(),
            0,
        ),
    ] {
        let before = estate.snapshots.len();
        let parameters = [
            ("InstanceSpecification.InstanceId", instance.as_str()),
            ("TagSpecification.1.ResourceType", "snapshot"),
            (name, value),
        ];
        call(&mut estate, "CreateSnapshots", &parameters).unwrap();
        let volumes: Vec<usize> = estate.snapshots[before..]
            .iter()
            .map(|s| s.volume)
            .collect();
        assert_eq!(volumes, [made]);
    }
}
