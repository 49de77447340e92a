use super::*;
use crate::condition::{Condition, Kind};
use crate::guardrail::Acted;
use crate::notify::tests::{bus, notifier, publish_fails};
use crate::policy::{Remark, Section};
use crate::state::model::Model;
use aws_sdk_ssm::operation::get_parameter::GetParameterOutput;
use aws_sdk_ssm::types::Parameter;
use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};
use serde::Deserialize;
use serde_json::json;
use std::sync::Mutex;

/// What the fake AWS answers to an action, per try.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Answer {
    Done,
    Throttled,
    Denied,
    Lost,
    /// Takes so many seconds.
    Slow(u64),
}

/// A guardrail on a script: each action's answers, and what a second look finds.
#[derive(Debug, Default)]
struct Scripted {
    answers: Mutex<HashMap<usize, Vec<Answer>>>,
    overtaken: Vec<usize>,
    look: Option<ErrorKind>,
    look_hangs: bool,
    log: Mutex<Vec<String>>,
    facts: Facts,
}

/// What the script says there is.
#[derive(Debug, Clone, Copy, Default)]
struct Facts {
    actions: usize,
    stands: bool,
    unread: bool,
}

#[derive(Debug, Clone, Deserialize)]
struct Policy {
    #[serde(default)]
    mode: Mode,
    #[serde(default)]
    hasty: bool,
}

impl Section for Policy {
    fn mode(&self) -> Mode {
        self.mode
    }

    fn warnings(&self) -> Vec<Remark> {
        let hasty = self.hasty.then(|| Remark::new("hasty", "is hardly meant"));
        hasty.into_iter().collect()
    }
}

static KIND: Kind = Kind {
    name: "kind",
    meaning: "It is so.",
    one: "one",
    many: "many",
    resolved: "is well",
    next: "next",
    urgency: crate::condition::Urgency::Soon,
    commands: &[],
};

fn refusal(kind: ErrorKind) -> ApiError {
    ApiError::new("x:Act", &format!("{kind:?}"), "says AWS", kind)
}

impl Guardrail for Scripted {
    const NAME: &'static str = "snapshot-volumes";
    const COUNTERS: &'static [&'static str] = &["Stopped"];
    const KINDS: &'static [&'static Kind] = &[&KIND];
    type Policy = Policy;
    type Ask = ();
    type Facts = Facts;
    type Evaluation<'a> = &'a Facts;
    type Action = usize;
    type Effect = usize;

    fn new(_: &SdkConfig, _: &Environment, _: &State) -> Result<Self, ConfigurationError> {
        Ok(Self::default())
    }

    fn request(trigger: &Trigger) -> Result<Request<()>, TriggerError> {
        let one = Scope::one(Resource::volume("vol-1"));
        match trigger {
            Trigger::Command(command) if command.name == "order" => Ok(Request {
                order: Order::Person,
                ..Request::of(one)
            }),
            Trigger::Command(_) => Ok(Request::asking(one)),
            _ => Ok(Request::sweep()),
        }
    }

    async fn observe(&self, _: &Policy, _: &Request<()>, _: Timestamp) -> Result<Facts, ApiError> {
        Ok(self.facts)
    }

    fn evaluate<'a>(facts: &'a Facts, _: &'a Policy, _: Timestamp) -> &'a Facts {
        facts
    }

    fn decide(facts: &&Facts) -> Vec<Decision<usize>> {
        let wanted = |n| {
            let resource = Resource::volume(format!("vol-{n}"));
            Decision::act(resource, "act", "wanted".to_owned(), n)
        };
        let mut all: Vec<_> = (0..facts.actions).map(wanted).collect();
        let other = Resource::instance("i-1");
        all.push(if facts.unread {
            Decision::cannot_judge(other, "not read".to_owned(), refusal(ErrorKind::Denied))
        } else {
            Decision::leave(other, "leave-alone", "not wanted".to_owned())
        });
        all
    }

    async fn revalidate(&self, actions: &[&usize]) -> Result<Vec<Option<String>>, ApiError> {
        self.log
            .lock()
            .unwrap()
            .push(format!("look {}", actions.len()));
        if self.look_hangs {
            sleep(Duration::from_hours(1)).await;
        }
        if let Some(kind) = self.look {
            return Err(refusal(kind));
        }
        Ok(actions
            .iter()
            .map(|n| self.overtaken.contains(n).then(|| "overtaken".to_owned()))
            .collect())
    }

    async fn act(&self, action: &usize, _: &str) -> Acted<usize> {
        let answer = {
            let mut answers = self.answers.lock().unwrap();
            match answers.get_mut(action) {
                Some(script) if !script.is_empty() => script.remove(0),
                _ => Answer::Done,
            }
        };
        self.log.lock().unwrap().push(format!("act {action}"));
        match answer {
            Answer::Done => Acted::done(None).with(*action),
            Answer::Throttled => Acted::failed(refusal(ErrorKind::Throttled)),
            Answer::Denied => Acted::failed(refusal(ErrorKind::Denied)),
            Answer::Lost => Acted::failed(refusal(ErrorKind::Unknown)),
            Answer::Slow(seconds) => {
                sleep(Duration::from_secs(seconds)).await;
                Acted::done(None).with(*action)
            }
        }
    }

    fn report(facts: &&Facts, settled: &[Settled<'_, usize, usize>]) -> Assessment {
        assert_eq!(settled.len(), facts.actions);
        for one in settled {
            let done = one.outcome == Outcome::Done;
            assert_eq!(one.effect, done.then_some(one.action), "its own effect");
        }
        let condition = Condition::firing(Resource::volume("vol-1"), &KIND, "s", "t");
        Assessment {
            considered: 7,
            conditions: facts.stands.then_some(condition).into_iter().collect(),
            ..Assessment::default()
        }
    }
}

