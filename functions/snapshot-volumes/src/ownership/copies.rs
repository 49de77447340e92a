//! Which copies in another Region are ours. A copy's own volume id is arbitrary (EBS-9), so its
//! description says the volume and the snapshot that it is from, and the Region: each stack knows its
//! own copies, though several copy to one Region.

use guardrails::tags;
use jiff::Zoned;

use super::{Described, NAME, Owned, described_by};
use crate::action::Member;
use crate::facts::{Copied, State, Tag};

/// What the description of each copy from `home` begins with.
pub(crate) fn described(home: &str) -> String {
    format!("ec2-guardrails {NAME}: copy from {home} of ")
}

/// The same of copies of one volume.
pub(crate) fn described_of(home: &str, volume: &str) -> String {
    format!("{}{volume} (", described(home))
}

/// The snapshot that is copied.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) region: &'a str,
    pub(crate) volume: &'a str,
    pub(crate) snapshot: &'a str,
}

/// The description of a copy; `what` is for people.
pub(crate) fn description(
    source: Source<'_>,
    plan: &str,
    slot: &Zoned,
    attempt: u32,
    what: &str,
) -> String {
    let from = described_of(source.region, source.volume);
    let words = format!("{from}{}), plan ", source.snapshot);
    described_by(&words, plan, slot, attempt, what)
}

/// The tags by which a copy is ours.
pub(crate) fn own_tags(
    source: Source<'_>,
    plan: &str,
    slot: &Zoned,
    attempt: u32,
    member: Member,
) -> Vec<Tag> {
    let mut all = super::own_tags(plan, slot, attempt, &[member]);
    all.push((tags::SOURCE.to_owned(), source.snapshot.to_owned()));
    all.push((tags::SOURCE_REGION.to_owned(), source.region.to_owned()));
    all
}

/// Reads a copy from `home`. None when its description isn't one of ours.
pub(crate) fn read(
    home: &str,
    described: &Described<'_>,
    state: State,
    key: &str,
    gib: i32,
) -> Option<Owned> {
    let rest = described.description.strip_prefix(&self::described(home))?;
    let (volume, rest) = rest.split_once(" (")?;
    let (source, text) = rest.split_once("), plan ")?;
    let copied = Copied {
        source: source.to_owned(),
        key: key.to_owned(),
        gib,
    };
    described.owned(text, volume, Some(copied), state)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ownership::DESCRIPTION_MAX;
    use crate::slots;

    const SLOT: &str = "2026-11-22T03:00:00+00:00";
    const SOURCE: Source<'_> = Source {
        region: "eu-central-1",
        volume: "vol-1",
        snapshot: "snap-1",
    };

    fn slot() -> Zoned {
        crate::slots::Zone::UTC.at(SLOT.parse().unwrap())
    }

    fn read_with(home: &str, description: &str, change: &[(&str, Option<&str>)]) -> Option<Owned> {
        let member = Member {
            volume: "vol-1".to_owned(),
            device: Some("/dev/sdf".to_owned()),
        };
        let mut all = own_tags(SOURCE, "daily", &slot(), 2, member);
        for (key, value) in change {
            all.retain(|(have, _)| have != key);
            all.extend(value.map(|value| ((*key).to_owned(), value.to_owned())));
        }
        let tags: Vec<(&str, &str)> = all.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let described = Described {
            id: "snap-9",
            volume: "vol-ffffffff",
            description,
            started: "2026-11-22T04:00:00Z".parse().unwrap(),
            tags: &tags,
        };
        read(home, &described, State::Completed, "key", 100)
    }

    #[test]
    fn a_copy_is_read_as_it_is_written() {
        let text = description(SOURCE, "daily", &slot(), 2, "/dev/sdf of wéb (i-1)");
        assert_eq!(
            text,
            format!(
                "ec2-guardrails snapshot-volumes: copy from eu-central-1 of vol-1 (snap-1), plan daily, slot {}, attempt 2: /dev/sdf of w?b (i-1)",
                slots::tag(&slot())
            )
        );
        let Some(Owned::Ours(copy)) = read_with("eu-central-1", &text, &[]) else {
            panic!("ours");
        };
        assert_eq!(
            (&*copy.volume, &*copy.plan, copy.attempt, copy.slot),
            ("vol-1", "daily", 2, slot().timestamp())
        );
        assert_eq!(copy.copy.unwrap().source, "snap-1");
        // Another stack's copies are its own.
        assert_eq!(read_with("eu-west-1", &text, &[]), None);
        // And it is no snapshot of a volume here.
        assert!(!text.starts_with(crate::ownership::DESCRIBED));
        let long = description(SOURCE, &"p".repeat(40), &slot(), 2, &"x".repeat(300));
        assert_eq!(long.len(), DESCRIPTION_MAX);
    }

    #[test]
    fn whoever_changes_its_tags_makes_it_nobodys() {
        let text = description(SOURCE, "daily", &slot(), 2, "x");
        for key in [
            tags::GUARDRAIL,
            tags::PLAN,
            tags::SLOT,
            tags::SOURCE,
            tags::VOLUMES,
        ] {
            for value in [None, Some("other")] {
                match read_with("eu-central-1", &text, &[(key, value)]) {
                    Some(Owned::Disowned(copy)) => {
                        assert!(copy.why.contains(key), "{}", copy.why);
                        assert_eq!(copy.volume, "vol-1");
                    }
                    other => panic!("{key} {value:?}: {other:?}"),
                }
            }
        }
        let label = [(tags::SOURCE_REGION, Some("x")), (tags::ATTEMPT, None)];
        assert!(matches!(
            read_with("eu-central-1", &text, &label),
            Some(Owned::Ours(_))
        ));
    }
}
