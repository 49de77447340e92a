//! What came of putting things back, in words.

use std::collections::BTreeSet;

/// What came of putting one thing back.
pub(super) enum Put {
    /// It is as it was.
    Back(String),
    /// It can't be put back.
    Lost(String),
    /// It can't be put back yet.
    Open(String),
}

impl Put {
    pub(super) fn words(self) -> String {
        match self {
            Self::Back(words) | Self::Lost(words) | Self::Open(words) => words,
        }
    }
}

/// What came of all of it.
#[derive(Default)]
pub(super) struct Undone {
    pub(super) done: Vec<String>,
    /// What can't be restored.
    pub(super) lost: Vec<String>,
    /// Why it isn't finished.
    pub(super) open: Vec<String>,
    /// Interfaces whose loss was named.
    pub(super) given_up: BTreeSet<String>,
    /// Interfaces that EC2 didn't find, and what they had.
    pub(super) not_found: Vec<(String, String)>,
}

impl Undone {
    pub(super) fn add(&mut self, put: Put) {
        match put {
            Put::Back(done) => self.done.push(done),
            Put::Lost(lost) => self.lost.push(lost),
            Put::Open(open) => self.open.push(open),
        }
    }

    /// `next` is who goes on where it isn't finished.
    pub(super) fn note(&self, next: &str) -> String {
        let mut note = self.done.join("; ");
        if !self.lost.is_empty() {
            note.push_str("; NOT RESTORED: ");
            note.push_str(&self.lost.join("; "));
        }
        if !self.open.is_empty() {
            note.push_str("; NOT FINISHED, ");
            note.push_str(next);
            note.push_str(": ");
            note.push_str(&self.open.join("; "));
        }
        note
    }
}
