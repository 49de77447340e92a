//! Security groups, network ACLs and route tables, evaluated as AWS does.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::facts::network::{
    Acl, Endpoint, Entry, Hop, Network, Route, Rule, SecurityGroup, Service, Table,
};

/// The port that Systems Manager listens on.
pub(crate) const HTTPS: u16 = 443;

/// Where traffic goes to, or comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer<'a> {
    /// An interface in the VPC, with its addresses and security groups.
    Interface {
        addresses: &'a [IpAddr],
        groups: &'a [String],
    },
    /// A public address that isn't known, of this family.
    Public(Family),
}

/// IPv4 or IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
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
    pub(crate) fn everything(self) -> IpNet {
        match self {
            Self::V4 => IpNet::V4(Ipv4Net::default()),
            Self::V6 => IpNet::V6(Ipv6Net::default()),
        }
    }
}

/// How far a set of networks reaches a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    Yes,
    No,
    /// Some of where it may be.
    Perhaps,
}

impl Network {
    /// The route table of `subnet`: its own, or the VPC's main one.
    pub(crate) fn table_of(&self, vpc: &str, subnet: &str) -> Option<&Table> {
        let mut tables = self.tables.iter();
        let own = tables.find(|table| table.subnets.iter().any(|have| have == subnet));
        let mut tables = self.tables.iter();
        own.or_else(|| tables.find(|table| table.main && table.vpc == vpc))
    }

    pub(crate) fn endpoints_of<'a>(
        &'a self,
        vpc: &'a str,
        services: &'a [Service],
    ) -> impl Iterator<Item = &'a Endpoint> + Clone {
        self.endpoints
            .iter()
            .filter(move |endpoint| endpoint.vpc == vpc && services.contains(&endpoint.service))
    }

    pub(crate) fn acl_of(&self, subnet: &str) -> Option<&Acl> {
        self.acls
            .iter()
            .find(|acl| acl.subnets.iter().any(|have| have == subnet))
    }

    pub(crate) fn egress(&self, groups: &[String], peer: Peer<'_>) -> Reach {
        self.admitted(groups, peer, |group| &group.egress)
    }

    pub(crate) fn ingress(&self, groups: &[String], peer: Peer<'_>) -> Reach {
        self.admitted(groups, peer, |group| &group.ingress)
    }

    fn admitted(
        &self,
        groups: &[String],
        peer: Peer<'_>,
        rules: impl Fn(&SecurityGroup) -> &Vec<Rule>,
    ) -> Reach {
        let read = groups.iter().filter_map(|id| self.groups.get(id));
        // A group that couldn't be read (another account's, in a shared subnet) may allow it.
        let unread = groups.iter().any(|id| !self.groups.contains_key(id));
        admits(read.flat_map(rules), peer, &self.prefix_lists).or_perhaps(unread)
    }
}

impl Reach {
    /// What it is where part of what may allow it is `unread`.
    fn or_perhaps(self, unread: bool) -> Self {
        match self {
            Self::No if unread => Self::Perhaps,
            reach => reach,
        }
    }
}

impl Rule {
    /// Whether it lets any TCP through.
    pub(crate) fn is_tcp(&self) -> bool {
        matches!(self.protocol.as_str(), "-1" | "tcp" | "6")
    }

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
        let listed = self.prefix_lists.iter();
        let listed = listed.filter_map(|list| lists.get(list)).flatten();
        let mut networks = self.networks.iter().chain(listed);
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
                // Some networks, or a group: a proxy or endpoints elsewhere may be there.
                let some = self.groups.first().map(|_| Reach::Perhaps);
                networks
                    .filter(|network| family.holds(network))
                    .map(|network| match network.prefix_len() {
                        0 => Reach::Yes,
                        _ => Reach::Perhaps,
                    })
                    .chain(some)
                    .reduce(|best, reach| if best == Reach::Yes { best } else { reach })
                    .unwrap_or(Reach::No)
            }
        };
        let mut named = self.prefix_lists.iter();
        reach.or_perhaps(named.any(|list| !lists.contains_key(list)))
    }
}

/// Whether any of `rules` lets HTTPS through to or from `peer`: security groups only allow.
pub(crate) fn admits<'a>(
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

/// What a network ACL does with traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passage {
    /// Lets it through.
    Open,
    /// Stops it; the number of a rule that does, none for the last one, `*`.
    Closed(Option<i32>),
    /// Lets some of it through.
    Partly,
}

impl Acl {
    /// What happens to TCP on all of `ports` to (`egress`) or from `peer`.
    pub(crate) fn passage(&self, egress: bool, peer: Target, ports: (u16, u16)) -> Passage {
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
pub(crate) enum Target {
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
                family.holds(network),
            ),
        };
        match (all, some) {
            (true, _) => Reach::Yes,
            (false, true) => Reach::Perhaps,
            (false, false) => Reach::No,
        }
    }
}

impl Table {
    /// The route to `address`: the longest prefix wins, also when it is a blackhole.
    pub(crate) fn route_to(
        &self,
        address: IpAddr,
        lists: &BTreeMap<String, Vec<IpNet>>,
    ) -> Option<&Route> {
        let holding = self.routes.iter().filter_map(|route| {
            let networks = route.networks(lists);
            let holding = networks.filter(|network| network.contains(&address));
            Some((holding.map(IpNet::prefix_len).max()?, route))
        });
        // AWS lists none twice.
        let longest = holding.max_by_key(|(length, _)| *length);
        longest.map(|(_, route)| route)
    }

    /// The route to everything of `family`.
    pub(crate) fn default_route(
        &self,
        family: Family,
        lists: &BTreeMap<String, Vec<IpNet>>,
    ) -> Option<&Route> {
        self.routes
            .iter()
            .find(|route| route.networks(lists).any(|net| *net == family.everything()))
    }

    /// Routes that lead somewhere, but not everywhere: to another VPC, to a network on premises, to
    /// some public addresses.
    pub(crate) fn elsewhere(
        &self,
        lists: &BTreeMap<String, Vec<IpNet>>,
    ) -> impl Iterator<Item = &Route> {
        self.routes.iter().filter(move |route| {
            let list = route.prefix_list.as_ref();
            let unread = list.is_some_and(|list| !lists.contains_key(list));
            // Gateway endpoints (vpce-) for S3 and DynamoDB have prefix lists too; they lead to
            // those services only.
            let gateway_endpoint = list.is_some() && route.hop.id().starts_with("vpce-");
            let mut networks = route.networks(lists);
            let narrow = networks.any(|net| net.prefix_len() > 0 && !is_nat64(net));
            !gateway_endpoint && !route.blackhole && route.hop != Hop::Local && (unread || narrow)
        })
    }
}

/// What leads there goes to the same public addresses.
fn is_nat64(net: &IpNet) -> bool {
    matches!(net, IpNet::V6(net) if net.network().segments()[..2] == [0x64, 0xff9b])
}

impl Route {
    fn networks<'a>(
        &'a self,
        lists: &'a BTreeMap<String, Vec<IpNet>>,
    ) -> impl Iterator<Item = &'a IpNet> {
        let listed = self.prefix_list.as_ref().and_then(|list| lists.get(list));
        self.destination.iter().chain(listed.into_iter().flatten())
    }
}

#[cfg(test)]
mod tests;
