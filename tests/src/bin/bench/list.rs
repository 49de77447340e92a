//! What a call that lists something finds: rows of text, chosen by filters, given out in pages.

use std::collections::{BTreeSet, HashMap};

use crate::call::{Answer, Call, refuse};

/// All that one call can list.
#[derive(Debug, Default)]
pub(crate) struct List {
    pub(crate) action: &'static str,
    /// The element around the rows.
    set: &'static str,
    /// The largest page.
    most: usize,
    /// Empty where a row is gone.
    rows: Vec<String>,
    ids: HashMap<String, usize>,
    /// Rows by `filter=value`, in their order.
    keys: HashMap<String, Vec<usize>>,
    filters: BTreeSet<String>,
}

impl List {
    pub(crate) fn new(action: &'static str, set: &'static str, most: usize) -> Self {
        Self {
            action,
            set,
            most,
            ..Self::default()
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Adds a row that filters, and parameters of their names, find by `keys`; the first is its id.
    pub(crate) fn add(&mut self, keys: &[(&str, &str)], text: String) {
        self.ids.insert(keys[0].1.to_owned(), self.rows.len());
        for (name, value) in keys {
            let rows = self.keys.entry(format!("{name}={value}")).or_default();
            rows.push(self.rows.len());
            self.filters.insert((*name).to_owned());
        }
        self.rows.push(text);
    }

    /// The row of this id.
    pub(crate) fn row(&mut self, id: &str) -> Option<&mut String> {
        self.ids.get(id).map(|at| &mut self.rows[*at])
    }

    /// Answers `call`.
    pub(crate) fn answer(&self, call: &Call) -> Answer {
        let Some((size, start)) = call.page(self.most) else {
            return refuse("the size of a page");
        };
        let mut chosen: Option<Vec<usize>> = None;
        for (name, values) in call.filters(self.filters.iter()) {
            let known = self.filters.contains(name) || name.starts_with("tag");
            // EBS-7
            if !known || values.len() > 200 {
                return refuse(format!("the filter {name}"));
            }
            let mut found = Vec::new();
            for value in &values {
                let rows = self.keys.get(&format!("{name}={value}"));
                found.extend_from_slice(rows.map_or(&[], Vec::as_slice));
            }
            if values.len() > 1 {
                found.sort_unstable();
            }
            // The shorter one is looked through.
            if let Some(mut before) = chosen {
                if before.len() < found.len() {
                    std::mem::swap(&mut before, &mut found);
                }
                found.retain(|at| before.binary_search(at).is_ok());
            }
            chosen = Some(found);
        }
        let chosen = chosen.unwrap_or_else(|| (0..self.rows.len()).collect());
        let from = chosen.partition_point(|at| *at < start);
        let there = chosen[from..].iter();
        let mut there = there.filter(|at| !self.rows[**at].is_empty()).peekable();
        let page = there.by_ref().take(size).map(|at| &*self.rows[*at]);
        let page: Vec<&str> = page.collect();
        Ok(call.listed(self.set, &page, there.peek().map(|at| **at)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of 23 numbers the even ones, in pages of five.
    #[test]
    fn pages_meet_every_row_that_is_chosen_once() {
        let mut list = List::new("D", "set", 5);
        for number in 0..23 {
            let (name, odd) = (number.to_string(), (number % 2).to_string());
            list.add(&[("n", &name), ("odd", &odd)], format!("<i>{number}</i>"));
        }
        let ask = |query: String| {
            let query = format!("Version=2016-11-15&Filter.1.Name=odd&Filter.1.Value.1=0&{query}");
            list.answer(&Call::read(None, query.as_bytes()))
        };
        let (mut met, mut token, mut pages) = (String::new(), String::new(), 0);
        loop {
            let page = ask(format!("MaxResults=5&NextToken={token}")).unwrap();
            let (items, next) = page.split_once("</set>").unwrap();
            (met, pages) = (met + &items[5..], pages + 1);
            match next.split(['<', '>']).nth(2) {
                None => break,
                Some(next) => next.clone_into(&mut token),
            }
        }
        let even = (0..23).step_by(2).map(|n| format!("<i>{n}</i>"));
        assert_eq!((pages, met), (3, even.collect()));
        let both = ask("n.1=3&n.2=4".to_owned());
        assert_eq!(both.unwrap(), "<set><i>4</i></set>");
        assert!(ask("Filter.2.Name=size&Filter.2.Value.1=0".to_owned()).is_err());
        assert!(ask("MaxResults=6".to_owned()).is_err());
    }
}
