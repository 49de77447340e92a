//! What somebody else wrote, as a message quotes it: in one line, and not more of it than helps.

/// Most characters that a message quotes of a name, a key or a value.
const QUOTED: usize = 100;

/// `text` in one line of at most `most` characters.
#[must_use]
pub fn clip(text: &str, most: usize) -> String {
    let mut kept = String::new();
    let mut space = false;
    let mut count = 0;
    for character in text.trim_start().chars() {
        if count >= most {
            return kept + "…";
        }
        if character.is_whitespace() || character.is_control() {
            space = true;
            continue;
        }
        if std::mem::take(&mut space) {
            kept.push(' ');
            count += 1;
        }
        kept.push(character);
        count += 1;
    }
    kept
}

/// A name or a key, to be put between the quotes of the message.
pub(crate) fn name(text: &str) -> String {
    clip(text, QUOTED)
}

/// A value in quotes.
#[must_use]
pub fn quoted(text: &str) -> String {
    format!("\"{}\"", name(text))
}

/// What may stand in a place, each in quotes.
pub(crate) fn choice(of: &[&str]) -> String {
    format!("`{}`", of.join("`, `"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_quoted_in_one_line_and_not_too_much_of_it() {
        for (text, expected) in [
            ("", "\"\""),
            ("plain", "\"plain\""),
            ("  two\r\n\tlines\u{1b}[0m  ", "\"two lines [0m\""),
            ("Täglich", "\"Täglich\""),
        ] {
            assert_eq!(quoted(text), expected);
        }
        assert_eq!(name(&"ä".repeat(100)), "ä".repeat(100));
        assert_eq!(name(&"ä".repeat(101)), format!("{}…", "ä".repeat(100)));
        // Blanks alone must not be read through to their end either.
        assert!(clip(&"a ".repeat(4_000_000), 50).len() < 60);
    }
}
