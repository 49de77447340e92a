use super::*;
use crate::condition::tests::STALE;
use crate::resource::Resource;
use crate::state::model::{Fault, Model};
use aws_sdk_eventbridge::operation::put_events::PutEventsOutput;
use aws_sdk_eventbridge::types::PutEventsResultEntry;
use aws_sdk_sns::operation::get_topic_attributes::GetTopicAttributesOutput;
use aws_sdk_sns::operation::publish::{PublishError, PublishOutput};
use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};

const START: &str = "2026-11-21T03:15:00Z";

/// A notifier on a scripted AWS, and the time.
struct World {
    notifier: Notifier,
    model: Model,
    published: Rule,
    events: Rule,
    now: Timestamp,
}

fn subscribed(confirmed: &'static str) -> Rule {
    mock!(aws_sdk_sns::Client::get_topic_attributes).then_output(move || {
        GetTopicAttributesOutput::builder()
            .attributes("SubscriptionsConfirmed", confirmed)
            .build()
    })
}

/// SNS as it takes what has a form for each protocol.
fn published() -> Rule {
    mock!(aws_sdk_sns::Client::publish)
        .match_requests(|r| {
            let message = r.message().unwrap_or_default();
            let forms: serde_json::Value = serde_json::from_str(message).unwrap();
            r.message_structure() == Some("json")
                && r.subject().is_some()
                && ["default", "https", "sms"].map(|form| forms[form].is_string()) == [true; 3]
        })
        .then_output(|| PublishOutput::builder().build())
}

pub(crate) fn publish_fails(code: &'static str) -> Rule {
    mock!(aws_sdk_sns::Client::publish).then_error(move || {
        let error = aws_sdk_sns::error::ErrorMetadata::builder().code(code);
        PublishError::generic(error.build())
    })
}

/// A bus that answers so about each event.
pub(crate) fn bus(codes: &'static [Option<&'static str>]) -> Rule {
    mock!(aws_sdk_eventbridge::Client::put_events).then_output(move || {
        let entries = codes.iter().map(|code| {
            PutEventsResultEntry::builder()
                .set_error_code(code.map(str::to_owned))
                .build()
        });
        PutEventsOutput::builder()
            .failed_entry_count(0)
            .set_entries(Some(entries.collect()))
            .build()
    })
}

pub(crate) fn notifier(
    published: &Rule,
    events: &Rule,
    confirmed: &'static str,
    state: State,
) -> Notifier {
    let subscribed = subscribed(confirmed);
    Notifier {
        events: mock_client!(aws_sdk_eventbridge, RuleMode::MatchAny, [events]),
        sns: mock_client!(aws_sdk_sns, RuleMode::MatchAny, [published, &subscribed]),
        topic_arn: "arn:aws:sns:eu-central-1:1:t".to_owned(),
        state,
    }
}

impl World {
    fn of(published: Rule, events: Rule, confirmed: &'static str) -> Self {
        let model = Model::default();
        let state = model.state("snapshot-volumes");
        Self {
            notifier: notifier(&published, &events, confirmed, state),
            model,
            published,
            events,
            now: START.parse().unwrap(),
        }
    }

    fn new() -> Self {
        Self::of(published(), bus(&[None; 10]), "1")
    }

