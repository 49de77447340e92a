use super::*;
use proptest::prelude::*;

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn rule(protocol: &str, ports: Option<(i32, i32)>, networks: &[&str]) -> Rule {
    Rule {
        protocol: protocol.to_owned(),
        from: ports.map(|(from, _)| from),
        to: ports.map(|(_, to)| to),
        networks: networks.iter().map(|text| net(text)).collect(),
        ..Rule::default()
    }
}

const NO_LISTS: BTreeMap<String, Vec<IpNet>> = BTreeMap::new();

#[test]
fn a_security_group_rule_reaches_by_protocol_port_and_network() {
    let addresses = [ip("10.0.1.10")];
    let peer = Peer::Interface {
        addresses: &addresses,
        groups: &[],
    };
    let https = |ports| rule("tcp", Some(ports), &["0.0.0.0/0"]);
    let all = |network| rule("-1", None, &[network]);
    for (what, rule, expected) in rows! {
        "everything", all("0.0.0.0/0") => Reach::Yes;
        "443", rule("tcp", Some((443, 443)), &["10.0.1.0/24"]) => Reach::Yes;
        "by number", rule("6", Some((1, 1000)), &["10.0.1.10/32"]) => Reach::Yes;
        "80", https((80, 80)) => Reach::No;
        "up to 442", https((1, 442)) => Reach::No;
        "from 444", https((444, 65535)) => Reach::No;
        "UDP", rule("udp", Some((443, 443)), &["0.0.0.0/0"]) => Reach::No;
        "ICMP", rule("icmp", Some((-1, -1)), &["0.0.0.0/0"]) => Reach::No;
        "next door", all("10.0.2.0/24") => Reach::No;
        "IPv6 only", all("::/0") => Reach::No;
        "nobody", rule("-1", None, &[]) => Reach::No;
    } {
        assert_eq!(admits([&rule], peer, &NO_LISTS), expected, "{what}");
    }
}

#[test]
fn a_security_group_rule_reaches_by_group_and_prefix_list() {
    let by_group = Rule {
        groups: vec!["sg-app".to_owned()],
        ..rule("tcp", Some((443, 443)), &[])
    };
    let by_list = Rule {
        prefix_lists: vec!["pl-1".to_owned()],
        ..rule("tcp", Some((443, 443)), &[])
    };
    let addresses = [ip("10.0.1.10")];
    let peer = |groups| Peer::Interface {
        addresses: &addresses,
        groups,
    };
    let (app, other) = (["sg-app".to_owned()], ["sg-db".to_owned()]);
    assert_eq!(admits([&by_group], peer(&app), &NO_LISTS), Reach::Yes);
    assert_eq!(admits([&by_group], peer(&other), &NO_LISTS), Reach::No);
    let list = |text| BTreeMap::from([("pl-1".to_owned(), vec![net(text)])]);
    assert_eq!(
        admits([&by_list], peer(&app), &list("10.0.0.0/16")),
        Reach::Yes
    );
    assert_eq!(
        admits([&by_list], peer(&app), &list("10.1.0.0/16")),
        Reach::No
    );
    assert_eq!(
        admits([&by_list], peer(&app), &NO_LISTS),
        Reach::Perhaps,
        "a list that wasn't read"
    );
}

#[test]
fn public_addresses_are_reached_by_everything_or_perhaps() {
    for (networks, family, expected) in rows! {
        &["0.0.0.0/0"][..], Family::V4 => Reach::Yes;
        &["0.0.0.0/0"], Family::V6 => Reach::No;
        &["::/0"], Family::V6 => Reach::Yes;
        &["10.0.0.0/8", "192.168.0.0/16"], Family::V4 => Reach::Perhaps;
        &["52.94.0.0/16"], Family::V4 => Reach::Perhaps;
        &["0.0.0.0/1", "128.0.0.0/1"], Family::V4 => Reach::Perhaps;
        &["fd00::/8"], Family::V6 => Reach::Perhaps;
    } {
        let rule = rule("tcp", Some((443, 443)), networks);
        assert_eq!(
            admits([&rule], Peer::Public(family), &NO_LISTS),
            expected,
            "{networks:?}"
        );
    }
}

fn entry(number: i32, allow: bool, ports: Option<(u16, u16)>, network: &str) -> Entry {
    Entry {
        number,
        egress: true,
        allow,
        protocol: if ports.is_some() { "6" } else { "-1" }.to_owned(),
        ports,
        network: net(network),
    }
}

