use proptest::prelude::*;
use serde::Deserialize;

use super::model::{Fault, Model};
use super::*;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Note(u32);

const NOTES: Topic<Note> = Topic::new("note");
const OTHERS: Topic<Note> = Topic::new("note-more");

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

async fn put(state: &State, name: &str, note: u32, expect: &Expect) -> Written {
    let note = Note(note);
    let written = state.put(&NOTES, name, &note, None, expect, at(100));
    written.await.unwrap()
}

#[tokio::test]
async fn what_is_put_is_read_and_forgotten() {
    let state = Model::default().state("g");
    assert_eq!(state.get(&NOTES, "i-1", at(0)).await.unwrap(), None);
    assert!(put(&state, "i-1", 7, &Expect::Absent).await.is_done());
    let stored = state.get(&NOTES, "i-1", at(0)).await.unwrap().unwrap();
    assert_eq!((stored.name.as_str(), &stored.value), ("i-1", &Note(7)));
    let read = Expect::read(Some(&stored));
    assert!(state.delete(&NOTES, "i-1", &read).await.unwrap().is_done());
    assert_eq!(state.get(&NOTES, "i-1", at(0)).await.unwrap(), None);
    // What isn't there any more is forgotten.
    assert!(state.delete(&NOTES, "i-1", &read).await.unwrap().is_done());
}

#[tokio::test]
async fn a_write_that_rests_on_an_old_read_changes_nothing() {
    let state = Model::default().state("g");
    put(&state, "i-1", 1, &Expect::Absent).await;
    let old = state.get(&NOTES, "i-1", at(0)).await.unwrap().unwrap();
    put(&state, "i-1", 2, &Expect::Any).await;
    let old = Expect::read(Some(&old));
    assert_eq!(put(&state, "i-1", 3, &old).await, Written::Conflict);
    assert_eq!(
        put(&state, "i-1", 3, &Expect::Absent).await,
        Written::Conflict
    );
    assert_eq!(
        state.delete(&NOTES, "i-1", &old).await.unwrap(),
        Written::Conflict
    );
    let stands = state.get(&NOTES, "i-1", at(0)).await.unwrap().unwrap();
    assert_eq!(stands.value, Note(2));
}

#[tokio::test]
async fn a_topic_is_listed_over_all_pages_and_without_others() {
    let model = Model::default();
    model.page(2);
    let (state, other) = (model.state("g"), model.state("h"));
    for n in 0..5 {
        put(&state, &format!("i-{n}"), n, &Expect::Any).await;
    }
    put(&other, "i-9", 9, &Expect::Any).await;
    state
        .put(&OTHERS, "i-8", &Note(8), None, &Expect::Any, at(0))
        .await
        .unwrap();
    let listed = state.list(&NOTES, at(0)).await.unwrap();
    let names: Vec<_> = listed.iter().map(|stored| stored.name.as_str()).collect();
    assert_eq!(names, ["i-0", "i-1", "i-2", "i-3", "i-4"]);
    assert_eq!(other.of("g").list(&NOTES, at(0)).await.unwrap().len(), 5);
}

