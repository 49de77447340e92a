use super::*;
use crate::action::{Create, Delete, Member, Target};
use crate::decide::tests::daily;
use crate::observe::snapshot::read;
use crate::ownership::Owned;
use aws_sdk_ec2::operation::describe_images::DescribeImagesOutput;
use aws_sdk_ec2::operation::describe_instances::DescribeInstancesOutput;
use aws_sdk_ec2::operation::describe_locked_snapshots::DescribeLockedSnapshotsOutput;
use aws_sdk_ec2::operation::describe_snapshots::DescribeSnapshotsOutput;
use aws_sdk_ec2::operation::describe_volumes::{DescribeVolumesError, DescribeVolumesOutput};
use aws_sdk_ec2::primitives::DateTime;
use aws_sdk_ec2::types::{self, SnapshotState, StorageTier, Tag};
use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};
use guardrails::state::model::Model;
use guardrails::tags;

const NOW: &str = "2026-11-21T10:00:00Z";
const SLOT: &str = "2026-11-21T03:00:00Z";

pub(super) fn tag(key: &str, value: &str) -> Tag {
    Tag::builder().key(key).value(value).build()
}

fn aws_volume(id: &str, instance: Option<&str>) -> types::Volume {
    let attachment = instance.map(|instance| {
        types::VolumeAttachment::builder()
            .instance_id(instance)
            .device("/dev/xvda")
            .state(VolumeAttachmentState::Attached)
            .build()
    });
    types::Volume::builder()
        .volume_id(id)
        .state(types::VolumeState::InUse)
        .create_time(DateTime::from_secs(1_700_000_000))
        .set_attachments(attachment.map(|a| vec![a]))
        .tags(tag("Backup", "true"))
        .build()
}

fn aws_snapshot(id: &str, volume: &str, slot: &str, state: SnapshotState) -> types::Snapshot {
    types::Snapshot::builder()
        .snapshot_id(id)
        .volume_id(volume)
        .state(state)
        .start_time(DateTime::from_secs(1_795_260_000))
        .description(format!(
            "ec2-guardrails snapshot-volumes: plan daily, slot {slot}, attempt 1: x"
        ))
        .tags(tag(tags::GUARDRAIL, crate::NAME))
        .tags(tag(tags::PLAN, "daily"))
        .tags(tag(tags::SLOT, slot))
        .tags(tag(tags::VOLUMES, volume))
        .build()
}

/// Of [`SLOT`].
pub(super) fn completed(id: &str, volume: &str) -> types::Snapshot {
    aws_snapshot(id, volume, SLOT, SnapshotState::Completed)
}

fn volumes_found(volumes: Vec<types::Volume>) -> DescribeVolumesOutput {
    DescribeVolumesOutput::builder()
        .set_volumes(Some(volumes))
        .build()
}

fn filter_values(filters: &[Filter], name: &str) -> Vec<String> {
    filters
        .iter()
        .filter(|filter| filter.name() == Some(name))
        .flat_map(|filter| filter.values().to_vec())
        .collect()
}

/// Two pages of volumes; the second look by id finds what `found` says.
fn paged_volumes(found: &'static [&'static str]) -> [Rule; 3] {
    [
        mock!(Client::describe_volumes)
            .match_requests(|r| {
                r.filters().is_empty() && r.next_token().is_none() && r.max_results() == Some(1_000)
            })
            .then_output(|| {
                DescribeVolumesOutput::builder()
                    .volumes(aws_volume("vol-1", Some("i-1")))
                    .next_token("more")
                    .build()
            }),
        mock!(Client::describe_volumes)
            .match_requests(|r| r.filters().is_empty() && r.next_token() == Some("more"))
            .then_output(|| volumes_found(vec![aws_volume("vol-2", None)])),
        mock!(Client::describe_volumes)
            .match_requests(|r| !filter_values(r.filters(), "volume-id").is_empty())
            .then_output(move || {
                volumes_found(found.iter().map(|id| aws_volume(id, None)).collect())
            }),
    ]
}

pub(super) fn snapshots_found(snapshots: Vec<types::Snapshot>) -> DescribeSnapshotsOutput {
    DescribeSnapshotsOutput::builder()
        .set_snapshots(Some(snapshots))
        .build()
}

