mod reports;
mod sessions;

use std::collections::BTreeMap;

use super::*;
use crate::evaluate::evaluate;
use crate::facts::identity::{CHANNELS, Identity, NEEDED, Permissions};
use crate::facts::network::{
    Acl, Dns, Endpoint, EndpointInterface, Entry, Hop, Nat, Network, Route, Rule, SecurityGroup,
    Service, Table, Vpc,
};
use crate::facts::{Console, Evidence, Facts, Instance, Read};
use crate::fixtures::{
    OURS, TRUST, at, default_policy, denied, facts, in_doubt, listed, now, policy, role, role_with,
    throttled, trusted_by, with_profile,
};
use crate::policy::Policy;
use guardrails::ec2::State;

const CORE: &str = "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore";

fn rule(networks: &[&str], groups: &[&str]) -> Rule {
    Rule {
        protocol: "tcp".to_owned(),
        from: Some(443),
        to: Some(443),
        networks: networks.iter().map(|text| text.parse().unwrap()).collect(),
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        ..Rule::default()
    }
}

fn route(destination: &str, hop: Hop) -> Route {
    Route {
        destination: Some(destination.parse().unwrap()),
        prefix_list: None,
        hop,
        blackhole: false,
    }
}

fn other(id: &str) -> Hop {
    Hop::Other(id.to_owned())
}

fn internet() -> Hop {
    Hop::InternetGateway("igw-1".to_owned())
}

/// What the cases change.
impl Network {
    fn vpc(&mut self) -> &mut Vpc {
        self.vpcs.get_mut("vpc-1").unwrap()
    }

    fn dns(&mut self) -> &mut Dns {
        self.vpc().dns.as_mut().unwrap()
    }

    fn group(&mut self, id: &str) -> &mut SecurityGroup {
        self.groups.entry(id.to_owned()).or_default()
    }

    fn nat(&mut self) -> &mut Nat {
        self.nats.get_mut("nat-1").unwrap()
    }

    /// A route from the instance's subnet.
    fn to(&mut self, destination: &str, hop: Hop) {
        self.tables[0].routes.push(route(destination, hop));
    }

    /// One to a gateway endpoint for S3.
    fn gateway_endpoint(&mut self) {
        self.prefix_lists.insert("pl-s3".to_owned(), vec![]);
        self.tables[0].routes.push(Route {
            destination: None,
            prefix_list: Some("pl-s3".to_owned()),
            ..route("0.0.0.0/0", other("vpce-s3"))
        });
    }

    fn without(&mut self, service: Service) {
        self.endpoints.retain(|one| one.service != service);
    }

    /// IPv6 open in the security group, and in an ACL.
    fn open_to_v6(&mut self, acl: usize) {
        self.group("sg-app").egress.push(rule(&["::/0"], &[]));
        for index in 0..2 {
            let v6 = Entry {
                number: 101,
                network: "::/0".parse().unwrap(),
                ..self.acls[acl].entries[index].clone()
            };
            self.acls[acl].entries.push(v6);
        }
    }
}

fn for_https(entry: &mut Entry) {
    (entry.protocol, entry.ports) = ("6".to_owned(), Some((443, 443)));
}

fn network(facts: &mut Facts) -> &mut Network {
    facts.network.as_mut().unwrap().as_mut().unwrap()
}

fn first(facts: &mut Facts) -> &mut Instance {
    facts.instances.get_mut("i-1").unwrap()
}

fn evidence(facts: &mut Facts) -> &mut Evidence {
    facts.evidence.get_mut("i-1").unwrap()
}

fn checks(facts: &mut Facts, system: &str, instance: &str) {
    evidence(facts).checks = Some(Ok((system.to_owned(), instance.to_owned())));
}

fn image(facts: &mut Facts, name: &str) {
    evidence(facts).image_name = Some(Ok(name.to_owned()));
}

fn wrote(facts: &mut Facts, text: &str) {
    evidence(facts).console = said(text);
}

fn identity(facts: &mut Facts, identity: Identity) {
    facts.identities.insert(OURS.to_owned(), Ok(identity));
}

fn open_acl(id: &str, subnet: &str) -> Acl {
    let entry = |egress| Entry {
        number: 100,
        egress,
        allow: true,
        protocol: "-1".to_owned(),
        ports: None,
        network: "0.0.0.0/0".parse().unwrap(),
    };
    Acl {
        id: id.to_owned(),
        subnets: vec![subnet.to_owned()],
        entries: vec![entry(true), entry(false)],
    }
}

/// A VPC with the instance's subnet a, an endpoints' subnet b and a public subnet p, and no way out.
fn closed() -> Network {
    let table = |id: &str, main, subnets: &[&str]| Table {
        id: id.to_owned(),
        vpc: "vpc-1".to_owned(),
        main,
        subnets: subnets.iter().map(|subnet| (*subnet).to_owned()).collect(),
        routes: vec![route("10.0.0.0/16", Hop::Local)],
    };
    let mut public = table("rtb-public", false, &["subnet-p"]);
    public.routes.push(route("0.0.0.0/0", internet()));
    let dns = Dns {
        support: true,
        hostnames: true,
    };
    let vpc = Vpc {
        dns: Ok(dns),
        shared_by: None,
        resolvers: Vec::new(),
        tags: Vec::new(),
    };
    let mut network = Network {
        vpcs: BTreeMap::from([("vpc-1".to_owned(), vpc)]),
        tables: vec![table("rtb-main", true, &[]), public],
        acls: ["a", "b", "p"]
            .map(|one| open_acl(&format!("acl-{one}"), &format!("subnet-{one}")))
            .to_vec(),
        ..Network::default()
    };
    network.group("sg-app").egress = vec![rule(&["0.0.0.0/0"], &[])];
    network.group("sg-endpoints").ingress = vec![rule(&["10.0.0.0/16"], &[])];
    network
}

fn behind_nat() -> Network {
    let mut network = closed();
    network.to("0.0.0.0/0", Hop::Nat("nat-1".to_owned()));
    let nat = Nat {
        state: "available".to_owned(),
        subnet: Some("subnet-p".to_owned()),
        table: None,
        public: true,
    };
    network.nats.insert("nat-1".to_owned(), nat);
    network
}

