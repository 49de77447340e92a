use proptest::prelude::*;

use super::*;
use crate::condition::Kind;
use crate::condition::Run;
use crate::condition::tests::STALE;
use crate::condition::{Command, On, Urgency};
use crate::notify::chat::{DESCRIPTION_MAX, TITLE_MAX};
use crate::notify::digest::short;
use crate::notify::subject::SUBJECT_MAX;
use crate::resource::Resource;

static FAILED: Kind = Kind {
    name: "failed",
    meaning: "A snapshot failed.",
    one: "failed snapshot",
    many: "failed snapshots",
    resolved: "has a completed snapshot again",
    next: "It is made again by itself.",
    urgency: Urgency::Know,
    commands: &[],
};

static OPEN: Kind = Kind {
    name: "open",
    meaning: "Its groups were changed.",
    one: "instance in quarantine whose security groups were changed",
    many: "instances in quarantine whose security groups were changed",
    resolved: "is isolated again",
    next: "Release it.",
    urgency: Urgency::Now,
    commands: &[],
};

fn place() -> Place {
    Place::of_function("arn:aws:lambda:eu-central-1:123456789012:function:ec2-guardrails-f")
}

fn sent_by(guardrail: &str, changed: &[&Condition]) -> Notice {
    let place = place();
    let origin = Origin {
        guardrail,
        place: &place,
        request: "8476a536-e9f4-11e8-9739-2dfe598c3fcd",
        now: "2026-11-21T03:15:00Z".parse().unwrap(),
        by_person: false,
    };
    compose(&origin, changed).unwrap()
}

fn notice(changed: &[&Condition]) -> Notice {
    sent_by("snapshot-volumes", changed)
}

fn of(kind: &'static Kind, resource: &str) -> Condition {
    let resource = Resource::read(resource).unwrap();
    Condition::firing(
        resource,
        kind,
        "daily",
        "plan daily has no completed snapshot yet",
    )
}

fn resolved(kind: &'static Kind, resource: &str) -> Condition {
    Condition::resolved(Resource::read(resource).unwrap(), kind)
}

fn description(notice: &Notice) -> &str {
    notice.chat["content"]["description"].as_str().unwrap()
}

#[test]
fn one_condition_reads_like_a_person_wrote_it() {
    let condition = of(&STALE, "vol-0a1b2c3d4e5f60718");
    let notice = notice(&[&condition]);
    insta::assert_snapshot!(format!(
        "Subject: {}\n\n{}\nChat: {:#}\n\nSMS: {}",
        notice.subject, notice.text, notice.chat, notice.sms
    ));
}

#[test]
fn fifty_conditions_are_one_digest_that_says_the_same_cause_once() {
    let mut conditions: Vec<_> = (0..50).map(|n| of(&STALE, &format!("vol-{n}"))).collect();
    let all = notice(&conditions.iter().collect::<Vec<_>>());
    assert!(
        all.text
            .contains("* All 50: plan daily has no completed snapshot yet\n  - vol-0  https://"),
        "{}",
        all.text
    );
    assert!(all.text.contains("  - and 30 more\n"));
    conditions[7] = Condition::firing(
        conditions[7].resource.clone(),
        &STALE,
        "",
        "its key is disabled",
    )
    .called("vol-7 (db)");
    let over = resolved(&FAILED, "vol-99");
    let mut changed: Vec<_> = conditions.iter().collect();
    changed.push(&over);
    let notice = notice(&changed);
    for part in [
        "* 49 of them: plan daily has no completed snapshot yet\n",
        "  - and 44 more\n* vol-7 (db): its key is disabled\n",
        "* vol-99: has a completed snapshot again\n",
    ] {
        assert!(notice.text.contains(part), "{part}: {}", notice.text);
    }
    assert_eq!(notice.text.matches("no completed snapshot yet").count(), 1);
    let chat = description(&notice);
    for part in [
        "\n50 volumes without a fresh snapshot\n• 49 of them: plan daily has no completed snapshot yet: vol-0 <https://",
        " and 46 more\n• vol-7 (db): its key is disabled <https://",
        "\nResolved: failed snapshot (vol-99)\n• vol-99: has a completed snapshot again <https://",
    ] {
        assert!(chat.contains(part), "{part}: {chat}");
    }
}

#[test]
fn what_differs_is_listed_up_to_a_limit_and_counted() {
    let conditions: Vec<_> = (0..30)
        .map(|n| Condition {
            why: format!("reason {n}"),
            ..of(&STALE, &format!("vol-{n}"))
        })
        .collect();
    let notice = notice(&conditions.iter().collect::<Vec<_>>());
    assert!(notice.text.contains("* vol-19: reason 19\n"));
    assert!(notice.text.contains("* and 10 more: see the log\n"));
    assert!(!notice.text.contains("reason 20"));
    assert!(description(&notice).ends_with("• and 27 more\n"));
}