fn snapshots_rule(snapshots: Vec<types::Snapshot>) -> Rule {
    mock!(Client::describe_snapshots)
        .match_requests(|r| {
            r.owner_ids() == ["self"]
                && r.max_results() == Some(1_000)
                && filter_values(r.filters(), "description")
                    == ["ec2-guardrails snapshot-volumes: plan *"]
        })
        .then_output(move || snapshots_found(snapshots.clone()))
}

fn instances_found(ids: &[String]) -> DescribeInstancesOutput {
    let instance = |id: &String| {
        types::Instance::builder()
            .instance_id(id)
            .image_id("ami-1")
            .root_device_name("/dev/xvda")
            .build()
    };
    let instances = ids.iter().map(instance).collect();
    let reservation = types::Reservation::builder().set_instances(Some(instances));
    DescribeInstancesOutput::builder()
        .reservations(reservation.build())
        .build()
}

fn instances_rule() -> Rule {
    mock!(Client::describe_instances)
        .match_requests(|r| filter_values(r.filters(), "instance-id") == ["i-1"])
        .then_output(|| instances_found(&["i-1".to_owned()]))
}

fn images_rule() -> Rule {
    mock!(Client::describe_images)
        .match_requests(|r| {
            r.include_deprecated() == Some(true)
                && r.include_disabled() == Some(true)
                && filter_values(r.filters(), "image-id") == ["ami-1"]
        })
        .then_output(|| {
            DescribeImagesOutput::builder()
                .images(
                    types::Image::builder()
                        .image_id("ami-1")
                        .name("ubuntu-20.04")
                        .build(),
                )
                .build()
        })
}

async fn observed(rules: &[&Rule], policy: &Policy, scope: Scope) -> Facts {
    asked(rules, policy, Request::of(scope)).await
}

async fn asked(rules: &[&Rule], policy: &Policy, request: Request<Ask>) -> Facts {
    let state = Model::default().state(crate::NAME);
    looked(rules, &state, policy, &request).await.unwrap()
}

async fn looked(
    rules: &[&Rule],
    state: &state::State,
    policy: &Policy,
    request: &Request<Ask>,
) -> Result<Facts, ApiError> {
    let ec2 = mock_client!(aws_sdk_ec2, RuleMode::MatchAny, rules);
    let regions = Regions::of(&ec2, &[], &[]);
    observe(&regions, state, policy, request, NOW.parse().unwrap()).await
}

#[tokio::test]
async fn reads_all_pages_and_only_the_instances_that_matter() {
    let [one, two, by_id] = paged_volumes(&[]);
    let in_the_bin = aws_snapshot("snap-bin", "vol-2", SLOT, SnapshotState::Recoverable);
    let snapshots = snapshots_rule(vec![completed("snap-1", "vol-2"), in_the_bin]);
    let (instances, images) = (instances_rule(), images_rule());
    let rules = [&one, &two, &by_id, &snapshots, &instances, &images];
    let facts = observed(&rules, &daily("{last: 1}"), Scope::All).await;
    assert_eq!(facts.volumes.keys().collect::<Vec<_>>(), ["vol-1", "vol-2"]);
    assert_eq!(facts.volumes["vol-1"].device(), Some("/dev/xvda"));
    assert_eq!(
        facts.snapshots.len(),
        1,
        "what lies in the Recycle Bin doesn't count"
    );
    let instance = &facts.instances["i-1"];
    assert_eq!(instance.image_name.as_deref(), Some("ubuntu-20.04"));
    assert_eq!(by_id.num_calls(), 0, "no volume seems gone");
}

#[tokio::test]
async fn an_idle_sweep_reads_volumes_and_snapshots_only() {
    let [one, two, _] = paged_volumes(&[]);
    let pending = aws_snapshot("snap-2", "vol-2", SLOT, SnapshotState::Pending);
    let snapshots = snapshots_rule(vec![completed("snap-1", "vol-1"), pending]);
    let facts = observed(&[&one, &two, &snapshots], &daily("{last: 1}"), Scope::All).await;
    assert!(facts.instances.is_empty());
    assert_eq!(
        (one.num_calls(), two.num_calls(), snapshots.num_calls()),
        (1, 1, 1)
    );
}