    /// A run `minutes` after the last.
    async fn run(&mut self, minutes: i64, assessment: &Assessment, is_sweep: bool) -> Notified {
        self.now += jiff::SignedDuration::from_mins(minutes);
        let place = Place::of_function("arn:aws:lambda:eu-central-1:123456789012:function:f");
        let origin = Origin {
            guardrail: "snapshot-volumes",
            place: &place,
            request: "run-1",
            now: self.now,
            by_person: false,
        };
        let kinds: &[&'static Kind] = &[&STALE];
        self.notifier
            .notify(&origin, kinds, assessment, is_sweep)
            .await
    }

    async fn sweep(&mut self, minutes: i64, conditions: &[Condition]) -> Notified {
        let present = ["vol-1", "vol-2"].map(Resource::volume);
        let assessment = Assessment {
            conditions: conditions.to_vec(),
            coverage: Coverage::All {
                kinds: vec![&STALE],
                present: HashSet::from(present),
            },
            ..Assessment::default()
        };
        self.run(minutes, &assessment, true).await
    }

    async fn event(&mut self, minutes: i64, condition: Condition) -> Notified {
        let assessment = Assessment {
            conditions: vec![condition],
            ..Assessment::default()
        };
        self.run(minutes, &assessment, false).await
    }

    /// Of what it is remembered that people were notified.
    fn remembered(&self) -> Vec<String> {
        let items = self.model.items("snapshot-volumes").into_iter();
        items
            .filter_map(|(key, _)| key.strip_prefix("notified#").map(str::to_owned))
            .collect()
    }

    /// Notices and calls of the bus so far.
    fn sent(&self) -> (usize, usize) {
        (self.published.num_calls(), self.events.num_calls())
    }
}

fn stale(volume: &str, fingerprint: &str) -> Condition {
    Condition::firing(Resource::volume(volume), &STALE, fingerprint, "it is old")
}

#[tokio::test]
async fn what_stands_is_told_once_and_again_when_it_changes_or_is_over() {
    let mut world = World::new();
    for (what, conditions, changed, sent) in [
        ("new", vec![stale("vol-1", "a")], 1, (1, 1)),
        ("the same", vec![stale("vol-1", "a")], 0, (1, 1)),
        (
            "another one",
            vec![stale("vol-1", "a"), stale("vol-2", "a")],
            1,
            (2, 2),
        ),
        (
            "changed",
            vec![stale("vol-1", "b"), stale("vol-2", "a")],
            1,
            (3, 3),
        ),
        ("one is over", vec![stale("vol-2", "a")], 1, (4, 4)),
        ("and stays so", vec![stale("vol-2", "a")], 0, (4, 4)),
    ] {
        let notified = world.sweep(5, &conditions).await;
        assert!(notified.errors.is_empty(), "{what}: {notified:?}");
        assert_eq!((notified.changed, world.sent()), (changed, sent), "{what}");
    }
    assert_eq!(world.remembered(), ["vol-2#stale"]);
}

#[tokio::test]
async fn what_cannot_be_told_now_leaves_standing_what_was_said() {
    let mut world = World::new();
    world.sweep(5, &[stale("vol-1", "a")]).await;
    let unknown = Condition::unknown(Resource::volume("vol-1"), &STALE, "not read");
    assert_eq!(world.sweep(5, &[unknown]).await.changed, 0);
    assert_eq!(world.sweep(5, &[stale("vol-1", "a")]).await.changed, 0);
    // Nor does a run that looked elsewhere say that it is over.
    assert_eq!(world.event(5, stale("vol-2", "a")).await.changed, 1);
    assert_eq!(world.sweep(5, &[]).await.changed, 2);
}

#[tokio::test]
async fn a_kind_that_was_not_judged_everywhere_is_not_over() {
    let mut world = World::new();
    world.sweep(5, &[stale("vol-1", "a")]).await;
    let nothing = Assessment {
        coverage: Coverage::All {
            kinds: vec![],
            present: HashSet::new(),
        },
        ..Assessment::default()
    };
    assert_eq!(world.run(5, &nothing, true).await.changed, 0);
}

#[tokio::test]
async fn what_is_gone_is_forgotten_without_a_mail() {
    let mut world = World::new();
    world.sweep(5, &[stale("vol-gone", "a")]).await;
    let notified = world.sweep(5, &[]).await;
    assert_eq!((notified.changed, world.sent()), (1, (1, 2)));
    assert!(world.remembered().is_empty());
}

/// Neither what nobody knows yet nor what may not have gone out waits for a mail that never comes.
#[tokio::test]
async fn what_is_gone_is_forgotten_whatever_was_due() {
    let mut held = World::new();
    held.event(0, stale("vol-gone", "a")).await;
    let over = Condition::resolved(Resource::volume("vol-gone"), &STALE);
    assert!(held.event(0, over).await.held_back.is_some());
    let mut cut_short = World::of(publish_fails("NotFound"), bus(&[None; 10]), "1");
    cut_short.sweep(5, &[stale("vol-gone", "a")]).await;
    for mut world in [held, cut_short] {
        world.sweep(5, &[]).await;
        assert!(world.remembered().is_empty());
        assert_eq!(world.sweep(5, &[]).await.changed, 0);
    }
}

#[tokio::test]
async fn without_a_confirmed_subscription_nothing_counts_as_told() {
    let mut world = World::of(published(), bus(&[None; 10]), "0");
    for _ in 0..3 {
        let notified = world.sweep(5, &[stale("vol-1", "a")]).await;
        assert!(
            notified
                .held_back
                .unwrap()
                .contains("no confirmed subscription")
        );
        assert!(notified.errors.is_empty());
    }
    // On the bus it is once.
    assert_eq!(world.sent(), (0, 1));
    let subscribed = subscribed("1");
    world.notifier.sns = mock_client!(
        aws_sdk_sns,
        RuleMode::MatchAny,
        [&world.published, &subscribed]
    );
    assert_eq!(world.sweep(5, &[stale("vol-1", "a")]).await.held_back, None);
    assert_eq!(world.sent(), (1, 1));
    world.sweep(5, &[stale("vol-1", "a")]).await;
    assert_eq!(world.sent(), (1, 1));
}

#[tokio::test]
async fn who_was_never_told_of_it_is_not_told_that_it_is_over() {
    let mut world = World::of(published(), bus(&[None; 10]), "0");
    world.sweep(5, &[stale("vol-1", "a")]).await;
    let notified = world.sweep(5, &[]).await;
    assert_eq!((notified.changed, notified.held_back), (1, None));
    assert_eq!(world.sent(), (0, 2));
}

#[tokio::test]
async fn a_burst_of_events_mails_once_a_minute_and_the_sweep_tells_the_rest() {
    let mut world = World::new();
    world.event(0, stale("vol-1", "a")).await;
    for n in 2..20 {
        let notified = world.event(0, stale(&format!("vol-{n}"), "a")).await;
        assert!(notified.held_back.is_some());
    }
    assert_eq!(world.sent(), (1, 19), "all are on the bus");
    let all: Vec<_> = (1..20).map(|n| stale(&format!("vol-{n}"), "a")).collect();
    assert_eq!(world.sweep(0, &all).await.changed, 18);
    assert_eq!(world.sent(), (2, 19));
    world.event(1, stale("vol-1", "b")).await;
    assert_eq!(world.sent(), (3, 20));
}

/// A table that can't be written made up to 192 identical mails a day where tags couldn't be.
#[tokio::test(start_paused = true)]
async fn what_cannot_be_remembered_is_not_sent_at_every_sweep() {
    let mut world = World::new();
    world.model.deny(Some("PutItem"));
    for _ in 0..96 {
        let notified = world.sweep(15, &[stale("vol-1", "a")]).await;
        assert_eq!(notified.errors[0].kind, ErrorKind::Denied);
    }
    assert_eq!(world.sent(), (0, 0));
}

#[tokio::test]
async fn a_memory_that_cannot_be_read_tells_nothing() {
    let mut world = World::new();
    world.model.deny(Some("Query"));
    let notified = world.sweep(5, &[stale("vol-1", "a")]).await;
    assert_eq!((notified.errors.len(), world.sent()), (1, (0, 0)));
}

#[tokio::test]
async fn one_that_cannot_be_remembered_does_not_drop_the_others() {
    let mut world = World::new();
    // List, last notice, then the claims of three volumes.
    let ok = Fault::None;
    world.model.script(&[ok, ok, ok, Fault::Denied, ok]);
    let all: Vec<_> = (1..4).map(|n| stale(&format!("vol-{n}"), "a")).collect();
    let notified = world.sweep(5, &all).await;
    assert_eq!((notified.errors.len(), world.sent()), (1, (1, 1)));
    assert_eq!(world.sweep(5, &all).await.changed, 1);
    assert_eq!(world.sent(), (2, 2));
}

/// It isn't known whether it went out: it comes again, but after a pause that doubles.
#[tokio::test]
async fn a_notice_whose_sending_was_cut_short_comes_again_ever_more_rarely() {
    let mut world = World::of(publish_fails("AuthorizationError"), bus(&[None; 10]), "1");
    let mut tries = Vec::new();
    for sweep in 0..=96 {
        let before = world.published.num_calls();
        world.sweep(5, &[stale("vol-1", "a")]).await;
        if world.published.num_calls() > before {
            tries.push(sweep * 5);
        }
    }
    assert_eq!(tries, [0, 5, 15, 35, 75, 155, 315]);
    assert_eq!(world.events.num_calls(), 1, "the bus has it once");
}

#[tokio::test]
async fn of_two_runs_at_once_one_tells() {
    let mut world = World::new();
    world.sweep(5, &[]).await;
    // The other run has read the same, and is faster.
    let read = world
        .notifier
        .remembered(&Assessment::default(), world.now)
        .await
        .unwrap();
    assert!(read.is_empty());
    world.event(5, stale("vol-1", "a")).await;
    let change = Change {
        condition: stale("vol-1", "a"),
        bus: true,
        notice: true,
        held: false,
        before: None,
    };
    let mut errors = Vec::new();
    let claimed = world
        .notifier
        .claim(vec![change], true, world.now, &mut errors)
        .await;
    assert!(claimed.is_empty() && errors.is_empty());
}

#[tokio::test]
async fn what_the_bus_does_not_take_for_want_of_capacity_is_sent_again() {
    for (code, calls) in [
        ("ThrottlingException", EVENT_TRIES),
        ("InternalFailure", EVENT_TRIES),
        ("MalformedDetail", 1),
    ] {
        let codes: &'static [Option<&'static str>] = Box::leak(Box::new([Some(code)]));
        let mut world = World::of(published(), bus(codes), "1");
        let notified = world.sweep(5, &[stale("vol-1", "a")]).await;
        assert_eq!(notified.errors[0].code, code);
        assert_eq!(world.sent(), (1, calls));
        // The notice isn't sent again for it, the event is.
        world.sweep(5, &[stale("vol-1", "a")]).await;
        assert_eq!(world.sent(), (1, 2 * calls));
    }
}

