use super::*;
use crate::evaluate::Evaluated;
use crate::memory::Repair;
use crate::tests::fixtures::{REFRESH, error, policy, policy_with_image, the_plan, web};

/// A refresh of a group that is opted in; `seen` is what is remembered.
fn case(current: Option<char>, stable: Option<char>, seen: Option<(char, Repair)>) -> Case {
    let case = web(2).pulling('x').change(|case| {
        case.looked += SignedDuration::from_mins(2);
        case.image = Some(Ok(Image {
            current: current.map(String::from),
            stable: stable.map(String::from),
        }));
    });
    match seen {
        Some((letter, repair)) => case.seen_with(&letter.to_string(), repair),
        None => case,
    }
}

fn stands(case: &Case) -> Standing {
    let evaluated = Evaluated::of(case, &policy_with_image(), case.looked);
    evaluated.refresh.unwrap().image
}

#[test]
fn the_tag_is_put_back_only_while_it_points_to_what_was_seen() {
    let seen = |letter| Some((letter, Repair::Seen));
    for (case, expected) in vec![
        (case(Some('b'), Some('a'), seen('b')), "repair"),
        // At first sight, soon after the start.
        (case(Some('b'), Some('a'), None), "repair"),
        (case(Some('a'), Some('a'), seen('b')), "good"),
        (
            case(Some('b'), Some('a'), Some(('b', Repair::Restoring))),
            "repair",
        ),
        // A run was ended after it had put the image back, or all went well.
        (
            case(Some('a'), Some('a'), Some(('b', Repair::Restoring))),
            "moved",
        ),
        (
            case(Some('c'), Some('a'), Some(('b', Repair::Restored))),
            "moved",
        ),
        (case(Some('c'), Some('a'), seen('b')), "has changed since"),
        (case(None, Some('a'), seen('b')), "app:prod doesn't exist"),
        (
            case(Some('b'), None, seen('b')),
            "app:prod-stable doesn't exist",
        ),
        (case(Some('b'), Some('b'), seen('b')), "is the same image"),
        (case(Some('b'), Some('b'), None), "is the same image"),
        // Stable moved onto the bad image meanwhile.
        (case(Some('c'), Some('b'), seen('b')), "is the same image"),
        (
            case(Some('b'), Some('a'), Some(('b', Repair::NotRestored))),
            "couldn't be changed",
        ),
    ] {
        let standing = stands(&case);
        match (&standing, expected) {
            (Standing::Repair(plan), "repair") => assert_eq!(*plan, the_plan()),
            (Standing::Good, "good") => {}
            (Standing::Moved(moved), "moved") => {
                assert_eq!(
                    (moved.name.as_str(), moved.from.as_str()),
                    ("app:prod", "b")
                );
            }
            (Standing::Refused(why), text) => {
                assert!(why.contains(text), "{why}");
                assert!(why.contains("Nothing was overwritten"), "{why}");
            }
            _ => panic!("{standing:?}, expected {expected}"),
        }
    }
}

#[test]
fn an_image_seen_too_late_is_not_trusted_to_be_the_releases() {
    let mut late = case(Some('b'), Some('a'), None);
    late.looked += SignedDuration::from_mins(9);
    assert!(matches!(stands(&late), Standing::Refused(why) if why.contains("nobody saw")));
    // What was seen of another refresh says nothing of this one.
    let mut other = case(Some('b'), Some('a'), Some(('b', Repair::Seen)));
    other.looked = late.looked;
    other.refresh.as_mut().unwrap().id = "another".to_owned();
    assert!(matches!(stands(&other), Standing::Refused(why) if why.contains("nobody saw")));
    // Nor what is seen once the refresh is on its way out: it may be somebody's correction.
    for status in [
        Status::Failed,
        Status::Cancelled,
        Status::RollbackInProgress,
    ] {
        let out = case(Some('b'), Some('a'), None).in_status(status);
        assert!(matches!(stands(&out), Standing::Refused(why) if why.contains("nobody saw")));
    }
}

/// Only what AWS refuses is a reason.
#[test]
fn an_answer_that_doesnt_come_says_nothing_of_the_image() {
    let unread = |kind| {
        let case = case(Some('b'), Some('a'), Some(('b', Repair::Seen)));
        stands(&case.change(|case| case.image = Some(Err(error(kind)))))
    };
    for kind in [ErrorKind::Throttled, ErrorKind::Unknown] {
        assert!(matches!(unread(kind), Standing::Unread(why) if why.contains("app")));
    }
    let denied = unread(ErrorKind::Denied);
    assert!(matches!(denied, Standing::Refused(why) if why.contains("ImageRepositoryArns")));
}

#[test]
fn without_opting_in_nothing_is_looked_at() {
    let mut case = case(Some('b'), Some('a'), None);
    case.image = None;
    assert_eq!(stands(&case), Standing::NotAsked);
    // Or where the policy names none for the group.
    case.image = Some(Ok(Image::default()));
    let evaluated = Evaluated::of(&case, &policy(), case.looked);
    assert_eq!(evaluated.refresh.unwrap().image, Standing::NotAsked);
}

#[test]
fn the_kept_images_tag_is_one_that_ecr_takes() {
    assert_eq!(keep_as("prod", REFRESH), format!("prod-failed-{REFRESH}"));
    let long = keep_as(&"x".repeat(128), REFRESH);
    assert_eq!(long.len(), IMAGE_TAG_MAX);
    assert!(long.ends_with(REFRESH));
}
