//! The least number of calls that a sweep can do with.

use std::collections::BTreeMap;

use crate::server::{Calls, LOOKING_AGAIN};

/// Calls by name.
///
/// Looking again before acting isn't in it: how often that must be done depends on how long the
/// acting takes. Nor are calls that were throttled and had to be made again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Least(BTreeMap<&'static str, usize>);

impl Least {
    /// Of these calls; those that aren't made at all are left out.
    pub(crate) fn of(calls: impl IntoIterator<Item = (&'static str, usize)>) -> Self {
        Self(calls.into_iter().filter(|(_, calls)| *calls > 0).collect())
    }

    /// How many pages so many items take. An empty list takes one too.
    pub(crate) fn pages(items: usize, size: usize) -> usize {
        items.div_ceil(size).max(1)
    }

    /// For the first run of a process, or for a later one within the minute that a policy is
    /// used without reading it again.
    pub(crate) fn in_run(mut self, first: bool) -> Self {
        if !first {
            self.0.remove("GetParameter");
        }
        self
    }

    /// Of one name.
    pub(crate) fn of_call(&self, name: &str) -> usize {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// The names.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(|name| *name as &str)
    }

    /// All together.
    pub(crate) fn total(&self) -> usize {
        self.0.values().sum()
    }

    /// Refuses a sweep that reads more often than it must: a read per healthy resource is what
    /// makes a large account slow, and shows here first.
    pub(crate) fn suffices_for(&self, made: &Calls) -> Result<(), String> {
        let reads = ["Describe", "Get", "List", "Lookup", "Simulate"];
        let over: Vec<String> = made
            .0
            .iter()
            .filter(|(name, _)| {
                reads.iter().any(|read| name.starts_with(read)) && !name.ends_with(LOOKING_AGAIN)
            })
            .filter(|(name, count)| count.made - count.throttled > self.of_call(name))
            .map(|(name, count)| {
                format!(
                    "{name} {} times instead of {}",
                    count.made,
                    self.of_call(name)
                )
            })
            .collect();
        if over.is_empty() {
            Ok(())
        } else {
            Err(format!("it called {}", over.join(", ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::Count;

    #[test]
    fn a_read_too_many_fails_and_a_write_or_a_throttled_read_does_not() {
        let least = Least::of([("DescribeInstances", 2), ("GetParameter", 1)]);
        let made = |calls: &[(&str, usize, usize)]| {
            let counts = calls.iter().map(|(name, made, throttled)| {
                let (made, throttled) = (*made, *throttled);
                ((*name).to_owned(), Count { made, throttled })
            });
            Calls(counts.collect())
        };
        let fine = made(&[
            ("DescribeInstances", 3, 1),
            ("DescribeInstances (looking again)", 7, 0),
            ("CreateTags", 9, 0),
        ]);
        assert_eq!(least.suffices_for(&fine), Ok(()));
        for over in [("DescribeInstances", 3, 0), ("GetConsoleOutput", 1, 0)] {
            let said = least.suffices_for(&made(&[over])).unwrap_err();
            assert!(said.contains(over.0), "{said}");
        }
    }
}