/// Whether the bus has it isn't known: said, and sent again.
#[tokio::test]
async fn an_event_that_the_answer_leaves_out_is_not_on_the_bus() {
    let mut world = World::of(published(), bus(&[]), "1");
    for sweep in 1..3 {
        let notified = world.sweep(5, &[stale("vol-1", "a")]).await;
        assert_eq!(notified.errors[0].code, "IncompleteAnswer");
        assert_eq!(world.sent(), (1, sweep));
    }
}

/// A release right after the quarantine was told: its end is told by the next sweep.
#[tokio::test]
async fn what_is_over_within_the_minute_is_told_by_the_sweep() {
    let mut world = World::new();
    world.event(0, stale("vol-1", "a")).await;
    let over = Condition::resolved(Resource::volume("vol-1"), &STALE);
    assert!(world.event(0, over).await.held_back.is_some());
    assert_eq!(world.sent(), (1, 2));
    assert_eq!(world.sweep(1, &[]).await.changed, 1);
    assert_eq!(world.sent(), (2, 2), "the bus has it already");
    assert_eq!(world.sweep(1, &[]).await.changed, 0);
}

/// What changed within the minute was told as it stood before.
#[tokio::test]
async fn what_changed_within_the_minute_and_is_over_is_told_to_be_over() {
    let mut world = World::new();
    world.event(0, stale("vol-1", "a")).await;
    assert!(
        world
            .event(0, stale("vol-1", "b"))
            .await
            .held_back
            .is_some()
    );
    world.sweep(1, &[]).await;
    assert_eq!(world.sent(), (2, 3));
}

/// Nobody was told that it stands, and the bus takes nothing when it is over.
#[tokio::test]
async fn who_was_never_told_is_not_told_of_the_end_while_the_bus_fails() {
    let mut world = World::of(published(), bus(&[Some("NoSuchBus"); 40]), "1");
    world.event(0, stale("vol-9", "a")).await;
    world.event(0, stale("vol-1", "a")).await;
    for _ in 0..3 {
        world.sweep(5, &[stale("vol-9", "a")]).await;
    }
    assert_eq!(world.sent().0, 1, "nor is vol-9 told again");
}

#[tokio::test]
async fn twenty_five_at_once_are_one_notice_and_three_calls_of_the_bus() {
    let mut world = World::new();
    let all: Vec<_> = (0..25).map(|n| stale(&format!("vol-{n}"), "a")).collect();
    assert_eq!(world.sweep(5, &all).await.changed, 25);
    assert_eq!(world.sent(), (1, 3));
}