fn policy(document: &'static str) -> Rule {
    mock!(aws_sdk_ssm::Client::get_parameter).then_output(move || {
        GetParameterOutput::builder()
            .parameter(Parameter::builder().value(document).version(1).build())
            .build()
    })
}

fn runner(guardrail: Scripted, document: &'static str) -> Runner<Scripted> {
    let rule = policy(document);
    let state = || Model::default().state("snapshot-volumes");
    Runner {
        guardrail,
        policy: Loader::new(
            mock_client!(aws_sdk_ssm, RuleMode::MatchAny, [&rule]),
            "/p".to_owned(),
            state(),
        ),
        notifier: notifier(&publish_fails("NotFound"), &bus(&[None]), "1", state()),
        state: state(),
        figures: metrics::Form::Log,
    }
}

fn invocation(seconds: u64) -> Invocation {
    Invocation {
        id: "run-1".to_owned(),
        now: Timestamp::UNIX_EPOCH,
        deadline: Instant::now() + Duration::from_secs(seconds),
        place: Place::of_function("arn:aws:lambda:eu-central-1:1:function:f"),
        by_operator: true,
    }
}

/// Whoever may point a rule or a schedule at the function can have it sent any input.
#[tokio::test(start_paused = true)]
async fn a_command_is_taken_through_the_alias_for_operators_only() {
    let runner = runner(scripted(3, &[]), ENFORCE);
    let direct = Invocation {
        by_operator: false,
        ..invocation(900)
    };
    for command in ["explain", "order"] {
        let payload = json!({"trigger": "command", "command": command});
        let error = runner.run(payload, &direct).await.unwrap_err();
        assert_eq!(error.name(), "UnknownTrigger");
        let words = error.to_string();
        assert!(
            words.contains("--function-name f --qualifier operator"),
            "{words}"
        );
    }
    assert!(log_of(&runner).is_empty(), "nothing was done");
    let sweep = runner.run(json!({"trigger": "sweep"}), &direct).await;
    assert_eq!(sweep.unwrap().outcomes.done, 3);
}

#[test]
fn the_alias_is_what_stands_behind_the_functions_name() {
    let function = "arn:aws:lambda:eu-central-1:1:function";
    assert!(is_operators(&format!("{function}:f:operator")));
    for name in ["f", "f:live", "operator", "operator:live", "f:operators"] {
        assert!(!is_operators(&format!("{function}:{name}")), "{name}");
    }
}

const ENFORCE: &str = "snapshot-volumes: {mode: enforce}";

async fn sweep(runner: &Runner<Scripted>, seconds: u64) -> Result<Report, RunError> {
    runner
        .run(json!({"trigger": "sweep"}), &invocation(seconds))
        .await
}

fn log_of(runner: &Runner<Scripted>) -> Vec<String> {
    runner.guardrail.log.lock().unwrap().clone()
}

