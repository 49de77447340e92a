use super::*;
use crate::slots::Zone;
use proptest::prelude::*;

const PLAN: &str = "daily";
const SLOT: &str = "2026-11-22T03:00:00+09:00";
const STARTED: &str = "2026-11-21T18:05:00Z";
const DESCRIPTION: &str = "ec2-guardrails snapshot-volumes: plan daily, slot 2026-11-22T03:00:00+09:00, attempt 2: 3 volumes of web-1 (i-1)";
/// By these it is ours; the others are for people.
const PROOF: [(&str, &str); 5] = [
    (tags::GUARDRAIL, "snapshot-volumes"),
    (tags::PLAN, PLAN),
    (tags::SLOT, SLOT),
    (tags::VOLUMES, "vol-1=/dev/xvda vol-2=/dev/sdf"),
    ("ec2-guardrails:volumes-2", "vol-3"),
];

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn read_with(description: &str, volume: &str, tags: &[(&str, &str)]) -> Option<Owned> {
    let described = Described {
        id: "snap-1",
        volume,
        description,
        started: at(STARTED),
        tags,
    };
    read(&described, State::Completed)
}

fn ours(volume: &str) -> Owned {
    Owned::Ours(Snapshot {
        id: "snap-1".to_owned(),
        volume: volume.to_owned(),
        plan: Arc::from(PLAN),
        slot: at(SLOT),
        attempt: 2,
        state: State::Completed,
        started: at(STARTED),
        archived: false,
        held: false,
        copy: None,
    })
}

/// Why a snapshot of `vol-1` with our description isn't ours.
fn disowned(tags: &[(&str, &str)]) -> Option<String> {
    match read_with(DESCRIPTION, "vol-1", tags) {
        Some(Owned::Disowned(snapshot)) => Some(snapshot.why),
        _ => None,
    }
}

#[test]
fn each_of_a_set_is_ours_by_description_tags_and_own_volume() {
    for volume in ["vol-1", "vol-2", "vol-3"] {
        assert_eq!(read_with(DESCRIPTION, volume, &PROOF), Some(ours(volume)));
    }
}

#[test]
fn tags_alone_make_nothing_ours() {
    for description in [
        "",
        "Created by CreateImage(i-1) for ami-1",
        "ec2-guardrails quarantine-launch: evidence of i-1",
        "[Copied snap-1 from eu-west-1] ec2-guardrails snapshot-volumes: plan daily, slot 2026-11-22T03:00:00+09:00, attempt 1: x",
    ] {
        assert_eq!(
            read_with(description, "vol-1", &PROOF),
            None,
            "{description}"
        );
    }
}

#[test]
fn a_description_is_read_as_it_is_written_or_not_at_all() {
    let changed = |from: &str, to: &str| {
        assert!(DESCRIPTION.contains(from), "{from}");
        read_with(&DESCRIPTION.replace(from, to), "vol-1", &PROOF)
    };
    for (from, to) in [
        ("ec2-guardrails s", "EC2-guardrails s"),
        ("ec2-guardrails s", " ec2-guardrails s"),
        (", slot ", ",  slot "),
        ("attempt 2", "attempt 02"),
        ("attempt 2", "attempt +2"),
        ("attempt 2", "attempt -2"),
        ("attempt 2", "attempt two"),
        ("attempt 2", "attempt 4294967296"),
        ("2: ", "2 "),
        ("T03:00", "T33:00"),
        ("2026-11-22T03:00:00+09:00", "today"),
        (", attempt 2", ""),
    ] {
        assert_eq!(changed(from, to), None, "{from}{to}");
    }
    assert_eq!(
        changed("3 volumes of web-1 (i-1)", ", attempt 9: x"),
        Some(ours("vol-1"))
    );
}

#[test]
fn whoever_changes_our_tags_makes_a_snapshot_nobodys() {
    for (key, value) in &PROOF[..4] {
        let without: Vec<_> = PROOF.into_iter().filter(|(have, _)| have != key).collect();
        let why = disowned(&without).unwrap_or_default();
        assert!(why.contains(key), "without {key}: {why}");
        for other in [
            "",
            "weekly",
            "2099-01-01T03:00:00+09:00",
            "vol-9",
            &format!(" {value}"),
        ] {
            let edited: Vec<_> = without.iter().copied().chain([(*key, other)]).collect();
            let why = disowned(&edited);
            // A blank more in the list changes nothing.
            let same = *key == tags::VOLUMES && other.ends_with(value);
            assert_eq!(why.is_none(), same, "{key} {other}");
        }
    }
    let why = disowned(&[(tags::GUARDRAIL, crate::NAME), (tags::PLAN, "weekly")]);
    let expected = "its tag ec2-guardrails:plan was \"daily\" and is \"weekly\"";
    assert_eq!(why.as_deref(), Some(expected));
}

/// Nothing of what people are shown beside it is read back.
#[test]
fn other_tags_change_nothing() {
    for more in [
        (tags::ATTEMPT, "4294967295"),
        (tags::SET, "i-9-x"),
        (tags::EVIDENCE, "i-1"),
        (tags::INSTANCE, "i-9"),
        ("ec2-guardrails:volumes-3", "vol-9"),
        ("Name", DESCRIPTION),
    ] {
        let tags: Vec<_> = PROOF.into_iter().chain([more]).collect();
        assert_eq!(
            read_with(DESCRIPTION, "vol-1", &tags),
            Some(ours("vol-1")),
            "{more:?}"
        );
    }
}