#[test]
fn the_most_pressing_stands_first() {
    let known = of(&FAILED, "vol-1");
    let pressing = of(&OPEN, "i-1");
    let over = resolved(&OPEN, "i-2");
    let changed = [&over, &known, &pressing];
    let notice = notice(&changed);
    let at = |words: &str| notice.text.find(words).unwrap();
    assert!(at("Instance in quarantine") < at("Failed snapshot"));
    assert!(at("Failed snapshot") < at("Resolved: instance"));
    let title = notice.chat["content"]["title"].as_str().unwrap();
    assert!(
        title.starts_with("🔴 [snapshot-volumes] Instance in quarantine"),
        "{title}"
    );
}

#[test]
fn subjects_fit_without_cutting_a_word() {
    let volume = "vol-0a1b2c3d4e5f60718";
    let (stale, failed) = (of(&STALE, volume), of(&FAILED, volume));
    let (open, long) = (of(&OPEN, "i-0a1b2c3d4e5f60718"), "web-".repeat(40));
    let group = of(&FAILED, &format!("auto-scaling-group/{long}"));
    let foreign = of(&FAILED, "auto-scaling-group/größe");
    let short = of(&FAILED, "auto-scaling-group/web");
    let over = resolved(&STALE, volume);
    for (what, changed, subject) in [
        (
            "one",
            vec![&stale],
            "[snapshot-volumes] Volume without a fresh snapshot (vol-0a1b2c3d4e5f60718)",
        ),
        (
            "a group goes by its name",
            vec![&short],
            "[snapshot-volumes] Failed snapshot (web)",
        ),
        (
            "a name that is too long",
            vec![&group],
            "[snapshot-volumes] Failed snapshot",
        ),
        (
            "a name that can't be printed",
            vec![&foreign],
            "[snapshot-volumes] Failed snapshot",
        ),
        (
            "two kinds, of which the second loses its name",
            vec![&stale, &failed],
            "[snapshot-volumes] Volume without a fresh snapshot (vol-0a1b2c3d4e5f60718), failed snapshot",
        ),
        (
            "one new and one resolved",
            vec![&failed, &over],
            "[snapshot-volumes] Failed snapshot (vol-0a1b2c3d4e5f60718), 1 resolved",
        ),
        (
            "resolved alone",
            vec![&over],
            "[snapshot-volumes] Resolved: volume without a fresh snapshot (vol-0a1b2c3d4e5f60718)",
        ),
        (
            "several resolved",
            vec![&over, &over],
            "[snapshot-volumes] 2 resolved",
        ),
        (
            "a kind of many words, and others beside it",
            vec![&open, &stale, &failed, &failed],
            "[snapshot-volumes] Instance in quarantine whose security groups were changed and 3 more",
        ),
    ] {
        assert_eq!(notice(&changed).subject, subject, "{what}");
    }
    let many: Vec<_> = std::iter::repeat_n(&stale, 50).chain([&over]).collect();
    assert_eq!(
        notice(&many).subject,
        "[snapshot-volumes] 50 volumes without a fresh snapshot, resolved: volume without a fresh snapshot"
    );
}

#[test]
fn a_command_is_ready_to_be_copied_whatever_the_resource_is_called() {
    static LOOP: Kind = Kind {
        commands: &[
            Command {
                to: "to resume the group",
                on: On::Group,
                run: Run::Invoke("release"),
            },
            Command {
                to: "to stop it",
                on: On::Group,
                run: Run::Aws("autoscaling cancel-instance-refresh --auto-scaling-group-name"),
            },
        ],
        ..STALE
    };
    let group = of(&LOOP, "auto-scaling-group/it's \"$(web)\"");
    let alone = notice(&[&group]);
    assert!(alone.text.contains("\nTo resume the group:\n  aws lambda invoke --region eu-central-1 --function-name ec2-guardrails-f "));
    let words = |begin: &str| {
        let line = alone.text.lines().find(|line| line.starts_with(begin));
        shlex::split(line.unwrap()).unwrap()
    };
    let name = "it's \"$(web)\"";
    let invoke = words("  aws lambda invoke");
    let at = invoke.iter().position(|word| word == "--payload").unwrap();
    let payload: Value = serde_json::from_str(&invoke[at + 1]).unwrap();
    assert_eq!(
        payload,
        json!({"trigger": "command", "command": "release", "group": name})
    );
    let cancel = words("  aws autoscaling");
    assert_eq!(cancel[4..], [name, "--region", "eu-central-1"]);
    let instance = of(&LOOP, "i-1");
    let both = notice(&[&instance, &group]);
    assert!(
        both.text
            .contains("\nTo resume the group (here of it's \"$(web)\"):\n")
    );
    let none = notice(&[&instance]);
    assert!(
        !none.text.contains("aws lambda invoke"),
        "no command is for it"
    );
}

