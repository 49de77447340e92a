use super::*;
use crate::image::Plan;
use aws_sdk_autoscaling::operation::cancel_instance_refresh::CancelInstanceRefreshOutput;
use aws_sdk_autoscaling::operation::create_or_update_tags::CreateOrUpdateTagsOutput;
use aws_sdk_autoscaling::operation::describe_auto_scaling_groups::DescribeAutoScalingGroupsOutput;
use aws_sdk_autoscaling::operation::describe_instance_refreshes::DescribeInstanceRefreshesOutput;
use aws_sdk_autoscaling::operation::rollback_instance_refresh::RollbackInstanceRefreshOutput;
use aws_sdk_autoscaling::types::{
    AutoScalingGroup, InstanceRefresh, InstanceRefreshStatus, Operator, TagDescription,
};
use aws_sdk_ecr::operation::batch_get_image::BatchGetImageOutput;
use aws_sdk_ecr::operation::put_image::PutImageOutput;
use aws_sdk_ecr::types::ImageIdentifier;
use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, OnceLock};

const REFRESH: &str = "08b91cf7-8fa6-48af-b6a6-d227f40f1b9b";

type Change = fn(&mut World);

/// A group with its refresh, as AWS keeps them.
struct World {
    tags: BTreeMap<String, String>,
    operator: bool,
    gone: bool,
    refresh: String,
    status: InstanceRefreshStatus,
    /// Where the image tags of the repository point to.
    images: BTreeMap<String, String>,
    ecr_down: bool,
    /// Calls that change something, in their order.
    calls: Vec<String>,
    /// What happens at the next looks at the refresh, before the answer.
    meanwhile: VecDeque<Change>,
    /// How the next calls to cancel or roll back are refused.
    refusals: VecDeque<(u16, &'static str)>,
    /// The refresh that is hit, where it isn't the one last seen.
    hits: Option<&'static str>,
}

type Shared = Arc<Mutex<World>>;

fn world() -> Shared {
    Arc::new(Mutex::new(World {
        tags: BTreeMap::new(),
        operator: false,
        gone: false,
        refresh: REFRESH.to_owned(),
        status: InstanceRefreshStatus::InProgress,
        images: [("prod", "b"), ("prod-stable", "a")]
            .map(|(tag, digest)| (tag.to_owned(), digest.to_owned()))
            .into(),
        ecr_down: false,
        calls: Vec::new(),
        meanwhile: VecDeque::new(),
        refusals: VecDeque::new(),
        hits: None,
    }))
}

fn refused(status: u16, code: &str) -> HttpResponse {
    HttpResponse::new(
        StatusCode::try_from(status).unwrap(),
        SdkBody::from(format!(
            "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>says AWS</Message></Error><RequestId>1</RequestId></ErrorResponse>"
        )),
    )
}

/// Cancel and rollback: by the next refusal, else accepted.
macro_rules! stops {
    ($world:expr, $operation:ident, $output:ident, $name:literal, $becomes:ident) => {{
        let (asked, refusing, accepting) =
            (Arc::clone($world), Arc::clone($world), Arc::clone($world));
        [
            mock!(Client::$operation)
                .match_requests(move |request| {
                    assert_eq!(request.auto_scaling_group_name(), Some("web"));
                    !asked.lock().unwrap().refusals.is_empty()
                })
                .then_http_response(move || {
                    let mut world = refusing.lock().unwrap();
                    world.calls.push(concat!($name, " refused").to_owned());
                    let (status, code) = world.refusals.pop_front().unwrap();
                    refused(status, code)
                }),
            mock!(Client::$operation).then_output(move || {
                let mut world = accepting.lock().unwrap();
                world.calls.push($name.to_owned());
                world.status = InstanceRefreshStatus::$becomes;
                let hit = world.hits.unwrap_or(REFRESH);
                $output::builder().instance_refresh_id(hit).build()
            }),
        ]
    }};
}

fn clients(world: &Shared) -> Clients {
    let tags = {
        let world = Arc::clone(world);
        mock!(Client::create_or_update_tags).then_compute_output(move |request| {
            let mut world = world.lock().unwrap();
            for tag in request.tags() {
                assert_eq!(tag.propagate_at_launch(), Some(false));
                assert_eq!(tag.resource_id(), Some("web"));
                let (key, value) = (tag.key().unwrap(), tag.value().unwrap());
                let words: Vec<&str> = value.split(' ').collect();
                // Without the time and the digest.
                let said = if key == tags::REFRESH {
                    words[1]
                } else {
                    words[2]
                };
                world.calls.push(format!("tag {said}"));
                world.tags.insert(key.to_owned(), value.to_owned());
            }
            CreateOrUpdateTagsOutput::builder().build()
        })
    };
    let groups = {
        let world = Arc::clone(world);
        mock!(Client::describe_auto_scaling_groups).then_output(move || {
            let world = world.lock().unwrap();
            let answer = DescribeAutoScalingGroupsOutput::builder();
            if world.gone {
                return answer.set_auto_scaling_groups(Some(Vec::new())).build();
            }
            let tags = world
                .tags
                .iter()
                .map(|(key, value)| TagDescription::builder().key(key).value(value).build());
            let operator = world
                .operator
                .then(|| Operator::builder().principal("ecs.amazonaws.com").build());
            let group = AutoScalingGroup::builder()
                .auto_scaling_group_name("web")
                .set_operator(operator)
                .set_tags(Some(tags.collect()));
            answer.auto_scaling_groups(group.build()).build()
        })
    };
    let refreshes = {
        let world = Arc::clone(world);
        mock!(Client::describe_instance_refreshes).then_output(move || {
            let mut world = world.lock().unwrap();
            if let Some(change) = world.meanwhile.pop_front() {
                change(&mut world);
            }
            let refresh = InstanceRefresh::builder()
                .instance_refresh_id(&world.refresh)
                .status(world.status.clone());
            DescribeInstanceRefreshesOutput::builder()
                .instance_refreshes(refresh.build())
                .build()
        })
    };
    let cancel = stops!(
        world,
        cancel_instance_refresh,
        CancelInstanceRefreshOutput,
        "cancel",
        Cancelling
    );
    let rollback = stops!(
        world,
        rollback_instance_refresh,
        RollbackInstanceRefreshOutput,
        "rollback",
        RollbackInProgress
    );
    let rules: Vec<&Rule> = [&tags, &groups, &refreshes]
        .into_iter()
        .chain(&cancel)
        .chain(&rollback)
        .collect();
    let none: &[&Rule] = &[];
    Clients {
        autoscaling: mock_client!(aws_sdk_autoscaling, RuleMode::MatchAny, &rules),
        ec2: mock_client!(aws_sdk_ec2, RuleMode::MatchAny, none),
        elb: mock_client!(aws_sdk_elasticloadbalancingv2, RuleMode::MatchAny, none),
        cloudwatch: mock_client!(aws_sdk_cloudwatch, RuleMode::MatchAny, none),
        cloudformation: mock_client!(aws_sdk_cloudformation, RuleMode::MatchAny, none),
        ecr: ecr(world),
    }
}

fn ecr(world: &Shared) -> aws_sdk_ecr::Client {
    use aws_sdk_ecr::operation::batch_get_image::BatchGetImageError;
    let down = Arc::clone(world);
    let unread = mock!(aws_sdk_ecr::Client::batch_get_image)
        .match_requests(move |_| down.lock().unwrap().ecr_down)
        .then_error(|| {
            BatchGetImageError::generic(
                aws_sdk_ecr::error::ErrorMetadata::builder()
                    .code("AccessDeniedException")
                    .message("no")
                    .build(),
            )
        });
    let shared = Arc::clone(world);
    let get = mock!(aws_sdk_ecr::Client::batch_get_image).then_compute_output(move |request| {
        let world = shared.lock().unwrap();
        let images = request.image_ids().iter().filter_map(|id| {
            let digest = world.images.get(id.image_tag()?)?;
            let id = ImageIdentifier::builder()
                .image_tag(id.image_tag()?)
                .image_digest(digest);
            let image = aws_sdk_ecr::types::Image::builder()
                .image_id(id.build())
                .image_manifest("{}");
            Some(image.build())
        });
        BatchGetImageOutput::builder()
            .set_images(Some(images.collect()))
            .build()
    });
    let shared = Arc::clone(world);
    let put = mock!(aws_sdk_ecr::Client::put_image).then_compute_output(move |request| {
        let mut world = shared.lock().unwrap();
        let tag = request.image_tag().unwrap().to_owned();
        world.calls.push(format!("put {tag}"));
        world
            .images
            .insert(tag, request.image_digest().unwrap().to_owned());
        PutImageOutput::builder().build()
    });
    mock_client!(aws_sdk_ecr, RuleMode::MatchAny, &[&unread, &get, &put])
}

fn the_stop(how: How, image: bool) -> Stop {
    Stop {
        group: "web".to_owned(),
        refresh: REFRESH.to_owned(),
        how,
        image: image.then(|| Plan {
            repository: "app".to_owned(),
            tag: "prod".to_owned(),
            stable: "prod-stable".to_owned(),
            bad: "b".to_owned(),
            good: "a".to_owned(),
            keep_as: "prod-failed".to_owned(),
        }),
        result: OnceLock::new(),
    }
}

async fn acted(world: &Shared, stop: Stop) -> (Acted, Option<Stopped>) {
    let action = Action::Stop(Box::new(stop));
    let acted = act(&clients(world), &action, "run-2").await;
    let Action::Stop(stop) = action else {
        panic!("a stop");
    };
    (acted, stop.result.into_inner())
}

fn calls(world: &Shared) -> Vec<String> {
    world.lock().unwrap().calls.clone()
}

#[tokio::test(start_paused = true)]
async fn claims_stops_and_writes_down() {
    for (how, word, done) in [
        (How::Cancel, "cancel", "cancelled"),
        (How::Rollback, "rollback", "rolled-back"),
    ] {
        let world = world();
        let (acted, result) = acted(&world, the_stop(how, false)).await;
        assert!(matches!(acted, Acted::Done(_)), "{acted:?}");
        assert_eq!(
            calls(&world),
            [&format!("tag {word}"), word, &format!("tag {done}")]
        );
        assert_eq!(result.unwrap().how, Some(how));
        let mark = world.lock().unwrap().tags[tags::REFRESH].clone();
        assert!(
            mark.starts_with(REFRESH) && mark.ends_with("run-2"),
            "{mark}"
        );
    }
}

/// ASG-11: otherwise the instances still launching boot the bad image.
#[tokio::test(start_paused = true)]
async fn the_image_goes_back_first() {
    let world = world();
    let (acted, result) = acted(&world, the_stop(How::Cancel, true)).await;
    assert!(matches!(acted, Acted::Done(_)), "{acted:?}");
    assert_eq!(
        calls(&world),
        [
            "tag cancel",
            "tag seen",
            "put prod-failed",
            "put prod",
            "tag restored",
            "cancel",
            "tag cancelled"
        ]
    );
    assert!(matches!(
        result.unwrap().image,
        Some(Outcome::Restored { .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn ended_between_image_and_cancel_the_next_run_goes_on() {
    let world = world();
    {
        let mut world = world.lock().unwrap();
        // What a run left that ended after the image was put back.
        let claim = Mark {
            refresh: REFRESH.to_owned(),
            step: How::Cancel.claim(),
            at: "2026-11-21T09:00:00Z".parse().unwrap(),
            run: "run-1".to_owned(),
        };
        world.tags.insert(tags::REFRESH.to_owned(), claim.value());
        world
            .images
            .insert("prod-failed".to_owned(), "b".to_owned());
        world.images.insert("prod".to_owned(), "a".to_owned());
    }
    let (acted, result) = acted(&world, the_stop(How::Cancel, true)).await;
    assert!(matches!(acted, Acted::Done(_)), "{acted:?}");
    assert!(!calls(&world).iter().any(|call| call.starts_with("put")));
    assert!(calls(&world).contains(&"cancel".to_owned()));
    assert!(matches!(
        result.unwrap().image,
        Some(Outcome::Restored { .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn an_image_that_cant_be_put_back_doesnt_keep_the_release_going() {
    let world = world();
    world.lock().unwrap().ecr_down = true;
    let (acted, result) = acted(&world, the_stop(How::Cancel, true)).await;
    assert!(matches!(acted, Acted::Done(_)), "{acted:?}");
    let result = result.unwrap();
    assert_eq!(result.how, Some(How::Cancel));
    assert!(matches!(result.image, Some(Outcome::Failed(_))));
    // The next sweep tries again.
    let seen = world.lock().unwrap().tags[tags::REFRESH_IMAGE].clone();
    assert!(seen.ends_with(" seen"), "{seen}");
}

/// Whatever happens between the decision and the call: no other refresh is touched, and none twice.
#[tokio::test(start_paused = true)]
async fn what_changes_before_the_call_keeps_it_from_being_sent() {
    let changes: [(&str, Change); 7] = [
        ("has started meanwhile", |world| {
            world.refresh = "another".to_owned();
        }),
        ("Successful meanwhile", |world| {
            world.status = InstanceRefreshStatus::Successful;
        }),
        ("Cancelling meanwhile", |world| {
            world.status = InstanceRefreshStatus::Cancelling;
        }),
        ("RollbackInProgress meanwhile", |world| {
            world.status = InstanceRefreshStatus::RollbackInProgress;
        }),
        ("Pending meanwhile", |world| {
            world.status = InstanceRefreshStatus::Pending;
        }),
        ("gone", |world| world.gone = true),
        ("manages the group", |world| world.operator = true),
    ];
    for (because, change) in changes {
        for image in [false, true] {
            // At the look after the claim, and at the one just before the call.
            for looks in 0..=usize::from(image) {
                let world = world();
                let nothing: Change = |_| ();
                let mut meanwhile: VecDeque<Change> = vec![nothing; looks].into();
                meanwhile.push_back(change);
                // The group is read beside the refresh: what changes it shows at the next look.
                meanwhile.push_back(change);
                if matches!(because, "gone" | "manages the group") {
                    change(&mut world.lock().unwrap());
                }
                world.lock().unwrap().meanwhile = meanwhile;
                let (acted, _) = acted(&world, the_stop(How::Rollback, image)).await;
                let Acted::Skipped(why) = acted else {
                    panic!("{because}: {acted:?}");
                };
                assert!(why.contains(because), "{why}");
                let sent = calls(&world);
                assert!(
                    !sent
                        .iter()
                        .any(|call| call == "cancel" || call == "rollback"),
                    "{sent:?}"
                );
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_runs_at_once_the_later_claim_goes_on() {
    let world = world();
    world.lock().unwrap().meanwhile.push_back(|world| {
        // Read at the same time as the refresh, so it shows at this look or the next one.
        let mark = world.tags[tags::REFRESH].replace("run-2", "run-3");
        world.tags.insert(tags::REFRESH.to_owned(), mark);
    });
    let (acted, result) = acted(&world, the_stop(How::Cancel, true)).await;
    let Acted::Skipped(why) = acted else {
        panic!("{acted:?}");
    };
    assert!(why.contains("another run has claimed it"), "{why}");
    assert!(!calls(&world).contains(&"cancel".to_owned()));
    assert!(result.is_none_or(|result| result.how.is_none()));
}

#[tokio::test(start_paused = true)]
async fn both_runs_at_once_send_one_cancel() {
    let world = world();
    let stops =
        ["run-1", "run-2"].map(|run| (run, Action::Stop(Box::new(the_stop(How::Cancel, true)))));
    let clients = clients(&world);
    let acted =
        futures::future::join_all(stops.iter().map(|(run, action)| act(&clients, action, run)))
            .await;
    let done = acted.iter().filter(|acted| matches!(acted, Acted::Done(_)));
    assert_eq!(done.count(), 1, "{acted:?}");
    let sent = calls(&world);
    assert_eq!(sent.iter().filter(|call| *call == "cancel").count(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_irreversible_refresh_is_cancelled_instead() {
    let world = world();
    let mut refusals = VecDeque::new();
    refusals.push_back((400, "IrreversibleInstanceRefresh"));
    world.lock().unwrap().refusals = refusals;
    let (acted, result) = acted(&world, the_stop(How::Rollback, false)).await;
    assert!(matches!(acted, Acted::Done(_)), "{acted:?}");
    let result = result.unwrap();
    assert_eq!(result.how, Some(How::Cancel));
    assert!(result.fallback.unwrap().contains("says AWS"));
    assert_eq!(
        calls(&world),
        [
            "tag rollback",
            "rollback refused",
            "cancel",
            "tag cancelled"
        ]
    );
}

/// A cancel would end the rollback that another run has started.
#[tokio::test(start_paused = true)]
async fn a_rollback_that_runs_is_never_cancelled() {
    let world = world();
    {
        let mut world = world.lock().unwrap();
        world
            .refusals
            .push_back((400, "IrreversibleInstanceRefresh"));
        world.meanwhile.push_back(|_| ());
        world.meanwhile.push_back(|world| {
            world.status = InstanceRefreshStatus::RollbackInProgress;
        });
    }
    let (acted, _) = acted(&world, the_stop(How::Rollback, false)).await;
    assert!(matches!(acted, Acted::Skipped(_)), "{acted:?}");
    assert_eq!(calls(&world), ["tag rollback", "rollback refused"]);
}

#[tokio::test(start_paused = true)]
async fn hitting_another_refresh_is_an_error_that_names_both() {
    let world = world();
    world.lock().unwrap().hits = Some("another");
    let (acted, result) = acted(&world, the_stop(How::Cancel, false)).await;
    let Acted::Failed(error) = acted else {
        panic!("{acted:?}");
    };
    assert_eq!(error.code, "RefreshMismatch");
    assert!(error.message.contains(REFRESH) && error.message.contains("another"));
    assert_eq!(result.unwrap().mismatch.as_deref(), Some("another"));
}

#[tokio::test(start_paused = true)]
async fn each_refusal_is_sent_once() {
    for (status, code, expected) in [
        (400, "ActiveInstanceRefreshNotFound", None),
        (400, "Throttling", Some(ErrorKind::Throttled)),
        (500, "ResourceContention", Some(ErrorKind::Throttled)),
        (400, "LimitExceeded", Some(ErrorKind::Refused)),
        (403, "AccessDenied", Some(ErrorKind::Denied)),
        (500, "InternalFailure", Some(ErrorKind::Unknown)),
        (503, "ServiceUnavailable", Some(ErrorKind::Unknown)),
    ] {
        for (how, name) in [(How::Cancel, "cancel"), (How::Rollback, "rollback")] {
            let world = world();
            world.lock().unwrap().refusals.push_back((status, code));
            let (acted, result) = acted(&world, the_stop(how, false)).await;
            match (expected, acted) {
                (None, Acted::Skipped(_)) => {}
                (Some(kind), Acted::Failed(error)) => {
                    assert_eq!((error.kind, error.code.as_str()), (kind, code));
                }
                (_, other) => panic!("{code}: {other:?}"),
            }
            assert_eq!(
                calls(&world),
                [format!("tag {name}"), format!("{name} refused")],
                "{code}"
            );
            assert!(result.is_none_or(|result| result.how.is_none()));
        }
    }
}

#[tokio::test]
async fn what_couldnt_be_judged_fails_and_is_not_tried_again() {
    let error = ApiError {
        operation: "autoscaling:DescribeScalingActivities",
        code: "Throttling".to_owned(),
        message: "Rate exceeded".to_owned(),
        kind: ErrorKind::Throttled,
    };
    let action = Action::CannotJudge { error };
    let acted = act(&clients(&world()), &action, "run-2").await;
    assert!(matches!(acted, Acted::Failed(error) if error.kind == ErrorKind::Refused));
}