fn acl(entries: Vec<Entry>) -> Acl {
    Acl {
        id: "acl-1".to_owned(),
        entries,
        ..Acl::default()
    }
}

#[test]
fn the_lowest_rule_that_matches_decides() {
    let https = Some((443, 443));
    let (all, elsewhere, inside) = ("0.0.0.0/0", "203.0.113.0/24", "10.0.0.0/16");
    let allow = |number, ports, network| entry(number, true, ports, network);
    let deny = |number, ports, network| entry(number, false, ports, network);
    for (what, entries, expected) in rows! {
        "default", vec![allow(100, None, all)] => Passage::Open;
        "empty", vec![] => Passage::Closed(None);
        "deny first", vec![allow(100, None, all), deny(90, https, all)] => Passage::Closed(Some(90));
        "deny later", vec![allow(100, None, all), deny(110, None, all)] => Passage::Open;
        "deny elsewhere", vec![deny(90, None, elsewhere), allow(100, None, all)] => Passage::Open;
        "allow elsewhere only", vec![allow(90, None, elsewhere)] => Passage::Partly;
        // To where there may be a proxy, or endpoints behind a transit gateway.
        "allow inside only", vec![allow(100, None, inside)] => Passage::Partly;
        "IPv6 rule for IPv4", vec![allow(100, None, "::/0")] => Passage::Closed(None);
    } {
        let found = acl(entries).passage(true, Target::Public(Family::V4), (443, 443));
        assert_eq!(found, expected, "{what}");
    }
    let within = acl(vec![allow(100, https, inside)]);
    let peer = Target::Address(ip("10.0.2.5"));
    assert_eq!(within.passage(true, peer, (443, 443)), Passage::Open);
    let (low, high) = (Some((1024, 40_000)), Some((40_001, 65_535)));
    for (what, entries, expected) in rows! {
        "answers by two rules", vec![allow(100, low, all), allow(110, high, all)] => Passage::Open;
        "answers in part", vec![allow(100, high, all)] => Passage::Partly;
        "no answers", vec![allow(100, https, all)] => Passage::Closed(None);
    } {
        let found = acl(entries).passage(true, Target::Public(Family::V4), (32_768, 60_999));
        assert_eq!(found, expected, "{what}");
    }
}

#[test]
fn other_protocols_and_directions_decide_nothing() {
    let mut udp = entry(90, false, Some((443, 443)), "0.0.0.0/0");
    udp.protocol = "17".to_owned();
    let mut inbound = entry(91, false, None, "0.0.0.0/0");
    inbound.egress = false;
    let acl = acl(vec![udp, inbound, entry(100, true, None, "0.0.0.0/0")]);
    let target = Target::Public(Family::V4);
    assert_eq!(acl.passage(true, target, (443, 443)), Passage::Open);
    assert_eq!(
        acl.passage(false, target, (443, 443)),
        Passage::Closed(Some(91))
    );
}

fn route(destination: &str, hop: Hop, blackhole: bool) -> Route {
    Route {
        destination: Some(net(destination)),
        prefix_list: None,
        hop,
        blackhole,
    }
}

fn table(routes: Vec<Route>) -> Table {
    Table {
        id: "rtb-1".to_owned(),
        routes,
        ..Table::default()
    }
}

#[test]
fn the_longest_prefix_wins_even_as_a_blackhole() {
    let nat = || Hop::Nat("nat-1".to_owned());
    let table = table(vec![
        route("0.0.0.0/0", nat(), false),
        route("10.0.0.0/16", Hop::Local, false),
        route("10.0.7.0/24", Hop::Other("eni-1".to_owned()), true),
        route("::/0", Hop::EgressOnly("eigw-1".to_owned()), false),
    ]);
    for (address, hop) in [
        ("10.0.1.1", "local"),
        ("10.0.7.1", "eni-1"),
        ("10.1.0.1", "nat-1"),
        ("52.94.1.1", "nat-1"),
        ("2600::1", "eigw-1"),
    ] {
        let route = table.route_to(ip(address), &NO_LISTS).unwrap();
        assert_eq!(route.hop.id(), hop, "{address}");
    }
    assert!(table.route_to(ip("10.0.7.1"), &NO_LISTS).unwrap().blackhole);
    let none = self::table(vec![route("10.0.0.0/16", Hop::Local, false)]);
    assert_eq!(none.route_to(ip("52.94.1.1"), &NO_LISTS), None);
}

