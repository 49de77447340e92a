//! What a security group lets in.

use std::fmt;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// All protocols and ports, as EC2 writes it.
const EVERYTHING: &str = "-1";

/// An inbound rule of a security group: one source, one protocol, one range of ports.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Rule {
    /// A network in its canonical form, a security group's id, or what else EC2 knows as a source.
    pub from: String,
    /// As EC2 writes it.
    pub protocol: String,
    /// From port, to port; none: all.
    pub ports: Option<(i32, i32)>,
}

impl Rule {
    /// A rule as EC2 has it.
    pub fn new(from: &str, protocol: &str, ports: Option<(i32, i32)>) -> Self {
        let network = from.parse::<IpNet>();
        Self {
            from: network.map_or_else(|_| from.to_owned(), |network| network.to_string()),
            protocol: protocol.to_owned(),
            ports: ports.filter(|_| protocol != EVERYTHING),
        }
    }

    /// Lets everything in from there.
    pub fn everything(from: &str) -> Self {
        Self::new(from, EVERYTHING, None)
    }

    /// The security group that it lets in.
    pub fn group(&self) -> Option<&str> {
        Some(self.from.as_str()).filter(|from| from.starts_with("sg-"))
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.from)?;
        match (self.protocol.as_str(), self.ports) {
            (EVERYTHING, _) => Ok(()),
            (protocol, None) => write!(f, " ({protocol})"),
            (protocol, Some((from, to))) if from == to => write!(f, " ({protocol} {from})"),
            (protocol, Some((from, to))) => write!(f, " ({protocol} {from}-{to})"),
        }
    }
}
