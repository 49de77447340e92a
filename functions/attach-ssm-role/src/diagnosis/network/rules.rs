//! Security groups, network ACLs and route tables, evaluated as AWS does.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// The port that Systems Manager listens on.
pub const HTTPS: u16 = 443;

/// Where traffic goes to, or comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer<'a> {
    /// An interface in the VPC, with its addresses and security groups.
    Interface {
        /// Its addresses.
        addresses: &'a [IpAddr],
        /// Its security groups.
        groups: &'a [String],
    },
    /// A public address that isn't known, of this family.
    Public(Family),
}

/// IPv4 or IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    fn holds(self, net: &IpNet) -> bool {
        matches!(
            (self, net),
            (Self::V4, IpNet::V4(_)) | (Self::V6, IpNet::V6(_))
        )
    }

    /// Everything of this family.
    #[must_use]
    pub fn everything(self) -> IpNet {
        match self {
            Self::V4 => IpNet::V4(Ipv4Net::default()),
            Self::V6 => IpNet::V6(Ipv6Net::default()),
        }
    }
}

/// Networks that no public address lies in.
fn is_private(net: &IpNet) -> bool {
    let v4 = |a, b, length| {
        Ipv4Net::new(Ipv4Addr::new(a, b, 0, 0), length)
            .map(IpNet::V4)
            .ok()
    };
    let v6 = |first, length| {
        Ipv6Net::new(Ipv6Addr::new(first, 0, 0, 0, 0, 0, 0, 0), length)
            .map(IpNet::V6)
            .ok()
    };
    [
        v4(10, 0, 8),
        v4(172, 16, 12),
        v4(192, 168, 16),
        v4(100, 64, 10),
        v4(169, 254, 16),
        v4(127, 0, 8),
        v6(0xfc00, 7),
        v6(0xfe80, 10),
    ]
    .into_iter()
    .flatten()
    .any(|private| private.contains(net))
}

/// How far a set of networks reaches a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Certainly.
    Yes,
    /// Certainly not.
    No,
    /// Some of where it may be.
    Perhaps,
}

/// A security group's rules.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Group {
    /// Inbound.
    pub ingress: Vec<Rule>,
    /// Outbound.
    pub egress: Vec<Rule>,
}

/// A rule of a security group.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rule {
    /// `-1` for all, `tcp`, `6` …
    pub protocol: String,
    /// First port; none: all.
    pub from: Option<i32>,
    /// Last port; none: all.
    pub to: Option<i32>,
    /// Networks.
    pub networks: Vec<IpNet>,
    /// Security groups whose members it means.
    pub groups: Vec<String>,
    /// Prefix lists.
    pub prefix_lists: Vec<String>,
}

impl Rule {
    /// Whether it is about TCP 443.
    fn is_https(&self) -> bool {
        match self.protocol.as_str() {
            "-1" => true,
            "tcp" | "6" => {
                let port = i32::from(HTTPS);
                self.from.is_none_or(|from| from <= port) && self.to.is_none_or(|to| port <= to)
            }
            _ => false,
        }
    }

    fn reach(&self, peer: Peer<'_>, lists: &BTreeMap<String, Vec<IpNet>>) -> Reach {
        if !self.is_https() {
            return Reach::No;
        }
        let listed = || {
            self.prefix_lists
                .iter()
                .filter_map(|list| lists.get(list))
                .flatten()
        };
        let unread = self
            .prefix_lists
            .iter()
            .any(|list| !lists.contains_key(list));
        let mut networks = self.networks.iter().chain(listed());
        let reach = match peer {
            Peer::Interface { addresses, groups } => {
                let by_group = self.groups.iter().any(|group| groups.contains(group));
                let by_address = networks
                    .any(|network| addresses.iter().any(|address| network.contains(address)));
                if by_group || by_address {
                    Reach::Yes
                } else {
                    Reach::No
                }
            }
            Peer::Public(family) => {
                let (mut all, mut some) = (false, false);
                for network in networks.filter(|network| family.holds(network)) {
                    all |= network.prefix_len() == 0;
                    some |= !is_private(network);
                }
                match (all, some) {
                    (true, _) => Reach::Yes,
                    (false, true) => Reach::Perhaps,
                    (false, false) => Reach::No,
                }
            }
        };
        if reach == Reach::No && unread {
            Reach::Perhaps
        } else {
            reach
        }
    }
}