#[tokio::test]
async fn what_has_expired_counts_as_absent_though_it_is_still_there() {
    let state = Model::default().state("g");
    let soon = Some(at(50));
    state
        .put(&NOTES, "i-1", &Note(1), soon, &Expect::Absent, at(0))
        .await
        .unwrap();
    assert!(state.get(&NOTES, "i-1", at(50)).await.unwrap().is_some());
    assert_eq!(state.get(&NOTES, "i-1", at(51)).await.unwrap(), None);
    assert!(state.list(&NOTES, at(51)).await.unwrap().is_empty());
    // At second 100.
    assert!(put(&state, "i-1", 2, &Expect::Absent).await.is_done());
    assert_eq!(
        put(&state, "i-1", 3, &Expect::Absent).await,
        Written::Conflict
    );
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_no_conflict_with_oneself() {
    let model = Model::default();
    let state = model.state("g");
    model.script(&[Fault::Lost]);
    assert!(put(&state, "i-1", 1, &Expect::Absent).await.is_done());
    let stored = state.get(&NOTES, "i-1", at(0)).await.unwrap();
    model.script(&[Fault::Lost, Fault::Throttled]);
    let read = Expect::read(stored.as_ref());
    assert!(put(&state, "i-1", 2, &read).await.is_done());
    assert_eq!(model.calls().len(), 2 + 1 + 3, "the SDK repeated them");
}

#[tokio::test]
async fn an_item_that_cannot_be_read_is_an_error_that_names_it() {
    const TEXTS: Topic<String> = Topic::new("note");
    let state = Model::default().state("g");
    let word = "no number".to_owned();
    state
        .put(&TEXTS, "i-1", &word, None, &Expect::Any, at(0))
        .await
        .unwrap();
    for error in [
        state.get(&NOTES, "i-1", at(0)).await.unwrap_err(),
        state.list(&NOTES, at(0)).await.unwrap_err(),
    ] {
        assert_eq!(error.code, "UnreadableItem");
        assert!(error.message.contains("`note#i-1`"), "{error}");
    }
}

#[tokio::test]
async fn what_is_refused_is_an_error() {
    let model = Model::default();
    let state = model.state("g");
    model.deny(Some("PutItem"));
    let denied = state
        .put(&NOTES, "i-1", &Note(1), None, &Expect::Any, at(0))
        .await
        .unwrap_err();
    assert_eq!(denied.kind, ErrorKind::Denied);
    assert!(model.items("g").is_empty());
}

/// What one of two runs does.
#[derive(Debug, Clone)]
enum Does {
    Read,
    /// Writes what rests on its last read.
    Put(u32, Option<i64>),
    Delete,
    /// The seconds that pass.
    Wait(i64),
}

fn does() -> impl Strategy<Value = (bool, Does, Vec<Fault>)> {
    let fault = prop_oneof![
        3 => Just(Fault::None),
        1 => Just(Fault::Lost),
        1 => Just(Fault::Throttled),
    ];
    let step = prop_oneof![
        Just(Does::Read),
        (any::<u32>(), proptest::option::of(0_i64..20)).prop_map(|(n, ttl)| Does::Put(n, ttl)),
        Just(Does::Delete),
        (0_i64..20).prop_map(Does::Wait),
    ];
    // Two faults at most, so that the SDK's third try goes through.
    (any::<bool>(), step, prop::collection::vec(fault, 0..=2))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Two runs at once, with lost answers, throttling and expiry, against a map: a write goes
    /// through exactly if nobody else has written since it was read.
    #[test]
    fn two_runs_never_overwrite_each_other(steps in prop::collection::vec(does(), 1..16)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let model = Model::default();
            let state = model.state("g");
            // Value, until when, and how often it was written.
            let mut truth: Option<(u32, Option<i64>)> = None;
            let mut writes = 0;
            let mut now = 1_000;
            let mut seen: [(Option<Stored<Note>>, i32); 2] = [(None, 0), (None, 0)];
            for (who, does, faults) in steps {
                let run = &mut seen[usize::from(who)];
                if truth.is_some_and(|(_, until)| until.is_some_and(|until| until < now)) {
                    truth = None;
                    writes += 1;
                }
                match does {
                    Does::Wait(seconds) => { now += seconds; continue; }
                    Does::Read => {
                        model.script(&faults);
                        let read = state.get(&NOTES, "n", at(now)).await.unwrap();
                        assert_eq!(read.as_ref().map(|r| r.value.0), truth.map(|t| t.0));
                        *run = (read, writes);
                    }
                    Does::Put(value, ttl) => {
                        model.script(&faults);
                        let until = ttl.map(|ttl| now + ttl);
                        let expect = Expect::read(run.0.as_ref());
                        let written = state
                            .put(&NOTES, "n", &Note(value), until.map(at), &expect, at(now))
                            .await
                            .unwrap();
                        // An item that expired after it was read may still be replaced by its reader;
                        // one that was read as absent and is absent again too.
                        let free = run.1 == writes || (run.0.is_none() && truth.is_none());
                        if free { assert!(written.is_done()); }
                        if written.is_done() {
                            assert!(free || truth.is_none());
                            truth = Some((value, until));
                            writes += 1;
                        }
                    }
                    Does::Delete => {
                        model.script(&faults);
                        let expect = Expect::read(run.0.as_ref());
                        let gone = state.delete(&NOTES, "n", &expect).await.unwrap();
                        if expect != Expect::Absent && gone.is_done() && truth.is_some() {
                            assert_eq!(run.1, writes);
                            truth = None;
                            writes += 1;
                        }
                    }
                }
                model.clear_script();
            }
        });
    }
}
