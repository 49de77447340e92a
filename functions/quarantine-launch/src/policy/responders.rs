//! Who may reach what is in quarantine, for forensics.

use std::collections::BTreeSet;

use guardrails::text::quoted;
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};

use super::one_or_many::OneOrMany;
use crate::rule::Rule;

/// Most inbound rules that a security group takes, unless its quota was raised.
const RULES_MAX: usize = 60;
/// What is wider isn't isolated from much; so many of the narrowest of them as a security group
/// takes don't make up all addresses either.
const WIDEST: (u8, u8) = (8, 16);
/// What is wider is hardly a team's own network: a whole VPC at most (IPv4), a site (IPv6).
const WIDE: (u8, u8) = (16, 48);

/// Who may reach an instance in quarantine. Nothing may leave it, whoever is named here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Responder {
    /// A network (`10.1.2.0/24`, `2001:db8:1::/48`), or the id of a security group, which holds in
    /// its own VPC. Several: each of them.
    #[serde(deserialize_with = "sources")]
    pub from: OneOrMany,
    /// TCP ports that they may reach: `22`, or a range, `"5985-5986"`. Left out: everything.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub ports: Vec<Ports>,
}

/// A TCP port, or a range of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "RawPorts", into = "RawPorts")]
#[schemars(with = "RawPorts")]
pub struct Ports(u16, u16);