/// How many lines of its log begin so.
fn logged(runner: &Runner<Scripted>, begin: &str) -> usize {
    let log = log_of(runner);
    log.iter().filter(|line| line.starts_with(begin)).count()
}

fn of_facts(facts: Facts) -> Scripted {
    Scripted {
        facts,
        ..Scripted::default()
    }
}

/// With so many actions, and a condition.
fn standing(actions: usize) -> Scripted {
    of_facts(Facts {
        actions,
        stands: true,
        unread: false,
    })
}

fn scripted(actions: usize, answers: &[(usize, &[Answer])]) -> Scripted {
    Scripted {
        answers: Mutex::new(answers.iter().map(|(n, a)| (*n, a.to_vec())).collect()),
        ..of_facts(Facts {
            actions,
            ..Facts::default()
        })
    }
}

/// Each action takes so many seconds.
fn slow(actions: usize, seconds: u64) -> Scripted {
    let answer = [Answer::Slow(seconds)];
    let answers: Vec<_> = (0..actions).map(|n| (n, &answer[..])).collect();
    scripted(actions, &answers)
}

#[tokio::test(start_paused = true)]
async fn enforcing_acts_and_reports() {
    let runner = runner(scripted(3, &[]), ENFORCE);
    let report = sweep(&runner, 900).await.unwrap();
    assert_eq!((report.outcomes.done, report.outcomes.skipped), (3, 1));
    assert_eq!(report.considered, 7);
    assert_eq!(report.policy, "version 1 of /p");
    assert_eq!(log_of(&runner).len(), 3, "a fresh look isn't repeated");
}

#[tokio::test(start_paused = true)]
async fn every_answer_carries_the_policys_warnings() {
    for payload in [
        json!({"trigger": "sweep"}),
        json!({"trigger": "command", "command": "explain"}),
    ] {
        let runner = runner(scripted(0, &[]), "snapshot-volumes: {hasty: true}");
        let report = runner.run(payload, &invocation(900)).await.unwrap();
        assert_eq!(
            serde_json::to_value(report).unwrap()["warnings"],
            json!(["snapshot-volumes.hasty: is hardly meant"])
        );
    }
    let report = sweep(&runner(scripted(0, &[]), ENFORCE), 900)
        .await
        .unwrap();
    let report = serde_json::to_value(report).unwrap();
    assert_eq!(report.get("warnings"), None, "none is said about nothing");
}