#[test]
fn a_route_to_some_addresses_leads_elsewhere_and_a_gateway_endpoint_does_not() {
    let lists = BTreeMap::from([("pl-s3".to_owned(), vec![net("52.218.0.0/17")])]);
    let by_list = |hop: &str, list: &str| Route {
        destination: None,
        prefix_list: Some(list.to_owned()),
        hop: Hop::Other(hop.to_owned()),
        blackhole: false,
    };
    let half = route("0.0.0.0/1", Hop::Other("tgw-1".to_owned()), false);
    let private = route("10.9.0.0/16", Hop::Other("pcx-1".to_owned()), false);
    let gone = route("10.9.0.0/16", Hop::Other("pcx-1".to_owned()), true);
    let nat64 = route("64:ff9b::/96", Hop::Nat("nat-1".to_owned()), false);
    for (what, route, elsewhere) in rows! {
        "half of everything", half => true;
        "another VPC", private => true;
        "one that is gone", gone => false;
        "NAT64", nat64 => false;
        "S3 by a gateway endpoint", by_list("vpce-1", "pl-s3") => false;
        "a list by a transit gateway", by_list("tgw-1", "pl-s3") => true;
        "an unread list", by_list("tgw-1", "pl-x") => true;
    } {
        let table = table(vec![route]);
        let found = table.elsewhere(&lists).next().is_some();
        assert_eq!(found, elsewhere, "{what}");
    }
}

prop_compose! {
    fn any_entry()(
        number in 1_i32..200,
        allow in any::<bool>(),
        ports in prop::option::of((0_u16..70, 0_u16..70)),
        last in 0_u8..4,
        length in prop::sample::select(vec![0_u8, 24, 32]),
    ) -> Entry {
        let network = net(&format!("10.0.0.{last}/{length}")).trunc();
        Entry { ports: ports.map(|(a, b)| (a.min(b), a.max(b))), ..entry(number, allow, None, &network.to_string()) }
    }
}

proptest! {
    /// The evaluation of port ranges agrees with AWS's rule, applied to each port alone.
    #[test]
    fn ranges_agree_with_port_by_port(
        entries in prop::collection::vec(any_entry(), 0..8),
        from in 0_u16..60,
        length in 0_u16..10,
        last in 0_u8..4,
    ) {
        // Rule numbers are unique in AWS.
        let mut seen = std::collections::BTreeSet::new();
        let entries: Vec<Entry> = entries.into_iter().filter(|e| seen.insert(e.number)).collect();
        let address = ip(&format!("10.0.0.{last}"));
        let ports = (from, from + length);
        let alone = |port: u16| {
            let mut sorted: Vec<&Entry> = entries.iter().collect();
            sorted.sort_by_key(|e| e.number);
            sorted
                .iter()
                .find(|e| {
                    e.network.contains(&address)
                        && e.ports.is_none_or(|(a, b)| a <= port && port <= b)
                })
                .is_some_and(|e| e.allow)
        };
        let verdicts: Vec<bool> = (ports.0..=ports.1).map(alone).collect();
        let found = acl(entries.clone()).passage(true, Target::Address(address), ports);
        if verdicts.iter().all(|allowed| *allowed) {
            prop_assert_eq!(found, Passage::Open);
        } else if verdicts.iter().any(|allowed| *allowed) {
            prop_assert_eq!(found, Passage::Partly);
        } else {
            prop_assert!(matches!(found, Passage::Closed(_)), "{:?}", found);
        }
    }

    /// Whatever the order of the routes, the longest prefix that holds the address is found.
    #[test]
    fn the_longest_prefix_is_found_in_any_order(
        lengths in prop::collection::btree_set(0_u8..=32, 0..8).prop_map(|set| set.into_iter().collect::<Vec<_>>()).prop_shuffle(),
        address in any::<u32>(),
        elsewhere in any::<u32>(),
    ) {
        let address = std::net::Ipv4Addr::from(address);
        let mut routes: Vec<Route> = lengths
            .iter()
            .map(|length| {
                let network = Ipv4Net::new(address, *length).unwrap().trunc();
                route(&network.to_string(), Hop::Other(format!("{length}")), false)
            })
            .collect();
        let other = Ipv4Net::new(std::net::Ipv4Addr::from(elsewhere), 31).unwrap().trunc();
        if !other.contains(&address) {
            routes.push(route(&other.to_string(), Hop::Other("elsewhere".to_owned()), false));
        }
        let table = table(routes);
        let found = table.route_to(IpAddr::V4(address), &NO_LISTS).map(|route| route.hop.id().to_owned());
        prop_assert_eq!(found, lengths.iter().max().map(ToString::to_string));
    }
}