/// Taken for none, another would be made for its slot.
#[test]
fn a_snapshot_in_a_state_that_is_not_known_yet_is_under_way() {
    let found = aws_snapshot("snap-1", "vol-1", SLOT, SnapshotState::from("verifying"));
    let Some(Owned::Ours(ours)) = read(&found, None, &Exempt::default()) else {
        panic!("it is ours");
    };
    assert_eq!(ours.state, crate::facts::State::Pending);
}

#[tokio::test]
async fn a_volume_is_gone_only_when_a_second_look_does_not_find_it() {
    for (found, gone) in [(&["vol-lost"][..], 0), (&[][..], 1)] {
        let [one, two, by_id] = paged_volumes(found);
        let snapshots = snapshots_rule(vec![
            aws_snapshot("snap-1", "vol-lost", SLOT, SnapshotState::Error),
            completed("snap-2", "vol-1"),
            completed("snap-3", "vol-2"),
        ]);
        let rules = [&one, &two, &by_id, &snapshots];
        let facts = observed(&rules, &daily("{last: 1}"), Scope::All).await;
        assert_eq!(facts.gone.len(), gone);
    }
}

#[tokio::test]
async fn one_volume_brings_its_neighbours_on_the_instance() {
    let own = mock!(Client::describe_volumes)
        .match_requests(|r| filter_values(r.filters(), "volume-id") == ["vol-1"])
        .then_output(|| volumes_found(vec![aws_volume("vol-1", Some("i-1"))]));
    let neighbours = mock!(Client::describe_volumes)
        .match_requests(|r| filter_values(r.filters(), "attachment.instance-id") == ["i-1"])
        .then_output(|| {
            let both = ["vol-1", "vol-3"].map(|id| aws_volume(id, Some("i-1")));
            volumes_found(both.to_vec())
        });
    let snapshots = mock!(Client::describe_snapshots)
        .match_requests(|r| filter_values(r.filters(), "volume-id") == ["vol-1", "vol-3"])
        .then_output(|| snapshots_found(vec![]));
    let (instances, images) = (instances_rule(), images_rule());
    let rules = [&own, &neighbours, &snapshots, &instances, &images];
    let scope = Scope::one(Resource::volume("vol-1"));
    let facts = observed(&rules, &daily("{last: 1}"), scope).await;
    assert!(!facts.complete);
    assert_eq!(facts.volumes.len(), 2);
}

#[tokio::test]
async fn a_read_that_fails_is_an_error_not_an_empty_account() {
    let denied = mock!(Client::describe_volumes).then_error(|| {
        DescribeVolumesError::generic(
            aws_sdk_ec2::error::ErrorMetadata::builder()
                .code("UnauthorizedOperation")
                .build(),
        )
    });
    let rules = [&denied, &snapshots_rule(vec![])];
    let state = Model::default().state(crate::NAME);
    let policy = daily("{last: 1}");
    let looked = looked(&rules, &state, &policy, &Request::sweep()).await;
    assert_eq!(looked.unwrap_err().operation, "ec2:DescribeVolumes");
}

pub(super) fn create(volume: &str) -> Action {
    Action::Create(Create {
        plan: "daily".to_owned(),
        slot: SLOT.parse().unwrap(),
        attempt: 1,
        target: Target::Volume,
        members: vec![Member {
            volume: volume.to_owned(),
            device: None,
        }],
        tags: vec![],
        description: String::new(),
    })
}

fn delete(keeper: Option<&str>) -> Action {
    Action::Delete(Delete {
        region: None,
        snapshot: "snap-old".to_owned(),
        keeper: keeper.map(str::to_owned),
        known_refused: false,
    })
}

async fn verdicts(rules: &[&Rule], actions: &[Action]) -> Vec<Option<String>> {
    let ec2 = mock_client!(aws_sdk_ec2, RuleMode::MatchAny, rules);
    let actions: Vec<&Action> = actions.iter().collect();
    let verdicts = revalidate(&Regions::of(&ec2, &[], &[]), &actions).await;
    verdicts.unwrap()
}