#[test]
fn a_copy_or_a_volume_that_came_to_a_set_is_nobodys() {
    for volume in ["vol-ffffffff", "vol-4", "vol-", ""] {
        let found = read_with(DESCRIPTION, volume, &PROOF);
        assert!(
            matches!(&found, Some(Owned::Disowned(one)) if one.why.contains("list its volume")),
            "{volume}: {found:?}"
        );
    }
}

#[test]
fn a_slot_later_than_the_start_is_a_wrong_clock() {
    for (started, is_ours) in [
        ("2026-11-21T18:00:00Z", true),
        ("2026-11-21T17:59:59Z", true),
        ("2026-11-21T17:59:55Z", true),
        ("2026-11-21T17:59:54Z", false),
        ("1970-01-01T00:00:00Z", false),
    ] {
        let described = Described {
            id: "snap-1",
            volume: "vol-1",
            description: DESCRIPTION,
            started: at(started),
            tags: &PROOF,
        };
        let found = read(&described, State::Completed).unwrap();
        assert_eq!(matches!(&found, Owned::Ours(_)), is_ours, "{started}");
        if let Owned::Disowned(one) = found {
            assert!(
                one.why.contains(started) && one.why.contains(SLOT),
                "{one:?}"
            );
        }
    }
}

#[test]
fn devices_are_left_out_before_a_volume_is() {
    let member = |n: usize, device: &str| Member {
        volume: format!("vol-0123456789abcde{n:02}"),
        device: Some(device.to_owned()),
    };
    let long: Vec<Member> = (0..6).map(|n| member(n, &"x".repeat(40))).collect();
    for (members, with_device) in [(&long[..], false), (&long[..2], true)] {
        let all = own_tags(PLAN, &Zone::UTC.at(at(SLOT)), 1, members);
        let (_, listed) = all.iter().find(|(key, _)| key == tags::VOLUMES).unwrap();
        assert_eq!(listed.contains('='), with_device, "{listed}");
        assert!(
            members.iter().all(|one| listed.contains(&one.volume)),
            "{listed}"
        );
    }
    assert_eq!(
        own_tags(PLAN, &Zone::UTC.at(at(SLOT)), 1, &long).len(),
        own_tag_count(6)
    );
}

fn any_tags() -> impl Strategy<Value = Vec<(String, String)>> {
    let keys = prop::sample::select(vec![
        tags::GUARDRAIL,
        tags::PLAN,
        tags::SLOT,
        tags::ATTEMPT,
        tags::SET,
        tags::VOLUMES,
        "ec2-guardrails:volumes-2",
        tags::EVIDENCE,
        "Name",
    ]);
    let values = prop_oneof![
        prop::sample::select(vec![
            crate::NAME,
            PLAN,
            SLOT,
            "1",
            "vol-1",
            "vol-1=/dev/xvda vol-9",
            "2099-01-01T03:00:00+09:00",
            DESCRIPTION,
        ])
        .prop_map(str::to_owned),
        ".{0,40}",
    ];
    prop::collection::btree_map(keys.prop_map(str::to_owned), values, 0..9)
        .prop_map(|tags| tags.into_iter().collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_is_written_is_read_again(
        plan in "[a-z0-9][a-z0-9-]{0,39}",
        slot in 0i64..4_000_000_000,
        zone in prop::sample::select(vec!["UTC", "Asia/Seoul", "America/St_Johns", "Pacific/Chatham"]),
        attempt in 1u32..,
        what in ".{0,300}",
        volumes in prop::collection::btree_set("vol-[0-9a-f]{17}", 1..60),
    ) {
        let slot = Timestamp::from_second(slot).unwrap();
        let at = Zone::try_from(zone.to_owned()).unwrap().at(slot);
        let description = description(&plan, &at, attempt, &what);
        prop_assert!(description.is_ascii() && description.len() <= DESCRIPTION_MAX);
        let members: Vec<Member> = volumes.into_iter().enumerate().map(|(n, volume)| Member {
            volume,
            device: (n % 3 != 0).then(|| format!("/dev/sd{n}")),
        }).collect();
        let own = own_tags(&plan, &at, attempt, &members);
        prop_assert_eq!(own.len(), own_tag_count(members.len()));
        prop_assert!(own.iter().all(|(_, value)| value.chars().count() <= tags::VALUE_MAX));
        let tags: Vec<_> = own.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        for member in &members {
            let described = Described {
                id: "snap-1",
                volume: &member.volume,
                description: &description,
                started: slot,
                tags: &tags,
            };
            let Some(Owned::Ours(found)) = read(&described, State::Pending) else {
                return Err(TestCaseError::fail(format!("not ours: {description}")));
            };
            prop_assert_eq!((&*found.plan, found.slot, found.attempt), (plan.as_str(), slot, attempt));
        }
    }

    /// Whoever may tag can't make a foreign snapshot ours, nor one of ours another's.
    #[test]
    fn tags_can_only_take_away(tags in any_tags(), foreign in ".{0,80}") {
        let tags: Vec<_> = tags.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        prop_assert_eq!(read_with(&foreign, "vol-1", &tags), None);
        let found = read_with(DESCRIPTION, "vol-1", &tags);
        match found {
            Some(Owned::Disowned(_)) => {}
            found => prop_assert_eq!(found, Some(ours("vol-1"))),
        }
    }
}