fn policy_for(principal: &str, action: &str) -> String {
    let allow = format!(r#""Action":"{action}","Effect":"Allow","Resource":"*""#);
    format!(r#"{{"Statement":[{{{allow},"Principal":{principal}}}]}}"#)
}

fn endpoint(service: Service) -> Endpoint {
    Endpoint {
        id: format!("vpce-{}", service.name()),
        vpc: "vpc-1".to_owned(),
        service,
        state: "available".to_owned(),
        private_dns: true,
        groups: vec!["sg-endpoints".to_owned()],
        policy: Some(policy_for(r#""*""#, "*")),
        interfaces: vec![EndpointInterface {
            id: "eni-b".to_owned(),
            subnet: "subnet-b".to_owned(),
            addresses: vec!["10.0.2.5".parse().unwrap()],
        }],
        subnets: ["subnet-b".to_owned()].into(),
    }
}

/// Incident 5 as it should be: three endpoints with private DNS and no way out.
fn with_endpoints() -> Network {
    Network {
        endpoints: Service::OF_NODES.map(endpoint).to_vec(),
        ..closed()
    }
}

/// Incident 5's first fault: heartbeats have a way, message channels have none.
pub(crate) fn only_ssm_endpoint() -> Network {
    Network {
        endpoints: vec![endpoint(Service::Ssm)],
        ..closed()
    }
}

/// One endpoint, and a way out for the rest.
fn only_ssm_and_nat() -> Network {
    Network {
        endpoints: vec![endpoint(Service::Ssm)],
        ..behind_nat()
    }
}

fn public() -> (Instance, Network) {
    let mut instance = with_profile("i-1", OURS);
    instance.interface.subnet = "subnet-p".to_owned();
    instance.interface.public = true;
    (instance, closed())
}

/// The causes in the network, as `certainty code resource`.
fn causes_of(instance: &Instance, network: &Network) -> Vec<String> {
    network::causes(instance, network)
        .iter()
        .map(|cause| format!("{:?} {} {}", cause.certainty, cause.code, cause.resource))
        .collect()
}

fn causes(network: &Network) -> Vec<String> {
    causes_of(&with_profile("i-1", OURS), network)
}

#[test]
fn healthy_networks_give_no_cause() {
    assert_eq!(causes(&behind_nat()), [""; 0], "behind NAT");
    assert_eq!(causes(&with_endpoints()), [""; 0], "with endpoints");
    let (instance, network) = public();
    assert_eq!(causes_of(&instance, &network), [""; 0], "public address");

    let mut network = with_endpoints();
    network.without(Service::OldMessages);
    let of_old_agents = causes(&network);
    assert!(all_in_doubt(&of_old_agents), "{of_old_agents:?}");
    let mut network = only_ssm_and_nat();
    assert_eq!(causes(&network), [""; 0], "the others go by NAT");
    network.endpoints[0].private_dns = false;
    network.endpoints[0].groups.clear();
    assert_eq!(
        causes(&network),
        [""; 0],
        "without private DNS it isn't used"
    );
}

fn all_in_doubt(causes: &[String]) -> bool {
    causes.iter().all(|cause| cause.starts_with("CannotTell"))
}

#[test]
fn endpoints_that_let_in_by_group_or_prefix_list_are_healthy() {
    let mut by_group = with_endpoints();
    by_group.group("sg-endpoints").ingress = vec![rule(&[], &["sg-app"])];
    by_group.group("sg-app").egress = vec![rule(&[], &["sg-endpoints"])];
    assert_eq!(causes(&by_group), [""; 0]);
    let mut by_list = with_endpoints();
    by_list.group("sg-endpoints").ingress = vec![for_list("pl-1")];
    let network = vec!["10.0.0.0/16".parse().unwrap()];
    by_list.prefix_lists.insert("pl-1".to_owned(), network);
    assert_eq!(causes(&by_list), [""; 0]);
}

fn for_list(list: &str) -> Rule {
    Rule {
        prefix_lists: vec![list.to_owned()],
        ..rule(&[], &[])
    }
}

/// What it is, a network, what is changed in it, and the causes that it must give.
type Case = (
    &'static str,
    fn() -> Network,
    fn(&mut Network),
    &'static [&'static str],
);

/// Each change to a healthy network, and the causes that it must give.
#[test]
fn each_network_fault_is_named_with_its_resource() {
    let table: &[Case] = &rows! {
        // Incident 5.
        "no route", closed, |_| {} => &["Likely no-route rtb-main"];
        "no ssmmessages endpoint", with_endpoints, |n| n.without(Service::Messages)
            => &["Likely endpoint-missing vpc-1/ssmmessages"];
        "private DNS off", with_endpoints, |n| n.endpoints[0].private_dns = false
            => &["CannotTell endpoint-private-dns-off vpce-ssm"];
        "endpoint security group closed", with_endpoints,
            |n| n.group("sg-endpoints").ingress = vec![rule(&["10.0.9.0/24"], &["sg-web"])]
            => &[
                "Likely endpoint-closed vpce-ssm",
                "Likely endpoint-closed vpce-ssmmessages",
                "CannotTell endpoint-closed vpce-ec2messages",
            ];
        // Endpoints.
        "bad endpoint security group in spite of NAT", only_ssm_and_nat,
            |n| n.group("sg-endpoints").ingress.clear() => &["Likely endpoint-closed vpce-ssm"];
        "endpoint pending", with_endpoints, |n| n.endpoints[1].state = "pendingacceptance".to_owned()
            => &["Likely endpoint-not-available vpce-ssmmessages"];
        "endpoint without subnet", with_endpoints, |n| n.endpoints[1].interfaces.clear()
            => &["Likely endpoint-without-subnet vpce-ssmmessages"];
        "endpoint of another VPC", with_endpoints, |n| n.endpoints[1].vpc = "vpc-2".to_owned()
            => &["Likely endpoint-missing vpc-1/ssmmessages"];
        "endpoint policy for another service", with_endpoints,
            |n| n.endpoints[1].policy = Some(policy_for(r#""*""#, "s3:*"))
            => &["Likely endpoint-policy vpce-ssmmessages"];
        "endpoint policy for some principals", with_endpoints,
            |n| n.endpoints[1].policy = Some(policy_for(r#"{"AWS":"arn:aws:iam::1:root"}"#, "*"))
            => &["CannotTell endpoint-policy vpce-ssmmessages"];
        "DNS hostnames off", with_endpoints, |n| n.dns().hostnames = false
            => &["Likely vpc-dns-off vpc-1"];
        "DNS support off", with_endpoints, |n| n.dns().support = false
            => &["Likely vpc-dns-off vpc-1"];
        "endpoint behind a blackhole", with_endpoints,
            |n| {
                n.to("10.0.2.0/24", other("eni-9"));
                n.tables[0].routes[1].blackhole = true;
            }
            => &["Likely route-to-endpoint rtb-main"];
        // Security group.
        "no egress, endpoints", with_endpoints, |n| n.group("sg-app").egress.clear()
            => &["Definite egress-closed sg-app"];
        "no egress, NAT", behind_nat,
            |n| {
                let rule = &mut n.group("sg-app").egress[0];
                (rule.from, rule.to) = (Some(80), Some(80));
            }
            => &["Likely egress-closed sg-app"];
        "egress inside only, NAT", behind_nat,
            |n| n.group("sg-app").egress = vec![rule(&["10.0.0.0/8"], &[])]
            => &["CannotTell egress-closed sg-app"];
        "egress to some public addresses", behind_nat,
            |n| n.group("sg-app").egress = vec![rule(&["52.94.0.0/16"], &[])]
            => &["CannotTell egress-closed sg-app"];
        // Routes.
        "NAT gateway deleted", behind_nat, |n| n.tables[0].routes[1].blackhole = true
            => &["Likely route-blackhole rtb-main"];
        "NAT gateway failed", behind_nat, |n| n.nat().state = "failed".to_owned()
            => &["Likely nat-closed nat-1"];
        "NAT gateway in a private subnet", behind_nat,
            |n| n.nat().subnet = Some("subnet-b".to_owned()) => &["Likely nat-closed nat-1"];
        "private NAT gateway", behind_nat, |n| n.nat().public = false
            => &["CannotTell nat-closed nat-1"];
        "internet gateway without public address", closed, |n| n.to("0.0.0.0/0", internet())
            => &["Likely no-public-address rtb-main"];
        "transit gateway", closed, |n| n.to("0.0.0.0/0", other("tgw-1"))
            => &["CannotTell route-elsewhere rtb-main"];
        "peering", closed, |n| n.to("0.0.0.0/0", other("pcx-1"))
            => &["CannotTell route-elsewhere rtb-main"];
        "routes to some addresses", closed, |n| n.to("52.94.0.0/16", other("tgw-1"))
            => &["CannotTell no-route rtb-main"];
        "the subnet's own table has no route, the main one has", behind_nat,
            |n| {
                let mut own = closed().tables.remove(0);
                (own.id, own.main) = ("rtb-a".to_owned(), false);
                own.subnets.push("subnet-a".to_owned());
                n.tables.push(own);
            }
            => &["Likely no-route rtb-a"];
        "missing endpoint, transit gateway", with_endpoints,
            |n| {
                n.without(Service::Messages);
                n.to("0.0.0.0/0", other("tgw-1"));
            }
            => &["CannotTell endpoint-missing vpc-1/ssmmessages"];
        // ACLs.
        "ACL stops HTTPS out", behind_nat,
            |n| {
                let mut deny = n.acls[0].entries[0].clone();
                (deny.number, deny.allow) = (50, false);
                for_https(&mut deny);
                n.acls[0].entries.push(deny);
            }
            => &["Likely acl-closed acl-a"];
        "ACL stops answers", behind_nat, |n| for_https(&mut n.acls[0].entries[1])
            => &["Likely acl-closed acl-a"];
        "ACL of the endpoints' subnet", with_endpoints, |n| n.acls[1].entries.clear()
            => &["Likely acl-closed acl-b"];
        "ACL of the public subnet, of no matter here", with_endpoints,
            |n| n.acls[2].entries.clear() => &[];
    };
    each_gives_its_causes(table);
}

fn each_gives_its_causes(table: &[Case]) {
    for (what, healthy, change, expected) in table {
        let mut network = healthy();
        change(&mut network);
        assert_eq!(causes(&network), *expected, "{what}");
    }
}

#[test]
fn within_one_subnet_no_acl_stands_between() {
    let mut network = with_endpoints();
    for endpoint in &mut network.endpoints {
        endpoint.interfaces[0].subnet = "subnet-a".to_owned();
    }
    network.acls[0].entries.clear();
    assert_eq!(causes(&network), [""; 0]);
}

#[test]
fn one_endpoint_interface_that_can_be_reached_is_enough() {
    let mut network = with_endpoints();
    for endpoint in &mut network.endpoints {
        endpoint.interfaces.push(EndpointInterface {
            id: "eni-p".to_owned(),
            subnet: "subnet-p".to_owned(),
            addresses: vec!["10.0.3.5".parse().unwrap()],
        });
    }
    network.acls[1].entries.clear();
    assert_eq!(causes(&network), [""; 0]);
}

#[test]
fn ipv6_out_makes_a_closed_ipv4_uncertain() {
    let mut instance = with_profile("i-1", OURS);
    instance
        .interface
        .addresses
        .push("2600:1f18::10".parse().unwrap());
    let mut network = closed();
    assert_eq!(causes_of(&instance, &network), ["Likely no-route rtb-main"]);
    network.to("::/0", Hop::EgressOnly("eigw-1".to_owned()));
    network.open_to_v6(0);
    let in_doubt = ["CannotTell no-route rtb-main"];
    assert_eq!(causes_of(&instance, &network), in_doubt);
    instance.interface.addresses.remove(0);
    assert_eq!(causes_of(&instance, &network), ["CannotTell no-ipv4 i-1"]);
}

#[test]
fn a_group_that_could_not_be_read_may_allow_it() {
    let mut network = with_endpoints();
    network.groups.remove("sg-endpoints");
    assert!(all_in_doubt(&causes(&network)));
}

/// As for a person who asks for it.
fn diagnosis(facts: &Facts) -> Diagnosis {
    diagnosis_under(facts, &default_policy())
}

fn diagnosis_under(facts: &Facts, policy: &Policy) -> Diagnosis {
    let mut facts = facts.clone();
    facts.diagnose = true;
    let mut judged = evaluate(&facts, policy, now()).instances;
    judged.remove(0).diagnosis.unwrap()
}

fn codes(diagnosis: &Diagnosis) -> Vec<&'static str> {
    diagnosis.causes.iter().map(|cause| cause.code).collect()
}

/// An instance with a sound role behind NAT that isn't Online.
fn sound(instance: Instance) -> Facts {
    let facts = facts([instance]).role(OURS, role(&[]));
    let mut facts = facts.network(behind_nat());
    let unread = Evidence::default();
    facts.evidence.insert("i-1".to_owned(), unread);
    checks(&mut facts, "ok", "ok");
    wrote(&mut facts, "Amazon Linux 2023\nlogin:");
    let name = "al2023-ami-2023.9.20251117.1-kernel-6.1-x86_64";
    image(&mut facts, name);
    facts
}

/// One that has the stack's profile.
fn sound_one() -> Facts {
    sound(with_profile("i-1", OURS))
}

#[test]
fn where_all_looks_right_the_host_itself_is_named_unless_the_node_is_online() {
    assert_eq!(codes(&diagnosis(&sound_one())), ["agent"]);
    assert_eq!(codes(&diagnosis(&sound_one().online("i-1"))), [""; 0]);
}

#[test]
fn inside_the_retry_window_that_is_a_cause_unless_a_definite_one_is_known() {
    let mut facts = sound(with_profile("i-1", OURS).launched("11:50:00"));
    let found = diagnosis(&facts);
    assert_eq!(codes(&found), ["retry-window"]);
    assert!(found.causes[0].problem.contains("2026-11-21T12:25:00Z"));
    facts.network = Some(Ok(closed()));
    assert_eq!(codes(&diagnosis(&facts)), ["no-route", "retry-window"]);
    let facts = facts.role(OURS, role(&NEEDED));
    assert_eq!(codes(&diagnosis(&facts))[0], "role-lacks");
    assert!(!codes(&diagnosis(&facts)).contains(&"retry-window"));
}

#[test]
fn each_layer_names_its_fault() {
    type Change = fn(&mut Facts);
    let timeout =
        "x\n2026/11/21 11:50:00Z: amazon-ssm-agent: dial tcp 52.1.1.1:443: i/o timeout\nlogin:";
    let table: &[(&str, Change, &str)] = &rows! {
        "stopped", |f| first(f).state = State::Stopped => "not-running";
        "metadata off", |f| first(f).metadata = false => "metadata-off";
        "system check", |f| checks(f, "impaired", "ok") => "system-check";
        "instance check", |f| checks(f, "ok", "impaired") => "instance-check";
        "no profile", |f| first(f).profile = None => "no-profile";
        "profile gone", |f| identity(f, Identity::NoProfile) => "profile-gone";
        "no role", |f| identity(f, Identity::NoRole) => "profile-without-role";
        "not for EC2", |f| identity(f, of_another_service()) => "role-trust";
        "role lacks", |f| identity(f, role(&NEEDED)) => "role-lacks";
        "attached policies say enough", |f| identity(f, listed(&[CORE])) => "agent";
        "another's words", |f| wrote(f, "curl: dial tcp 52.1.1.1:443: i/o timeout") => "agent";
        "minimal image", |f| image(f, "al2023-ami-minimal-2023.9-x86_64") => "image-without-agent";
    };
    for (what, change, expected) in table {
        let mut facts = sound_one();
        change(&mut facts);
        assert_eq!(codes(&diagnosis(&facts)), [*expected], "{what}");
    }
    let mut facts = sound_one();
    wrote(&mut facts, timeout);
    assert_eq!(codes(&diagnosis(&facts)), ["agent-says"]);
}

/// A role that allows all, and that EC2 may not take.
fn of_another_service() -> Identity {
    trusted_by(&TRUST.replace("ec2.", "lambda."), &[])
}

#[test]
fn permissions_that_can_only_be_listed_are_no_proof() {
    let found = diagnosis(&sound_one().role(OURS, listed(&[])));
    assert_eq!(codes(&found)[0], "role-lacks");
    assert_eq!(found.causes[0].certainty, Certainty::CannotTell);
}

#[test]
fn the_surest_cause_goes_first_and_the_rest_keeps_its_order() {
    let mut facts = sound_one().network(closed());
    checks(&mut facts, "impaired", "impaired");
    let order = ["system-check", "instance-check", "no-route"];
    assert_eq!(codes(&diagnosis(&facts)), order);
}

#[test]
fn what_could_not_be_read_is_said_and_hides_nothing() {
    let mut facts = sound_one().role(OURS, role(&NEEDED));
    facts.network = Some(Err(denied("ec2:DescribeVpcEndpoints")));
    let found = diagnosis(&facts);
    assert_eq!(codes(&found), ["role-lacks", "not-read"]);
    assert!(!found.complete);
    assert!(found.causes[1].problem.contains("ec2:DescribeVpcEndpoints"));
}

#[test]
fn the_fingerprint_leaves_out_the_console_that_is_not_always_read() {
    let mut facts = sound_one();
    let unread = diagnosis(&facts);
    wrote(
        &mut facts,
        "2026/11/21 11:50:00Z: SSM Agent unable to acquire credentials",
    );
    let found = diagnosis(&facts);
    assert_eq!(found.primary().unwrap().code, agent::CONSOLE);
    assert_eq!(unread.primary().unwrap().code, agent::INSIDE);
    assert_eq!([found.fingerprint(), unread.fingerprint()], ["unknown"; 2]);
}

/// A console last written to a minute ago.
#[expect(clippy::unnecessary_wraps, reason = "the evidence's own type")]
fn said(text: &str) -> Option<Read<Console>> {
    Some(Ok(Console {
        text: text.to_owned(),
        updated: Some(at("11:59:00")),
    }))
}

/// What the agent's words come to, on an instance that started at eight and got its profile at
/// `attached`; late at noon, unless it got the profile after 11:25.
fn words(text: &str, updated: &str, attached: &str) -> Vec<String> {
    let mut facts = sound_one().attached("i-1", attached);
    evidence(&mut facts).console = Some(Ok(Console {
        text: text.to_owned(),
        updated: Some(at(updated)),
    }));
    diagnosis(&facts)
        .causes
        .iter()
        .map(|cause| match cause.code {
            agent::CONSOLE => {
                let (said, _) = cause.problem.split_once(": \"").unwrap();
                said.rsplit_once(", that ").unwrap().1.to_owned()
            }
            code => code.to_owned(),
        })
        .collect()
}

/// The agent's messages all begin alike: what it failed at is what counts.
#[test]
fn the_agents_network_errors_are_no_missing_credentials() {
    let begin = "2026/11/21 11:58:00Z: SSM Agent unable to acquire credentials: <error>unexpected error getting instance profile role credentials or calling UpdateInstanceInformation. Skipping default host management fallback: retrieved credentials failed to report to ssm. Error: RequestError: send request failed\n\ncaused by: Post \"https://ssm.eu-central-1.amazonaws.com/\": ";
    let no_answer = "its connections get no answer";
    let no_name = "it can't resolve the service's name";
    for (error, meaning) in rows! {
        "dial tcp 10.0.2.5:443: i/o timeout" => no_answer;
        "context deadline exceeded" => no_answer;
        "dial tcp: connect: network is unreachable" => no_answer;
        "net/http: TLS handshake timeout" => no_answer;
        "dial tcp: lookup ssm.eu-central-1.amazonaws.com: no such host" => no_name;
        "dial tcp: lookup ssm.eu-central-1.amazonaws.com on 10.0.0.2:53: read udp: i/o timeout" => no_name;
        "InvalidSignatureException: Signature expired: 20261121T115800Z is now earlier than 20261121T120300Z"
            => "the host's clock is wrong, so AWS refuses its signatures";
        "dial tcp 10.0.2.5:443: connect: connection refused" => "its connections are refused";
        "x509: certificate signed by unknown authority" => "it doesn't trust the service's certificate";
        "AccessDeniedException: User: x is not authorized" => "its role isn't allowed";
        "dial tcp 169.254.169.254:80: i/o timeout" => "it can't reach the metadata service";
        "AccessDeniedException: Systems Manager's instance management role is not configured for account: 1"
            => "it got no credentials";
        "EC2RoleRequestError: no EC2 instance role found" => "it got no credentials";
    } {
        let text = format!("login:\n{begin}{error}</error>\nlogin: no such host");
        assert_eq!(words(&text, "11:59:00", "09:00:00"), [meaning], "{error}");
    }
}

/// SSM-1: inside its window the agent sleeps for what its words say, so these are no news.
#[test]
fn words_from_before_the_profile_or_inside_the_window_do_not_count() {
    let credentials = "SSM Agent unable to acquire credentials: <error>no role</error>";
    let network = "SSM Agent unable to acquire credentials: <error>i/o timeout</error>";
    let timed = |time: &str, text: &str| format!("2026/11/21 {time}Z: {text}");
    let no_answer = "its connections get no answer";
    let window = "retry-window";
    for (what, text, updated, attached, expected) in rows! {
        "before the profile, in the window", timed("11:30:00", credentials), "11:59:00", "11:40:00"
            => &[window][..];
        "after the profile, in the window", timed("11:50:00", credentials), "11:59:00", "11:40:00"
            => &[window];
        "another complaint before the profile", timed("11:30:00", network), "11:59:00", "11:40:00"
            => &[window];
        "another complaint since the profile", timed("11:50:00", network), "11:59:00", "11:40:00"
            => &[no_answer, window];
        "late, and from before the profile", timed("08:30:00", network), "11:59:00", "09:00:00"
            => &["agent"];
        "late, and from before the last start", timed("07:30:00", network), "11:59:00", "07:00:00"
            => &["agent"];
        "without a time, on a console older than the profile", network.to_owned(), "11:30:00", "11:40:00"
            => &[window];
        "without a time, on a newer console", network.to_owned(), "11:50:00", "11:40:00"
            => &[window, no_answer];
        "late", timed("11:50:00", credentials).replace('/', "-"), "11:59:00", "09:00:00"
            => &["it got no credentials"];
    } {
        assert_eq!(words(&text, updated, attached), expected, "{what}");
    }
}

#[test]
fn words_from_before_the_last_ping_do_not_count() {
    for (said_at, expected) in [
        ("11:40:00", &["retry-window"][..]),
        ("11:58:00", &["agent-says", "retry-window"]),
    ] {
        let mut facts = sound_one().lost("i-1", "11:55:00");
        let text = format!("2026-11-21 {said_at} amazon-ssm-agent: i/o timeout");
        wrote(&mut facts, &text);
        assert_eq!(codes(&diagnosis(&facts)), expected, "{said_at}");
    }
}

#[test]
fn only_the_message_itself_is_read() {
    // The next program's words, and the agent's own from before, are another matter.
    let text = "2026/11/21 11:50:00Z: amazon-ssm-agent: no such host\n2026/11/21 11:51:00Z: SSM Agent unable to acquire credentials: none\ncurl: i/o timeout";
    let meaning = "it got no credentials";
    assert_eq!(words(text, "11:59:00", "09:00:00"), [meaning]);
    // A message that never ends takes ten lines at most.
    let lines = "x\n".repeat(10);
    let text = format!("SSM Agent unable to acquire credentials: <error>\n{lines}i/o timeout");
    assert_eq!(words(&text, "11:59:00", "09:00:00"), [meaning, "agent"]);
}

/// Changes after which an Online node is asked for, and those after which it isn't.
#[test]
fn an_online_node_is_asked_for_where_the_way_to_ssmmessages_looks_closed() {
    fn other_group(n: &mut Network) {
        n.endpoints[1].groups = vec!["sg-messages".to_owned()];
        n.group("sg-messages");
    }
    const MISSING: &str = "endpoint-missing vpc-1/ssmmessages";
    const NOT_AVAILABLE: &str = "endpoint-not-available vpce-ssmmessages";
    let table: &[Case] = &rows! {
        "healthy", with_endpoints, |_| {} => &[];
        "missing", only_ssm_endpoint, |_| {} => &[MISSING];
        "only that for old agents besides", with_endpoints, |n| n.without(Service::Messages)
            => &[MISSING];
        "missing, behind NAT", only_ssm_and_nat, |_| {} => &[];
        "missing, behind a transit gateway", only_ssm_endpoint, |n| n.to("0.0.0.0/0", other("tgw-1"))
            => &[];
        "missing, in another VPC", only_ssm_endpoint, |n| n.endpoints[0].vpc = "vpc-2".to_owned()
            => &[];
        "private DNS off", with_endpoints, |n| n.endpoints[1].private_dns = false => &[];
        "closed by its own security group", with_endpoints, other_group
            => &["endpoint-closed vpce-ssmmessages"];
        "its security group couldn't be read", with_endpoints,
            |n| {
                other_group(n);
                n.groups.remove("sg-messages");
            }
            => &[];
        "being made", with_endpoints, |n| n.endpoints[1].state = "pending".to_owned()
            => &[NOT_AVAILABLE];
        "rejected", with_endpoints, |n| n.endpoints[1].state = "rejected".to_owned()
            => &[NOT_AVAILABLE];
        "policy for another service", with_endpoints,
            |n| n.endpoints[1].policy = Some(policy_for(r#""*""#, "s3:*"))
            => &["endpoint-policy vpce-ssmmessages"];
        "in another subnet, which an ACL closes", with_endpoints,
            |n| {
                n.endpoints[1].subnets = ["subnet-p".to_owned()].into();
                n.endpoints[1].interfaces[0].subnet = "subnet-p".to_owned();
                n.acls[2].entries.clear();
            }
            => &["acl-closed acl-p"];
        // The heartbeats come through, so this is seen wrongly.
        "both closed", with_endpoints,
            |n| {
                other_group(n);
                n.group("sg-endpoints").ingress.clear();
            }
            => &[];
    };
    for (what, healthy, change, expected) in table {
        let mut network = healthy();
        change(&mut network);
        let uneven = network::uneven(&network.endpoints).contains("vpc-1");
        let found = network::to_service(Service::Messages, &with_profile("i-1", OURS), &network)
            .into_iter()
            .find(|cause| uneven && cause.certainty != Certainty::CannotTell);
        let found: Vec<String> = found.iter().map(Cause::fingerprint).collect();
        assert_eq!(found, *expected, "{what}");
    }
}

#[test]
fn what_couldnt_be_read_of_image_and_prefix_lists_is_told() {
    let mut facts = sound_one();
    evidence(&mut facts).image_name = Some(Err(denied("ec2:DescribeImages")));
    let found = diagnosis(&facts);
    assert_eq!(codes(&found), ["agent", "not-read"]);
    assert!(!found.complete);
    assert!(found.causes[1].problem.contains("ec2:DescribeImages"));

    let list = "ec2:GetManagedPrefixListEntries";
    for (error, incomplete) in [(denied(list), false), (throttled(list), true)] {
        let mut facts = sound_one();
        let lists = &mut network(&mut facts).unread_lists;
        lists.insert("pl-other".to_owned(), error);
        assert_eq!(codes(&diagnosis(&facts)), ["agent"], "nothing rests on it");
        network(&mut facts).group("sg-app").egress = vec![for_list("pl-other")];
        let found = diagnosis(&facts);
        assert_eq!(found.causes[0].certainty, Certainty::CannotTell);
        assert_eq!(codes(&found)[..1], ["egress-closed"]);
        let unread = found.causes.last().unwrap();
        assert_eq!(unread.fingerprint(), "not-read pl-other");
        assert!(unread.problem.contains(list), "{}", unread.problem);
        assert_eq!((!found.complete, found.passing), (incomplete, incomplete));
    }
}

/// What lies behind a transit gateway isn't seen: the host isn't blamed before that was looked at.
#[test]
fn what_is_in_doubt_goes_before_the_host() {
    let mut facts = sound_one().network(closed());
    network(&mut facts).to("0.0.0.0/0", other("tgw-1"));
    let found = diagnosis(&facts);
    assert_eq!(codes(&found), ["route-elsewhere", "agent"]);
    assert_eq!(found.causes[1].certainty, Certainty::CannotTell);
    // What only old agents need leaves no doubt.
    let mut facts = facts.network(with_endpoints());
    network(&mut facts).without(Service::OldMessages);
    assert_eq!(codes(&diagnosis(&facts)), ["agent", "endpoint-missing"]);
}

/// One that lets nothing in or out, with an endpoint of the family that it has.
fn nat64() -> (Instance, Network) {
    let mut instance = with_profile("i-1", OURS);
    instance.interface.addresses = vec!["2600:1f18::10".parse().unwrap()];
    let mut network = behind_nat();
    network.to("64:ff9b::/96", Hop::Nat("nat-1".to_owned()));
    (instance, network)
}

/// Each kind of network that was taken for a fault, beside the fault that looks like it.
#[test]
fn what_cannot_be_seen_is_not_taken_for_what_is_not_there() {
    fn regional(n: &mut Network, table: &str) {
        (n.nat().subnet, n.nat().table) = (None, Some(table.to_owned()));
    }
    fn own_resolver(n: &mut Network) {
        n.vpc().resolvers = vec!["10.0.0.53".to_owned()];
    }
    fn unreadable(n: &mut Network) {
        n.vpc().dns = Err(denied("ec2:DescribeVpcAttribute"));
    }
    let table: &[Case] = &rows! {
        // Private ways out.
        "central endpoints behind a transit gateway", closed, |n| n.to("10.2.0.0/16", other("tgw-1"))
            => &["CannotTell no-route rtb-main"];
        "central endpoints behind a peering, one endpoint here", only_ssm_endpoint,
            |n| n.to("10.2.0.0/16", other("pcx-1"))
            => &[
                "CannotTell endpoint-missing vpc-1/ssmmessages",
                "CannotTell endpoint-missing vpc-1/ec2messages",
            ];
        "a gateway endpoint for S3 is no way to them", closed, Network::gateway_endpoint
            => &["Likely no-route rtb-main"];
        "a peering that is gone", closed,
            |n| {
                n.to("10.2.0.0/16", other("pcx-1"));
                n.tables[0].routes[1].blackhole = true;
            }
            => &["Likely no-route rtb-main"];
        "out to a proxy's group only", behind_nat,
            |n| n.group("sg-app").egress = vec![rule(&[], &["sg-proxy"])]
            => &["CannotTell egress-closed sg-app"];
        "an ACL that is open to private networks only", behind_nat,
            |n| {
                for entry in &mut n.acls[0].entries {
                    entry.network = "10.0.0.0/8".parse().unwrap();
                }
            }
            => &["CannotTell acl-closed acl-a"];
        "an ACL without rules", behind_nat, |n| n.acls[0].entries.clear()
            => &["Likely acl-closed acl-a"];
        // Regional NAT gateways.
        "regional", behind_nat, |n| regional(n, "rtb-public") => &[];
        "regional, and its table leads nowhere", behind_nat,
            |n| {
                regional(n, "rtb-public");
                n.tables[1].routes.truncate(1);
            }
            => &["Likely nat-closed nat-1"];
        "regional, its table unseen", behind_nat, |n| regional(n, "rtb-0") => &[];
        // The ACL of the NAT gateway's subnet.
        "closed around the NAT gateway", behind_nat, |n| n.acls[2].entries.clear()
            => &["Likely acl-closed acl-p"];
        "no answers to the NAT gateway", behind_nat,
            |n| for_https(&mut n.acls[2].entries[1]) => &["Likely acl-closed acl-p"];
        // Shared VPCs.
        "shared", closed,
            |n| {
                n.vpc().shared_by = Some("222233334444".to_owned());
                unreadable(n);
            }
            => &["CannotTell vpc-shared vpc-1"];
        "unreadable for another reason", closed, unreadable => &["CannotTell network-unknown i-1"];
        // Names.
        "own DNS servers, endpoints only", with_endpoints, own_resolver
            => &["CannotTell own-resolver vpc-1"];
        "own DNS servers, DNS support off", behind_nat,
            |n| {
                own_resolver(n);
                n.dns().support = false;
            }
            => &[];
        "DNS support off", behind_nat, |n| n.dns().support = false => &["Likely vpc-dns-off vpc-1"];
        "private DNS off, perhaps a zone", with_endpoints, |n| n.endpoints[1].private_dns = false
            => &["CannotTell endpoint-private-dns-off vpce-ssmmessages"];
    };
    each_gives_its_causes(table);
}

#[test]
fn who_has_ipv6_only_gets_out_by_nat64_or_by_endpoints_that_have_it_too() {
    let (instance, network) = nat64();
    assert_eq!(causes_of(&instance, &network), [""; 0]);
    let mut failed = network.clone();
    failed.nat().state = "failed".to_owned();
    assert_eq!(causes_of(&instance, &failed), ["Likely nat-closed nat-1"]);
    let mut none = network;
    none.tables[0].routes.pop();
    assert_eq!(causes_of(&instance, &none), ["Likely no-ipv4 i-1"]);

    let only_v4 =
        ["ssm", "ssmmessages"].map(|name| format!("Likely endpoint-not-dualstack vpce-{name}"));
    let mut endpoints = with_endpoints();
    endpoints.endpoints.truncate(2);
    assert_eq!(causes_of(&instance, &endpoints)[..2], only_v4);
    for endpoint in &mut endpoints.endpoints {
        let own = "2600:1f18::5".parse().unwrap();
        endpoint.interfaces[0].addresses.push(own);
    }
    let found = causes_of(&instance, &endpoints);
    assert!(
        !found.iter().any(|cause| cause.contains("dualstack")),
        "{found:?}"
    );
}

/// Only what AWS itself refuses, or says isn't there, is definite: these, and no other but those of
/// sessions. For each the answer of AWS that it rests on.
#[test]
fn definite_is_only_what_aws_itself_says() {
    type Change = fn(&mut Facts);
    let table: &[(Change, &str)] = &rows! {
        |f| first(f).state = State::Stopped => "not-running by ec2:DescribeInstances";
        |f| first(f).metadata = false => "metadata-off by ec2:DescribeInstances";
        |f| first(f).profile = None => "no-profile by ec2:DescribeInstances, ssm:GetServiceSetting";
        |f| identity(f, Identity::NoProfile) => "profile-gone by iam:GetInstanceProfile";
        |f| identity(f, Identity::NoRole) => "profile-without-role by iam:GetInstanceProfile";
        |f| identity(f, of_another_service()) => "role-trust by iam:GetInstanceProfile";
        |f| identity(f, role(&NEEDED)) => "role-lacks by iam:SimulatePrincipalPolicy";
        |f| network(f).group("sg-app").egress.clear() => "egress-closed by ec2:DescribeSecurityGroups";
        |f| *f = f.clone().online("i-1").connected("i-1", false)
            => "not-connected by ssm:GetConnectionStatus";
    };
    for (change, expected) in table {
        let mut facts = sound_one();
        change(&mut facts);
        let found = diagnosis(&facts);
        let primary = found.primary().unwrap();
        assert_eq!(primary.certainty, Certainty::Definite, "{expected}");
        let told = format!("{} by {}", primary.code, primary.evidence);
        assert_eq!(told, *expected);
        assert_eq!(primary.at, Some(now()), "{expected}");
        // A session that can be opened disproves each of them.
        let proven = diagnosis(&facts.connected("i-1", true));
        assert_eq!(codes(&proven), [""; 0], "{expected}");
    }
}

/// Default Host Management carries a node whose profile gives the agent nothing (SSM-4).
#[test]
fn what_default_host_management_makes_up_for_is_not_definite() {
    for (identity, code) in [
        (Identity::NoProfile, "profile-gone"),
        (Identity::NoRole, "profile-without-role"),
        (of_another_service(), "role-trust"),
        (role(&NEEDED), "role-lacks"),
    ] {
        let off = sound_one().role(OURS, identity);
        let mut unread = off.clone();
        unread.dhmc = Err(denied("ssm:GetServiceSetting"));
        for (facts, certainty) in [
            (off.clone(), Certainty::Definite),
            (off.hosted(), Certainty::Likely),
            (unread, Certainty::Likely),
        ] {
            let causes = diagnosis(&facts).causes;
            let cause = causes.iter().find(|cause| cause.code == code);
            assert_eq!(cause.unwrap().certainty, certainty, "{code}");
        }
    }
    // A profile that may register keeps it out, so what else it lacks is lacking.
    let deaf = diagnosis(&sound_one().role(OURS, role(&CHANNELS)).hosted());
    assert_eq!(deaf.primary().unwrap().certainty, Certainty::Definite);
}

/// A node that is Online disproves all that would keep it away, whatever was inferred.
#[test]
fn nothing_that_would_keep_a_node_away_is_told_of_one_that_is_online() {
    let mut facts = sound(with_profile("i-1", OURS).without_metadata())
        .role(OURS, role(&NEEDED))
        .network(closed())
        .online("i-1");
    checks(&mut facts, "impaired", "impaired");
    assert_eq!(codes(&diagnosis(&facts)), [""; 0]);
}

/// Without a value for each condition the simulation's denial is none; and the organization's
/// policies and boundaries aren't simulated with theirs.
#[test]
fn a_denial_in_doubt_is_no_finding_that_anybody_acts_on() {
    let found = diagnosis(&sound_one().role(OURS, in_doubt()));
    assert_eq!(codes(&found), ["role-lacks", "agent"]);
    assert_eq!(found.causes[0].certainty, Certainty::CannotTell);
    assert!(found.causes[0].problem.contains("aws:PrincipalTag/team"));
    // What was simulated for another instance may hang on its ARN.
    let mut other = role(&NEEDED);
    if let Identity::Role(role) = &mut other {
        role.simulated_for = "i-2".to_owned();
    }
    let found = diagnosis(&sound_one().role(OURS, other));
    assert_eq!(found.causes[0].certainty, Certainty::Likely);
}

/// In `GovCloud`, China and the European Sovereign Cloud policies have other ARNs, and EC2 another name.
#[test]
fn partitions_have_their_own_arns() {
    let china = OURS.replace("arn:aws:", "arn:aws-cn:");
    let listed = |arn: &str| Permissions::Attached {
        policies: vec![arn.to_owned()],
    };
    let trust = TRUST.replace("amazonaws.com", "amazonaws.com.cn");
    let of = |permissions| {
        sound(with_profile("i-1", &china)).role(&china, role_with(&trust, permissions))
    };
    let own = listed("arn:aws-cn:iam::aws:policy/AmazonSSMManagedInstanceCore");
    assert_eq!(codes(&diagnosis(&of(own))), ["agent"]);
    let namesake = listed("arn:aws-cn:iam::1:policy/AmazonSSMManagedInstanceCore");
    let found = diagnosis(&of(namesake));
    assert_eq!(codes(&found), ["role-lacks", "agent"]);
    let fix = &found.causes[0].fix;
    assert!(
        fix.contains("arn:aws-cn:iam::aws:policy/AmazonSSM"),
        "{fix}"
    );
}

/// Said at a level at which nobody complains, or only listed as what goes by no proxy.
#[test]
fn what_the_agent_only_mentions_is_no_complaint() {
    let mentioned =
        "2026-11-21 11:50:00 INFO [amazon-ssm-agent] no_proxy: 169.254.169.254,localhost";
    let proxied = "2026/11/21 11:50:00Z: amazon-ssm-agent: proxy settings no_proxy=169.254.169.254";
    let complains = "2026-11-21 11:50:00 ERROR [amazon-ssm-agent] Get \"http://169.254.169.254/latest/\": dial tcp 169.254.169.254:80: i/o timeout";
    for (text, expected) in rows! {
        mentioned => "agent";
        proxied => "agent";
        complains => "it can't reach the metadata service";
    } {
        assert_eq!(words(text, "11:59:00", "09:00:00"), [expected], "{text}");
    }
}

#[test]
fn a_vpc_that_the_policy_calls_a_hubs_is_never_the_cause() {
    let mut facts = sound_one().network(closed());
    let tag = ("Network".to_owned(), "spoke".to_owned());
    network(&mut facts).vpc().tags.push(tag);
    for (section, code) in rows! {
        "{}" => "no-route";
        "{hub-vpcs: [vpc-2], hub-vpc-tag: {tag: Other}}" => "no-route";
        "{hub-vpcs: [vpc-1]}" => "agent";
        "{hub-vpc-tag: {tag: Network, values: [spoke]}}" => "agent";
    } {
        let found = diagnosis_under(&facts, &policy(section));
        assert_eq!(codes(&found), [code], "{section}");
    }
}

#[test]
fn an_old_agent_may_not_know_tokens() {
    let of = |version: &str, tokens| {
        let mut facts = sound_one().lost("i-1", "10:00:00");
        facts.nodes.get_mut("i-1").unwrap().agent = Some(version.to_owned());
        first(&mut facts).tokens = tokens;
        codes(&diagnosis(&facts)).contains(&"agent-too-old")
    };
    assert!(of("2.3.50.0", true));
    assert!(!of("2.3.50.0", false) && !of("3.3.40.0", true));
}

/// What `diagnose` says, as a set, for whoever reviews it; the documentation shows the same.
#[test]
fn the_documentation_shows_what_a_diagnosis_says() {
    type Change = fn(&mut Facts);
    let cases: [(&str, Change); 12] = rows! {
        "A role without the policy" => |f| identity(f, role(&NEEDED));
        "The same, Default Host Management on" => |f| *f = f.clone().role(OURS, role(&NEEDED)).hosted();
        "A role whose conditions can't be simulated" => |f| identity(f, in_doubt());
        "A profile that was deleted" => |f| identity(f, Identity::NoProfile);
        "Routes that stay in the VPC" => |f| *network(f) = closed();
        "Routes to a hub" => |f| {
            *network(f) = closed();
            network(f).to("10.2.0.0/16", other("tgw-1"));
        };
        "A missing endpoint" => |f| {
            *network(f) = with_endpoints();
            network(f).without(Service::Ssm);
        };
        "Private DNS off" => |f| {
            *network(f) = with_endpoints();
            network(f).endpoints[0].private_dns = false;
        };
        "A VPC of another account" => |f| network(f).vpc().shared_by = Some("222233334444".to_owned());
        "A wrong clock" => |f| {
            wrote(f, "2026/11/21 11:50:00Z: SSM Agent unable to acquire credentials: <error>InvalidSignatureException: Signature expired</error>");
        };
        "Registered by a hybrid activation" => |f| {
            f.hybrid = Ok([("10.0.1.10".to_owned(), "mi-1".to_owned())].into());
        };
        "Online, and no session can be opened" => |f| *f = f.clone().online("i-1").connected("i-1", false);
    };
    let shown: Vec<String> = cases
        .into_iter()
        .map(|(what, change)| {
            let mut facts = sound_one();
            change(&mut facts);
            let found = diagnosis(&facts);
            let primary = found.primary().unwrap();
            let certainty = serde_json::to_value(primary.certainty).unwrap();
            let certainty = certainty.as_str().unwrap();
            format!(
                "- **{what}** ({certainty}, by {}): {}\n",
                primary.evidence,
                found.why()
            )
        })
        .collect();
    let shown = shown.concat();
    let documentation = include_str!("../../../../docs/attach-ssm-role.md");
    assert!(
        documentation.contains(&shown),
        "docs/attach-ssm-role.md lacks:\n{shown}"
    );
}