#[tokio::test]
async fn looks_again_for_what_others_made_and_for_what_is_to_stay() {
    let by_volume = mock!(Client::describe_snapshots)
        .match_requests(|r| filter_values(r.filters(), "volume-id") == ["vol-1", "vol-2"])
        .then_output(|| {
            let made = aws_snapshot("snap-9", "vol-2", SLOT, SnapshotState::Pending);
            snapshots_found(vec![made])
        });
    let by_id = mock!(Client::describe_snapshots)
        .match_requests(|r| {
            filter_values(r.filters(), "snapshot-id") == ["snap-gone", "snap-stays"]
        })
        .then_output(|| snapshots_found(vec![completed("snap-stays", "vol-3")]));
    let actions = [
        create("vol-1"),
        create("vol-2"),
        delete(Some("snap-stays")),
        delete(Some("snap-gone")),
        delete(None),
    ];
    let verdicts = verdicts(&[&by_volume, &by_id], &actions).await;
    let needed: Vec<bool> = verdicts.iter().map(Option::is_none).collect();
    assert_eq!(needed, [true, false, true, false, true]);
    assert!(verdicts[1].as_deref().unwrap().contains("snap-9"));
    assert!(verdicts[3].as_deref().unwrap().contains("snap-gone"));
    assert_eq!((by_volume.num_calls(), by_id.num_calls()), (1, 1));
}

#[tokio::test]
async fn snapshots_are_found_by_description_and_judged_by_it() {
    let [one, two, _] = paged_volumes(&[]);
    let mut untagged = completed("snap-3", "vol-2");
    untagged.tags = None;
    let mut foreign = completed("snap-4", "vol-2");
    foreign.description = Some("ec2-guardrails snapshot-volumes: plan ".to_owned());
    let all = vec![
        completed("snap-1", "vol-1"),
        completed("snap-2", "vol-2"),
        untagged,
        foreign,
    ];
    let snapshots = snapshots_rule(all);
    let facts = observed(&[&one, &two, &snapshots], &daily("{last: 1}"), Scope::All).await;
    let ours: Vec<_> = facts.snapshots.iter().map(|s| s.id.as_str()).collect();
    assert_eq!(ours, ["snap-1", "snap-2"]);
    let disowned: Vec<_> = facts.disowned.iter().map(|s| s.id.as_str()).collect();
    assert_eq!(disowned, ["snap-3"]);
}

#[tokio::test]
async fn a_volume_that_is_not_there_matters_to_a_person_only() {
    let none = mock!(Client::describe_volumes).then_output(|| volumes_found(vec![]));
    let scope = || Scope::one(Resource::volume("vol-9"));
    let policy = daily("{last: 1}");
    let event = asked(&[&none], &policy, Request::of(scope())).await;
    assert_eq!(event.not_found, [""; 0]);
    let person = asked(&[&none], &policy, Request::asking(scope())).await;
    assert_eq!(person.not_found, ["vol-9"]);
}

/// A filter takes 200 values in all (EBS-7), and the description is one of them.
#[tokio::test]
async fn a_look_at_many_volumes_keeps_to_what_a_filter_takes() {
    let found = mock!(Client::describe_snapshots)
        .match_requests(|r| {
            let values = r.filters().iter().map(|filter| filter.values().len());
            values.sum::<usize>() <= FILTER_VALUES
        })
        .then_output(|| snapshots_found(vec![]));
    let actions: Vec<Action> = (0..200).map(|n| create(&format!("vol-{n}"))).collect();
    let verdicts = verdicts(&[&found], &actions).await;
    assert!(verdicts.iter().all(Option::is_none));
    assert_eq!(found.num_calls(), 2);
}

// ---- how much is read -----------------------------------------------------------------------------

/// So many volumes, each on an instance of its own, all of one AMI, and what AWS is asked of them.
struct Fleet {
    volumes: Rule,
    snapshots: Rule,
    by_ids: Rule,
    all_instances: Rule,
    images: Rule,
}

