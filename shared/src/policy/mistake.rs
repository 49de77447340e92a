//! What is wrong in a document, and where.

use std::fmt;

/// A mistake in a document: `snapshot-volumes.plans[1].keep.daily (line 7): …`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Where: keys and indices from the top; empty for the document as a whole.
    pub path: String,
    /// The line, from 1, where it is known.
    pub line: Option<u64>,
    /// What is wrong.
    pub problem: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{} ", self.path)?;
        }
        if let Some(line) = self.line {
            write!(f, "(line {line})")?;
        }
        if !self.path.is_empty() || self.line.is_some() {
            f.write_str(": ")?;
        }
        f.write_str(&self.problem)
    }
}

/// The mistakes of a section, by line; one at least.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes(pub Vec<Mistake>);

/// Most characters of all mistakes together; whoever wants them all checks the document.
const LONGEST: usize = 1_200;

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(mistakes) = self;
        if mistakes.len() > 1 {
            write!(f, "{} mistakes: ", mistakes.len())?;
        }
        let mut written = 0;
        for (index, mistake) in mistakes.iter().enumerate() {
            let text = mistake.to_string();
            written += text.len();
            if index > 0 && written > LONGEST {
                return write!(f, " | and {} more", mistakes.len() - index);
            }
            let separator = if index > 0 { " | " } else { "" };
            write!(f, "{separator}{text}")?;
        }
        Ok(())
    }
}

impl From<Mistake> for Mistakes {
    fn from(mistake: Mistake) -> Self {
        Self(vec![mistake])
    }
}
