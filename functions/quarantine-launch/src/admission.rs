//! Whom the isolation groups let in: the responders that the policy names, and nobody else. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::facts::Isolation;
use crate::rule::Rule;

/// Whom the policy lets in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Admission {
    /// What it says, wherever that is.
    rules: BTreeSet<Rule>,
    /// The VPCs of the security groups that it names and EC2 shows; none: they couldn't be read.
    groups: Option<BTreeMap<String, String>>,
}

impl Admission {
    /// What these rules come to, whose security groups are in these VPCs.
    pub fn new(rules: BTreeSet<Rule>, groups: Option<BTreeMap<String, String>>) -> Self {
        Self { rules, groups }
    }

    /// What the isolation group of this VPC is to let in. A security group only in its own VPC:
    /// elsewhere AWS takes it at most through a peering connection (AMI-18).
    pub fn wanted(&self, vpc: &str) -> BTreeSet<Rule> {
        let groups = self.groups.as_ref();
        let is_here = |group: &str| {
            let of = groups.and_then(|groups| groups.get(group));
            of.is_some_and(|of| of == vpc)
        };
        let here = self.rules.iter().filter(|rule| match rule.group() {
            Some(group) => is_here(group),
            None => true,
        });
        here.cloned().collect()
    }

    /// The same for people; none where nobody is let in.
    pub fn whom(&self, vpc: &str) -> Option<String> {
        let wanted = self.wanted(vpc);
        let whom: Vec<String> = wanted.iter().map(ToString::to_string).collect();
        (!whom.is_empty()).then(|| whom.join(", "))
    }

    /// What of it the group doesn't let in.
    pub fn missing(&self, vpc: &str, group: &Isolation) -> BTreeSet<Rule> {
        &self.wanted(vpc) - &group.incoming
    }

    /// What it lets in that the policy doesn't name. What the policy names stays wherever it is,
    /// though never the group itself: all that is in quarantine would be let in.
    pub fn surplus(&self, group: &Isolation) -> BTreeSet<Rule> {
        let incoming = group.incoming.iter();
        let surplus = incoming
            .filter(|rule| !self.rules.contains(*rule) || rule.group() == Some(group.id.as_str()));
        surplus.cloned().collect()
    }

    /// What it lets in by the policy, once all that is wanted is there: also what stands there
    /// already though it isn't known where it is.
    pub fn admitted(&self, vpc: &str, group: &Isolation) -> BTreeSet<Rule> {
        &self.wanted(vpc) | &(&group.incoming - &self.surplus(group))
    }

    /// Whether nothing comes or goes through it but what the policy lets in.
    pub fn isolates(&self, group: &Isolation) -> bool {
        !group.lets_out && self.surplus(group).is_empty()
    }

    /// The security groups that the policy names and EC2 doesn't show.
    pub fn unseen(&self) -> BTreeSet<&str> {
        let Some(groups) = &self.groups else {
            return BTreeSet::new();
        };
        let named = self.rules.iter().filter_map(Rule::group);
        named.filter(|group| !groups.contains_key(*group)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(of: &[&str]) -> BTreeSet<Rule> {
        of.iter().map(|from| Rule::everything(from)).collect()
    }

    fn group(incoming: &[&str]) -> Isolation {
        Isolation {
            id: "sg-isolation".to_owned(),
            ours: true,
            incoming: rules(incoming),
            lets_out: false,
        }
    }

    fn admission() -> Admission {
        let groups = [("sg-1", "vpc-1"), ("sg-2", "vpc-2")];
        let groups = groups.map(|(id, vpc)| (id.to_owned(), vpc.to_owned()));
        let named = rules(&["10.0.0.0/8", "fd00::/48", "sg-1", "sg-2", "sg-gone"]);
        Admission::new(named, Some(groups.into()))
    }

    #[test]
    fn a_security_group_is_let_in_in_its_own_vpc_only() {
        let admission = admission();
        let wanted = rules(&["10.0.0.0/8", "fd00::/48", "sg-1"]);
        assert_eq!(admission.wanted("vpc-1"), wanted);
        assert_eq!(
            admission.wanted("vpc-3"),
            rules(&["10.0.0.0/8", "fd00::/48"])
        );
        assert_eq!(admission.unseen(), BTreeSet::from(["sg-gone"]));
    }

    #[test]
    fn less_is_missing_and_more_is_surplus() {
        let admission = admission();
        let found = group(&["10.0.0.0/8", "sg-1", "192.0.2.0/24"]);
        assert_eq!(admission.missing("vpc-1", &found), rules(&["fd00::/48"]));
        assert_eq!(admission.surplus(&found), rules(&["192.0.2.0/24"]));
        assert!(!admission.isolates(&found));
        assert!(admission.isolates(&group(&["10.0.0.0/8"])));
        let out = Isolation {
            lets_out: true,
            ..group(&[])
        };
        assert!(!admission.isolates(&out));
        // The same network with other ports is another rule.
        let mut narrow = group(&[]);
        narrow.incoming = [Rule::new("10.0.0.0/8", "tcp", Some((22, 22)))].into();
        assert!(!admission.isolates(&narrow));
    }

    /// Through a peering connection it may be meant, and a person has put it there.
    #[test]
    fn a_rule_that_the_policy_names_stays_though_it_isnt_put_there() {
        assert!(admission().isolates(&group(&["sg-2"])));
    }

    #[test]
    fn the_isolation_group_itself_is_never_a_responder() {
        let admission = Admission::new(rules(&["sg-isolation"]), Some(BTreeMap::new()));
        assert!(!admission.isolates(&group(&["sg-isolation"])));
    }

    #[test]
    fn security_groups_that_couldnt_be_read_are_neither_added_nor_taken_away() {
        let unread = Admission::new(rules(&["sg-1"]), None);
        assert!(unread.missing("vpc-1", &group(&[])).is_empty());
        assert!(unread.isolates(&group(&["sg-1"])));
        assert!(unread.unseen().is_empty());
        // Nor forgotten as what this guardrail has let in.
        let stands = group(&["sg-1", "192.0.2.0/24"]);
        assert_eq!(unread.admitted("vpc-1", &stands), rules(&["sg-1"]));
    }
}