impl Fleet {
    fn of(count: usize, snapshots: Vec<types::Snapshot>) -> Self {
        let all = move || (0..count).map(|n| format!("i-{n}")).collect::<Vec<_>>();
        Self {
            volumes: mock!(Client::describe_volumes)
                .match_requests(|r| r.filters().is_empty() && r.max_results() == Some(1_000))
                .then_output(move || {
                    let volume = |n| aws_volume(&format!("vol-{n}"), Some(&format!("i-{n}")));
                    volumes_found((0..count).map(volume).collect())
                }),
            snapshots: snapshots_rule(snapshots),
            by_ids: mock!(Client::describe_instances)
                .match_requests(|r| {
                    let ids = filter_values(r.filters(), "instance-id").len();
                    (1..=200).contains(&ids)
                })
                .then_compute_output(|r| {
                    instances_found(&filter_values(r.filters(), "instance-id"))
                }),
            all_instances: mock!(Client::describe_instances)
                .match_requests(|r| r.filters().is_empty() && r.max_results() == Some(1_000))
                .then_output(move || instances_found(&all())),
            images: images_rule(),
        }
    }

    /// How often each was asked for: volumes, snapshots, instances by ids, all instances, images.
    async fn calls(&self, policy: &Policy) -> [usize; 5] {
        let rules = [
            &self.volumes,
            &self.snapshots,
            &self.by_ids,
            &self.all_instances,
            &self.images,
        ];
        observed(&rules, policy, Scope::All).await;
        rules.map(Rule::num_calls)
    }
}

#[tokio::test]
async fn a_sweep_asks_for_no_more_than_it_takes() {
    let policy = daily("{last: 1}");
    let healthy = |count: usize| {
        let one = |n| completed(&format!("snap-{n}"), &format!("vol-{n}"));
        (0..count).map(one).collect::<Vec<_>>()
    };
    for (what, count, snapshots, calls) in [
        (
            "healthy ones aren't asked about",
            450,
            healthy(450),
            [1, 1, 0, 0, 0],
        ),
        (
            "by 200 ids at most, one AMI once",
            450,
            vec![],
            [1, 1, 3, 0, 1],
        ),
        (
            "only those that lack something",
            450,
            healthy(449),
            [1, 1, 1, 0, 1],
        ),
        ("a thousand by ids", 1_000, vec![], [1, 1, 5, 0, 1]),
        ("from there on in pages", 1_001, vec![], [1, 1, 0, 1, 1]),
    ] {
        assert_eq!(
            Fleet::of(count, snapshots).calls(&policy).await,
            calls,
            "{what}"
        );
    }
}

// ---- what a volume and a snapshot are ----------------------------------------------------------------

#[test]
fn a_volume_outside_the_region_is_known_by_its_outpost_or_zone() {
    for (zone, outpost, expected) in [
        ("eu-central-1a", None, None),
        ("us-gov-west-1b", None, None),
        ("us-isob-east-1a", None, None),
        ("ap-southeast-3c", None, None),
        (
            "us-west-2-lax-1a",
            None,
            Some("in the Local Zone us-west-2-lax-1a"),
        ),
        (
            "us-east-1-bos-1a",
            None,
            Some("in the Local Zone us-east-1-bos-1a"),
        ),
        (
            "us-east-1-wl1-bos-wlz-1",
            None,
            Some("in the Local Zone us-east-1-wl1-bos-wlz-1"),
        ),
        (
            "eu-central-1a",
            Some("arn:aws:outposts:op-1"),
            Some("on the Outpost arn:aws:outposts:op-1"),
        ),
    ] {
        let volume = types::Volume::builder()
            .availability_zone(zone)
            .set_outpost_arn(outpost.map(str::to_owned))
            .build();
        assert_eq!(outside(&volume).as_deref(), expected, "{zone}");
    }
}