/// Whether any of `rules` lets HTTPS through to or from `peer`: security groups only allow.
#[must_use]
pub fn admits<'a>(
    rules: impl IntoIterator<Item = &'a Rule>,
    peer: Peer<'_>,
    lists: &BTreeMap<String, Vec<IpNet>>,
) -> Reach {
    let mut best = Reach::No;
    for rule in rules {
        match rule.reach(peer, lists) {
            Reach::Yes => return Reach::Yes,
            Reach::Perhaps => best = Reach::Perhaps,
            Reach::No => {}
        }
    }
    best
}

/// A network ACL.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Acl {
    /// `acl-…`
    pub id: String,
    /// The subnets that it is for.
    pub subnets: Vec<String>,
    /// Its rules, in any order.
    pub entries: Vec<Entry>,
}

/// A rule of a network ACL.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The lowest number that matches decides.
    pub number: i32,
    /// Whether it is for outbound traffic.
    pub egress: bool,
    /// Whether it allows.
    pub allow: bool,
    /// `-1` for all, `6` for TCP …
    pub protocol: String,
    /// First and last port; none: all.
    pub ports: Option<(u16, u16)>,
    /// The network.
    pub network: IpNet,
}

/// What a network ACL does with traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passage {
    /// Lets it through.
    Open,
    /// Stops it; the number of a rule that does, none for the last one, `*`.
    Closed(Option<i32>),
    /// Lets some of it through.
    Partly,
}

impl Acl {
    /// What happens to TCP on all of `ports` to (`egress`) or from `peer`.
    #[must_use]
    pub fn passage(&self, egress: bool, peer: Target, ports: (u16, u16)) -> Passage {
        let mut entries: Vec<&Entry> = self
            .entries
            .iter()
            .filter(|entry| entry.egress == egress)
            .filter(|entry| matches!(entry.protocol.as_str(), "-1" | "6" | "tcp"))
            .collect();
        entries.sort_by_key(|entry| entry.number);
        // Ports that no rule has decided yet.
        let mut open = vec![ports];
        let (mut allowed, mut perhaps, mut stopped) = (false, false, None);
        for entry in entries {
            let covers = peer.covered_by(&entry.network);
            if covers == Reach::No {
                continue;
            }
            let range = entry.ports.unwrap_or((0, u16::MAX));
            let (inside, outside) = split(&open, range);
            if inside.is_empty() {
                continue;
            }
            if covers == Reach::Perhaps {
                // A rule for part of where the peer may be decides nothing for sure.
                perhaps |= entry.allow;
                continue;
            }
            if entry.allow {
                allowed = true;
            } else {
                stopped.get_or_insert(Some(entry.number));
            }
            open = outside;
        }
        if !open.is_empty() {
            stopped.get_or_insert(None);
        }
        match (stopped, allowed || perhaps) {
            (None, _) => Passage::Open,
            (Some(rule), false) => Passage::Closed(rule),
            (Some(_), true) => Passage::Partly,
        }
    }
}

/// First and last port.
type Ports = (u16, u16);

/// The parts of `open` inside and outside `range`.
fn split(open: &[Ports], range: Ports) -> (Vec<Ports>, Vec<Ports>) {
    let (mut inside, mut outside) = (Vec::new(), Vec::new());
    for &(from, to) in open {
        let (low, high) = (from.max(range.0), to.min(range.1));
        if low > high {
            outside.push((from, to));
            continue;
        }
        inside.push((low, high));
        if from < low {
            outside.push((from, low - 1));
        }
        if high < to {
            outside.push((high + 1, to));
        }
    }
    (inside, outside)
}

/// An address for a network ACL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// This one.
    Address(IpAddr),
    /// A public one that isn't known.
    Public(Family),
}