#[test]
fn a_name_calls_nobody_in_the_chat() {
    let condition = Condition::firing(Resource::instance("i-1"), &STALE, "", "why")
        .called("i-1 (<!channel> & <https://evil.example|this>)");
    let notice = notice(&[&condition]);
    assert!(description(&notice).contains(
        "• i-1 (&lt;!channel&gt; &amp; &lt;https://evil.example|this&gt;): why <https://eu"
    ));
}

#[test]
fn each_protocol_gets_its_form() {
    let condition = of(&STALE, "vol-1");
    let notice = notice(&[&condition]);
    let message: Value = serde_json::from_str(&notice.message()).unwrap();
    assert_eq!(message["default"], notice.text.as_str());
    let chat: Value = serde_json::from_str(message["https"].as_str().unwrap()).unwrap();
    assert_eq!(chat, notice.chat);
    assert_eq!(
        message["sms"],
        "[snapshot-volumes] Volume without a fresh snapshot (vol-1) (123456789012, eu-central-1)"
    );
}

#[test]
fn no_change_makes_no_notice() {
    let place = place();
    let origin = Origin {
        guardrail: "x",
        place: &place,
        request: "run-1",
        now: Timestamp::UNIX_EPOCH,
        by_person: false,
    };
    assert_eq!(compose(&origin, &[]), None);
}

#[test]
fn long_text_is_cut_between_words() {
    assert_eq!(short("one two three", 13), "one two three");
    assert_eq!(short("one two three", 12), "one two …");
    assert_eq!(short("größer\nals", 20), "größer als");
    assert_eq!(short("ööööööööööö", 10), "ööö …");
}

/// Any words, as a kind, a name and a reason may have them.
fn kinds() -> impl Strategy<Value = Vec<&'static Kind>> {
    // Now and then one that a subject can't have.
    let word = prop_oneof![40 => "[a-z']{1,12}", 1 => "é"];
    let words = prop::collection::vec(word, 1..12).prop_map(|words| words.join(" "));
    let kind = (words, "[a-z]{1,8}", 0..3_u8).prop_map(|(words, name, urgency)| {
        let leaked = |text: String| -> &'static str { Box::leak(text.into_boxed_str()) };
        &*Box::leak(Box::new(Kind {
            name: leaked(name),
            meaning: "It is so.",
            one: leaked(words.clone()),
            many: leaked(format!("{words}s")),
            resolved: "is well",
            next: "Look.",
            urgency: match urgency {
                0 => Urgency::Now,
                1 => Urgency::Soon,
                _ => Urgency::Know,
            },
            commands: &[],
        }))
    });
    prop::collection::vec(kind, 1..8)
}

/// Few characters, and how often: long texts that are soon made.
fn long(characters: &'static str, most: usize) -> impl Strategy<Value = String> {
    (characters, 0..most).prop_map(|(text, times)| text.repeat(times))
}

fn item() -> impl Strategy<Value = (usize, String, String, bool)> {
    let group = long("\\PC{1,5}", 50).prop_map(|name| format!("auto-scaling-group/g{name}"));
    let resource = prop_oneof!["i-[0-9a-f]{17}", group];
    (0..8_usize, resource, long("\\PC{0,10}", 300), any::<bool>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn any_change_fits(kinds in kinds(), items in prop::collection::vec(item(), 1..40)) {
        let kind = |at: usize| kinds[at % kinds.len()];
        let changed: Vec<_> = items
            .iter()
            .map(|(at, resource, why, stands)| match stands {
                true => Condition { why: why.clone(), ..of(kind(*at), resource) },
                false => resolved(kind(*at), resource),
            })
            .collect();
        let notice = sent_by("quarantine-launch", &changed.iter().collect::<Vec<_>>());
        let subject = &notice.subject;

        prop_assert!(subject.len() <= SUBJECT_MAX && subject.starts_with("[quarantine-launch] "), "{subject}");
        prop_assert!(subject.chars().all(|c| matches!(c, ' '..='~')), "{subject}");
        // Each word is one that stands whole in a kind's name or a resource's.
        let known: Vec<String> = changed.iter().flat_map(|item| {
            let kind = item.kind;
            [format!("({})", item.resource.name()), kind.one.to_owned(), kind.many.to_owned()]
        }).chain(["[quarantine-launch] resolved: resolved and more conditions".to_owned()])
            .flat_map(|text| text.split(' ').map(str::to_lowercase).collect::<Vec<_>>())
            .collect();
        for word in subject.split(' ') {
            let word = word.trim_end_matches(',').to_lowercase();
            prop_assert!(known.contains(&word) || known.contains(&format!("{word},")) || word.parse::<usize>().is_ok(), "{word} in {subject}");
        }

        prop_assert!(notice.message().len() <= 256 * 1_024, "{}", notice.message().len());
        let content = &notice.chat["content"];
        prop_assert!(content["title"].as_str().unwrap().chars().count() <= TITLE_MAX);
        prop_assert!(description(&notice).len() <= DESCRIPTION_MAX, "{}", description(&notice).len());
    }
}
