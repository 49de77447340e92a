//! What the name of an SSM parameter says about its history: `/golden`, `/golden:prod`, `/golden:7`,
//! or the same as an ARN.

/// AWS's public ones.
pub(crate) fn is_public(name: &str) -> bool {
    name.starts_with("/aws/") || name.contains("::parameter/aws/")
}

/// The version or label behind the name.
fn selector(name: &str) -> Option<&str> {
    // The colons of an ARN come before its last part.
    let last = name.rsplit('/').next()?;
    let (_, selector) = last.rsplit_once(':')?;
    // `arn:aws:ssm:eu-central-1:1:parameter` has no such part of its own.
    (!name.starts_with("arn:") || name.contains(":parameter/")).then_some(selector)
}

/// Whether it is one version, which never moves.
pub(crate) fn is_fixed(name: &str) -> bool {
    selector(name).is_some_and(|selector| selector.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Whether it is a label, which people move from version to version.
pub(crate) fn has_label(name: &str) -> bool {
    selector(name).is_some() && !is_fixed(name)
}

/// Whether AWS tells what it named before. Not of public ones, nor when a label was moved.
pub(crate) fn has_history(name: &str) -> bool {
    !is_public(name) && selector(name).is_none()
}

/// Whether what it names is written down because AWS doesn't tell later what it named.
pub(crate) fn is_watched(name: &str) -> bool {
    has_label(name) || (is_public(name) && !is_fixed(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_tells_whether_there_is_a_history() {
        const SHARED: &str = "arn:aws:ssm:eu-central-1:210987654321:parameter/golden/al2023";
        for (name, expected) in [
            ("/golden/al2023".to_owned(), "history"),
            (SHARED.to_owned(), "history"),
            ("golden".to_owned(), "history"),
            ("/golden/al2023:prod".to_owned(), "watched"),
            (format!("{SHARED}:prod"), "watched"),
            ("golden:v2-stable".to_owned(), "watched"),
            ("/golden/al2023:7".to_owned(), "fixed"),
            (format!("{SHARED}:7"), "fixed"),
            (
                "/aws/service/bottlerocket/latest/image_id".to_owned(),
                "watched",
            ),
            ("/aws/service/x/image_id:3".to_owned(), "fixed"),
        ] {
            let is = match (has_history(&name), is_watched(&name), is_fixed(&name)) {
                (true, false, false) => "history",
                (false, true, false) => "watched",
                (false, false, true) => "fixed",
                other => panic!("{name}: {other:?}"),
            };
            assert_eq!(is, expected, "{name}");
        }
    }
}