impl Target {
    fn covered_by(self, network: &IpNet) -> Reach {
        let (all, some) = match self {
            Self::Address(address) => (network.contains(&address), false),
            Self::Public(family) => (
                family.holds(network) && network.prefix_len() == 0,
                family.holds(network) && !is_private(network),
            ),
        };
        match (all, some) {
            (true, _) => Reach::Yes,
            (false, true) => Reach::Perhaps,
            (false, false) => Reach::No,
        }
    }
}

/// A route table.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Table {
    /// `rtb-…`
    pub id: String,
    /// Its VPC.
    pub vpc: String,
    /// Whether it is for the subnets that have none of their own.
    pub main: bool,
    /// The subnets that it is for.
    pub subnets: Vec<String>,
    /// Its routes.
    pub routes: Vec<Route>,
}

/// A route.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// Where to; none: a prefix list.
    pub destination: Option<IpNet>,
    /// The prefix list.
    pub prefix_list: Option<String>,
    /// By which way.
    pub hop: Hop,
    /// Whether what it leads to is gone.
    pub blackhole: bool,
}

/// What a route leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hop {
    /// The VPC itself.
    Local,
    /// An internet gateway.
    InternetGateway(String),
    /// A NAT gateway.
    Nat(String),
    /// An egress-only internet gateway (IPv6).
    EgressOnly(String),
    /// Something behind which nobody sees from here: transit gateway, peering, appliance …
    Other(String),
}

impl Hop {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::Local => "local",
            Self::InternetGateway(id) | Self::Nat(id) | Self::EgressOnly(id) | Self::Other(id) => {
                id
            }
        }
    }
}

impl Table {
    /// The route to `address`: the longest prefix wins, also when it is a blackhole.
    #[must_use]
    pub fn route_to(
        &self,
        address: IpAddr,
        lists: &BTreeMap<String, Vec<IpNet>>,
    ) -> Option<&Route> {
        self.routes
            .iter()
            .filter_map(|route| {
                let longest = route
                    .networks(lists)
                    .filter(|network| network.contains(&address))
                    .map(IpNet::prefix_len)
                    .max()?;
                Some((longest, route))
            })
            // Of two alike the first stays: AWS lists none twice.
            .fold(
                None,
                |best: Option<(u8, &Route)>, (length, route)| match best {
                    Some((best_length, _)) if best_length >= length => best,
                    _ => Some((length, route)),
                },
            )
            .map(|(_, route)| route)
    }

    /// The route to everything of `family`.
    #[must_use]
    pub fn default_route(
        &self,
        family: Family,
        lists: &BTreeMap<String, Vec<IpNet>>,
    ) -> Option<&Route> {
        self.routes
            .iter()
            .find(|route| route.networks(lists).any(|net| *net == family.everything()))
    }

    /// Routes to some public addresses of `family`, but not all.
    pub fn partial_routes(
        &self,
        family: Family,
        lists: &BTreeMap<String, Vec<IpNet>>,
    ) -> impl Iterator<Item = &Route> {
        self.routes.iter().filter(move |route| {
            let unread = route
                .prefix_list
                .as_ref()
                .is_some_and(|list| !lists.contains_key(list));
            // Gateway endpoints (vpce-) for S3 and DynamoDB have prefix lists too; they lead to
            // those services only.
            let gateway_endpoint =
                route.prefix_list.is_some() && route.hop.id().starts_with("vpce-");
            !gateway_endpoint
                && !route.blackhole
                && route.hop != Hop::Local
                && (unread
                    || route
                        .networks(lists)
                        .any(|net| family.holds(net) && net.prefix_len() > 0 && !is_private(net)))
        })
    }
}

impl Route {
    fn networks<'a>(
        &'a self,
        lists: &'a BTreeMap<String, Vec<IpNet>>,
    ) -> impl Iterator<Item = &'a IpNet> {
        let listed = self
            .prefix_list
            .as_ref()
            .and_then(|list| lists.get(list))
            .into_iter()
            .flatten();
        self.destination.iter().chain(listed)
    }
}

#[cfg(test)]
mod tests;