#[test]
fn archived_and_held_snapshots_are_known() {
    let hold: Exempt = serde_json::from_str(r#"{"tag": "Hold", "values": ["yes"]}"#).unwrap();
    let made = || completed("snap-1", "vol-1");
    let with = |key, value| {
        let mut tagged = made();
        tagged.tags.as_mut().unwrap().push(tag(key, value));
        tagged
    };
    let mut archived = made();
    archived.storage_tier = Some(StorageTier::Archive);
    let mut restored = made();
    restored.storage_tier = Some(StorageTier::Standard);
    restored.restore_expiry_time = Some(DateTime::from_secs(1_795_260_000));
    for (what, found, is) in [
        ("as it was made", made(), (false, false)),
        ("in the archive", archived, (true, false)),
        ("restored for a time", restored, (true, false)),
        ("held", with("Hold", "yes"), (false, true)),
        ("another value", with("Hold", "no"), (false, false)),
    ] {
        let Some(Owned::Ours(snapshot)) = read(&found, None, &hold) else {
            panic!("{what}: it is ours");
        };
        assert_eq!((snapshot.archived, snapshot.held), is, "{what}");
    }
}

// ---- what can't be deleted ---------------------------------------------------------------------------

/// The deletion limit would hold for ever what was never tried.
#[tokio::test]
async fn what_the_limit_holds_back_is_looked_at_for_locks_and_images() {
    let snapshots = || {
        (0..40).map(|day| {
            let slot: Timestamp = SLOT.parse().unwrap();
            let slot = slot - jiff::SignedDuration::from_hours(24 * day);
            let (id, at) = (format!("snap-{day:02}"), slot.to_string());
            let mut made = aws_snapshot(&id, "vol-1", &at, SnapshotState::Completed);
            made.start_time = Some(DateTime::from_secs(slot.as_second() + 60));
            made
        })
    };
    let lock = |id: &str, state| {
        types::LockedSnapshotsInfo::builder()
            .snapshot_id(id)
            .lock_state(state)
            .build()
    };
    let locks = mock!(Client::describe_locked_snapshots).then_output(move || {
        DescribeLockedSnapshotsOutput::builder()
            .snapshots(lock("snap-30", LockState::Governance))
            .snapshots(lock("snap-31", LockState::Expired))
            .snapshots(lock("snap-other", LockState::Compliance))
            .build()
    });
    let images = mock!(Client::describe_images)
        .match_requests(|r| {
            let asked = filter_values(r.filters(), "block-device-mapping.snapshot-id");
            r.owners() == ["self"] && r.include_disabled() == Some(true) && asked.len() == 39
        })
        .then_output(|| {
            let disk = |id: &str| {
                types::BlockDeviceMapping::builder()
                    .ebs(types::EbsBlockDevice::builder().snapshot_id(id).build())
                    .build()
            };
            let image = types::Image::builder()
                .block_device_mappings(disk("snap-32"))
                .block_device_mappings(disk("snap-foreign"))
                .build();
            DescribeImagesOutput::builder().images(image).build()
        });
    let volume = mock!(Client::describe_volumes)
        .then_output(|| volumes_found(vec![aws_volume("vol-1", None)]));
    let all = snapshots_rule(snapshots().collect());
    let rules = [&volume, &all, &locks, &images];
    let facts = observed(&rules, &daily("{last: 1}"), Scope::All).await;
    let refused: Vec<_> = facts
        .refused
        .iter()
        .map(|(id, r)| (id.as_str(), r.why.as_str()))
        .collect();
    assert_eq!(
        refused,
        [("snap-30", "locked"), ("snap-32", "in use by an AMI")]
    );

    // Within the limit nobody asks, and nobody asks for what can't be read.
    let few = snapshots_rule(snapshots().take(5).collect());
    let facts = observed(&[&volume, &few], &daily("{last: 1}"), Scope::All).await;
    assert!(facts.refused.is_empty());
}

#[tokio::test]
async fn what_was_refused_before_is_remembered() {
    let now: Timestamp = NOW.parse().unwrap();
    let state = Model::default().state(crate::NAME);
    let refusal = Refusal {
        why: "locked".to_owned(),
        unmeant: false,
        again: now,
    };
    let put = state.put(&REFUSED, "snap-1", &refusal, None, &state::Expect::Any, now);
    put.await.unwrap();
    let volumes = mock!(Client::describe_volumes).then_output(|| volumes_found(vec![]));
    let rules = [&volumes, &snapshots_rule(vec![])];
    let facts = looked(&rules, &state, &daily("{last: 1}"), &Request::sweep()).await;
    assert_eq!(facts.unwrap().refused.get("snap-1"), Some(&refusal));
}