/// How it is written.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(
    untagged,
    expecting = "expected a TCP port from 1 to 65535, or a range of them in quotes, such as \"5985-5986\""
)]
enum RawPorts {
    One(#[schemars(range(min = 1))] u16),
    Range(#[schemars(regex(pattern = "^[0-9]+-[0-9]+$"))] String),
}

impl TryFrom<RawPorts> for Ports {
    type Error = String;

    fn try_from(raw: RawPorts) -> Result<Self, String> {
        let (from, to) = match &raw {
            RawPorts::One(port) => (Some(*port), Some(*port)),
            RawPorts::Range(text) => match text.split_once('-') {
                Some((from, to)) => (from.parse().ok(), to.parse().ok()),
                None => (None, None),
            },
        };
        match (from, to) {
            (Some(from), Some(to)) if 0 < from && from <= to => Ok(Self(from, to)),
            _ => Err(match raw {
                RawPorts::One(port) => format!("{port} is no port; expected 1 to 65535"),
                RawPorts::Range(text) => format!(
                    "{} is no range of ports; expected two of 1 to 65535, such as \"5985-5986\"",
                    quoted(&text)
                ),
            }),
        }
    }
}

impl From<Ports> for RawPorts {
    fn from(Ports(from, to): Ports) -> Self {
        if from == to {
            Self::One(from)
        } else {
            Self::Range(format!("{from}-{to}"))
        }
    }
}

impl Responder {
    /// As rules of a security group.
    fn rules(&self) -> impl Iterator<Item = Rule> {
        self.from.all().iter().flat_map(|from| {
            let ports = self.ports.iter();
            let mut rules: Vec<Rule> = ports
                .map(|ports| Rule::new(from, "tcp", Some((ports.0.into(), ports.1.into()))))
                .collect();
            if rules.is_empty() {
                rules.push(Rule::everything(from));
            }
            rules
        })
    }

    /// Its networks that are so wide that hardly only responders are there.
    pub(super) fn wide(&self) -> impl Iterator<Item = &str> {
        let from = self.from.all().iter();
        from.filter(|from| {
            let network = from.parse::<IpNet>();
            network.is_ok_and(|network| is_wider(&network, WIDE))
        })
        .map(String::as_str)
    }
}

/// The rules of all of them.
pub(crate) fn rules(responders: &[Responder]) -> BTreeSet<Rule> {
    responders.iter().flat_map(Responder::rules).collect()
}

/// Reads responders that a security group has room for.
pub(super) fn few<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Responder>, D::Error> {
    let responders = Vec::<Responder>::deserialize(deserializer)?;
    match rules(&responders).len() {
        ..=RULES_MAX => Ok(responders),
        count => Err(D::Error::custom(format!(
            "they come to {count} rules (each source with each of its ports), and a security group takes {RULES_MAX}; name wider ranges of ports, or fewer networks"
        ))),
    }
}

fn is_wider(network: &IpNet, (v4, v6): (u8, u8)) -> bool {
    match network {
        IpNet::V4(network) => network.prefix_len() < v4,
        IpNet::V6(network) => network.prefix_len() < v6,
    }
}

fn sources<'de, D: Deserializer<'de>>(deserializer: D) -> Result<OneOrMany, D::Error> {
    let sources = OneOrMany::deserialize(deserializer)?;
    match sources.all().iter().find_map(|source| wrong(source)) {
        None => Ok(sources),
        Some(problem) => Err(D::Error::custom(problem)),
    }
}

/// What is wrong about a source.
fn wrong(source: &str) -> Option<String> {
    if let Some(id) = source.strip_prefix("sg-") {
        let is_id = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        return (!is_id).then(|| {
            format!(
                "{} is no security group's id; it looks like sg-0123456789abcdef0",
                quoted(source)
            )
        });
    }
    let Ok(network) = source.parse::<IpNet>() else {
        return Some(format!(
            "{} is neither a network nor a security group; expected one such as 10.1.2.0/24, 192.0.2.7/32, 2001:db8:1::/48 or sg-0123456789abcdef0",
            quoted(source)
        ));
    };
    if network.addr() != network.network() {
        return Some(format!(
            "{source} isn't the address of a network; write {}, or {}/{} for the one address",
            network.trunc(),
            network.addr(),
            network.max_prefix_len()
        ));
    }
    is_wider(&network, WIDEST).then(|| {
        format!(
            "{source} lets in so many that nothing is isolated; name the responders' own network, at most a /{} (IPv4) or /{} (IPv6)",
            WIDEST.0, WIDEST.1
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::parse;
    use super::*;

    fn told(section: &str) -> Vec<String> {
        let policy = parse(&format!("{{responders: [{section}]}}")).unwrap();
        let rules = rules(&policy.responders);
        rules.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_source_may_reach_each_of_its_ports() {
        assert_eq!(
            told(
                "{from: [10.1.2.0/24, sg-0a1b], ports: [22, '5985-5986']}, {from: '2001:DB8:1:0::/48'}"
            ),
            [
                "10.1.2.0/24 (tcp 22)",
                "10.1.2.0/24 (tcp 5985-5986)",
                "2001:db8:1::/48",
                "sg-0a1b (tcp 22)",
                "sg-0a1b (tcp 5985-5986)",
            ]
        );
    }

    #[test]
    fn what_makes_no_isolation_and_what_is_no_source_is_refused() {
        for (responder, expected) in [
            ("{from: 0.0.0.0/0}", "nothing is isolated"),
            ("{from: '::/0'}", "nothing is isolated"),
            ("{from: [0.0.0.0/1, 128.0.0.0/1]}", "nothing is isolated"),
            ("{from: 10.1.2.3/24}", "write 10.1.2.0/24, or 10.1.2.3/32"),
            ("{from: 10.1.2.3}", "neither a network nor"),
            ("{from: web}", "neither a network nor"),
            ("{from: sg-web}", "no security group's id"),
            ("{ports: [22]}", "from"),
            ("{from: 10.0.0.0/8, ports: [0]}", "0 is no port"),
            ("{from: 10.0.0.0/8, ports: [70000]}", "expected a TCP port"),
            ("{from: 10.0.0.0/8, ports: ['9-8']}", "no range of ports"),
            (
                "{from: [10.1.0.0/16, 10.2.0.0/16], ports: [1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31]}",
                "come to 62 rules",
            ),
        ] {
            let section = format!("{{responders: [{responder}]}}");
            let problem = parse(&section).unwrap_err().to_string();
            assert!(problem.contains(expected), "{responder}: {problem}");
        }
    }
}