#[tokio::test(start_paused = true)]
async fn observing_never_reaches_act_nor_tells() {
    for (document, payload) in [
        (
            "snapshot-volumes: {mode: observe}",
            json!({"trigger": "sweep"}),
        ),
        (ENFORCE, json!({"trigger": "command", "command": "explain"})),
    ] {
        let runner = runner(standing(3), document);
        let report = runner.run(payload, &invocation(900)).await.unwrap();
        assert_eq!(report.outcomes.would_do, 3);
        assert_eq!(report.mode, Mode::Observe);
        assert_eq!(
            report.conditions.len(),
            1,
            "what was found is reported all the same"
        );
        assert!(log_of(&runner).is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn notifying_tells_and_changes_nothing() {
    let runner = runner(standing(3), "snapshot-volumes: {mode: notify}");
    let error = sweep(&runner, 900).await.unwrap_err().to_string();
    // The one thing that was tried, and that this AWS refuses.
    assert!(
        error.starts_with("1 of 5 failed (0 done") && error.contains("sns:Publish"),
        "{error}"
    );
    assert!(log_of(&runner).is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_read_is_said_in_every_mode_and_is_no_success() {
    for mode in ["observe", "notify", "enforce"] {
        let unread = of_facts(Facts {
            unread: true,
            ..Facts::default()
        });
        let document = format!("snapshot-volumes: {{mode: {mode}}}").leak();
        let error = sweep(&runner(unread, document), 900).await.unwrap_err();
        assert!(
            error
                .to_string()
                .contains("i-1 cannot-judge: x:Act failed with Denied"),
            "{error}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_order_of_a_person_is_carried_out_in_every_mode() {
    for document in ["snapshot-volumes: {mode: observe}", ENFORCE] {
        let runner = runner(scripted(3, &[]), document);
        let payload = json!({"trigger": "command", "command": "order"});
        let report = runner.run(payload, &invocation(900)).await.unwrap();
        assert_eq!((report.mode, report.outcomes.done), (Mode::Enforce, 3));
    }
}

#[tokio::test(start_paused = true)]
async fn one_failure_does_not_stop_the_rest_and_the_run_ends_in_an_error() {
    let runner = runner(
        scripted(20, &[(4, &[Answer::Denied]), (5, &[Answer::Lost])]),
        ENFORCE,
    );
    let error = sweep(&runner, 900).await.unwrap_err().to_string();
    assert!(
        error.starts_with(
            "2 of 21 failed (18 done, 0 left for the next sweep): vol-4 act: x:Act failed with Denied"
        ),
        "{error}"
    );
    assert_eq!(logged(&runner, "act 5"), 1, "a lost one isn't repeated");
    assert_eq!(log_of(&runner).len(), 20);
}

#[tokio::test(start_paused = true)]
async fn a_throttled_action_is_tried_again_after_a_pause_and_another_look() {
    let runner = runner(scripted(1, &[(0, &[Answer::Throttled; 4])]), ENFORCE);
    let started = Instant::now();
    let report = sweep(&runner, 900).await.unwrap();
    assert_eq!(report.outcomes.done, 1);
    assert!(started.elapsed() >= Duration::from_secs(1 + 2 + 4 + 8));
    assert_eq!(
        log_of(&runner),
        [
            "act 0", "act 0", "look 1", "act 0", "look 1", "act 0", "look 1", "act 0"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn what_another_run_has_done_meanwhile_is_skipped() {
    let guardrail = Scripted {
        overtaken: vec![1],
        ..scripted(
            2,
            &[(0, &[Answer::Throttled; 3]), (1, &[Answer::Throttled; 3])],
        )
    };
    let runner = runner(guardrail, ENFORCE);
    let report = sweep(&runner, 900).await.unwrap();
    assert_eq!((report.outcomes.done, report.outcomes.skipped), (1, 2));
}

/// The protection against two runs that make the same (EBS-5): nothing is sent on a look that is
/// older than [`LOOK_VALID`].
#[tokio::test(start_paused = true)]
async fn nothing_is_sent_on_an_old_look() {
    // Eight at once, each takes 6 s: by the third round of a batch the look would be 12 s old.
    let runner = runner(slow(40, 6), ENFORCE);
    let report = sweep(&runner, 900).await.unwrap();
    assert_eq!(report.outcomes.done, 40);
    assert_eq!(logged(&runner, "look"), 2, "16 per look");
}

/// A pause of a second follows, and what was asked for then isn't what is seen now.
#[tokio::test(start_paused = true)]
async fn a_look_that_was_throttled_is_no_fresh_one() {
    let guardrail = Scripted {
        look: Some(ErrorKind::Throttled),
        ..slow(40, 6)
    };
    let report = sweep(&runner(guardrail, ENFORCE), 60).await.unwrap();
    assert_eq!((report.outcomes.done, report.outcomes.left), (16, 24));
}

#[tokio::test(start_paused = true)]
async fn at_the_deadline_the_rest_is_left_for_the_next_sweep() {
    let runner = runner(slow(400, 5), ENFORCE);
    let started = Instant::now();
    let report = sweep(&runner, 100).await.unwrap();
    assert!(
        report.outcomes.left > 0 && report.outcomes.done > 0,
        "{:?}",
        report.outcomes
    );
    assert_eq!(report.outcomes.left + report.outcomes.done, 400);
    assert!(
        started.elapsed() <= Duration::from_secs(95),
        "no action starts in the last tenth"
    );
}

#[tokio::test(start_paused = true)]
async fn a_look_that_hangs_takes_the_report_no_time() {
    let guardrail = Scripted {
        look_hangs: true,
        ..slow(40, 6)
    };
    let started = Instant::now();
    let report = sweep(&runner(guardrail, ENFORCE), 100).await.unwrap();
    assert_eq!((report.outcomes.done, report.outcomes.left), (16, 24));
    assert!(started.elapsed() <= Duration::from_secs(95));
}

#[tokio::test(start_paused = true)]
async fn throttled_to_the_end_is_left_not_failed() {
    let runner = runner(scripted(1, &[(0, &[Answer::Throttled; 500])]), ENFORCE);
    let report = sweep(&runner, 60).await.unwrap();
    assert_eq!((report.outcomes.left, report.outcomes.failed), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_look_that_fails_sends_nothing() {
    for (kind, failed) in [(ErrorKind::Denied, 3), (ErrorKind::Throttled, 0)] {
        let guardrail = Scripted {
            look: Some(kind),
            ..scripted(3, &[0, 1, 2].map(|n| (n, &[Answer::Throttled; 2][..])))
        };
        let runner = runner(guardrail, ENFORCE);
        let outcome = sweep(&runner, 60).await;
        assert_eq!(
            logged(&runner, "act"),
            2,
            "one before each throttled pause, none after the failed look"
        );
        match outcome {
            Ok(report) => assert_eq!((failed, report.outcomes.left), (0, 3)),
            Err(error) => assert!(
                error
                    .to_string()
                    .starts_with(&format!("{failed} of 4 failed"))
            ),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_notice_that_cannot_be_sent_is_a_failure() {
    let error = sweep(&runner(standing(1), ENFORCE), 900)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("account notify: sns:Publish failed with NotFound"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn bad_triggers_and_policies_do_nothing() {
    let runner_of = |document| runner(scripted(3, &[]), document);
    let bad = runner_of(ENFORCE);
    let error = bad
        .run(json!({"hello": 1}), &invocation(900))
        .await
        .unwrap_err();
    assert_eq!(Diagnostic::from(error).error_type, "UnknownTrigger");
    assert!(log_of(&bad).is_empty());
    let bad = runner_of("snapshot-volumes: {mode: maybe}");
    let error = sweep(&bad, 900).await.unwrap_err();
    assert!(
        error.to_string().contains("snapshot-volumes.mode (line 1)"),
        "{error}"
    );
    assert_eq!(Diagnostic::from(error).error_type, "InvalidPolicy");
    assert!(log_of(&bad).is_empty());
}

#[test]
fn a_list_too_long_for_an_answer_keeps_the_failed_ones() {
    let entry = |n: usize, outcome| Entry {
        outcome,
        ..Entry::of(Resource::volume(format!("vol-{n}")), "act", String::new())
    };
    let mut entries: Vec<_> = (0..1_500).map(|n| entry(n, Outcome::Done)).collect();
    entries.push(entry(9_999, Outcome::Failed));
    let mut report = Report::default();
    report.list(entries, vec![]);
    assert_eq!(report.decisions[0].resource.name(), "vol-9999");
    assert_eq!(
        (report.decisions.len(), report.decisions_not_listed),
        (1_000, 501)
    );
}

/// A sweep that finds a mistake in the policy isn't told as a missing sweep too.
#[test]
fn an_invalid_policy_is_counted_and_its_sweep_with_it() {
    for (is_sweep, names) in [
        (true, vec!["PolicyInvalid", "Considered"]),
        (false, vec!["PolicyInvalid"]),
    ] {
        let mut line = Vec::new();
        let now = Timestamp::UNIX_EPOCH;
        count_invalid_policy(&mut line, metrics::Form::Embedded, "f", now, is_sweep);
        let line: Value = serde_json::from_slice(&line).unwrap();
        let metrics = line["_aws"]["CloudWatchMetrics"][0]["Metrics"]
            .as_array()
            .unwrap();
        let named: Vec<&str> = metrics
            .iter()
            .filter_map(|metric| metric["Name"].as_str())
            .collect();
        assert_eq!(named, names);
    }
    assert!(trigger::is_sweep(&json!({"trigger": "sweep"})));
    assert!(!trigger::is_sweep(&json!({"detail-type": "sweep"})));
}

#[test]
fn a_look_at_one_resource_counts_only_what_it_did() {
    let metric = |name, value| Metric { name, value };
    let assessment = Assessment {
        considered: 7,
        metrics: vec![metric("Standing", 4), metric("Stopped", 1)],
        ..Assessment::default()
    };
    let outcomes = Counts {
        done: 2,
        would_do: 5,
        skipped: 3,
        failed: 0,
        left: 1,
    };
    assert_eq!(
        measured::<Scripted>(false, outcomes, &assessment),
        [metric("Done", 2), metric("Stopped", 1)]
    );
    let names: Vec<_> = measured::<Scripted>(true, outcomes, &assessment)
        .iter()
        .map(|metric| metric.name)
        .collect();
    assert_eq!(
        names,
        [
            "Considered",
            "Done",
            "WouldDo",
            "Skipped",
            "Failed",
            "Left",
            "Standing",
            "Stopped"
        ]
    );
    let nothing = measured::<Scripted>(false, Counts::default(), &Assessment::default());
    assert!(nothing.is_empty());
}
