//! Public reports of nodes that didn't appear and of sessions that didn't open, each with what it was
//! found to be in the end: held against what a diagnosis says of the same facts.

use std::fmt::Write as _;

use super::sessions::{group, lenient, open, set, strict, told, unclear};
use super::*;
use crate::facts::sessions::{CHECK_BUCKET, DECRYPT, FIND_LOG_GROUP, Right, Sessions, WRITE_LOG};

/// A report.
struct Case {
    /// Where it stands.
    source: &'static str,
    /// What it was.
    was: &'static str,
    /// The codes that name that; none: it can't be seen from AWS's side. Of a set-up that works, by its
    /// report, the agent is stopped here.
    truth: &'static [&'static str],
    /// What AWS answers.
    facts: fn() -> Facts,
    /// The first cause.
    first: &'static str,
}

/// A sound instance that isn't Online, changed.
fn late(change: impl FnOnce(&mut Facts)) -> Facts {
    let mut facts = sound_one();
    change(&mut facts);
    facts
}

/// The same of one that wrote this on its console.
fn that_wrote(text: &str) -> Facts {
    late(|f| wrote(f, text))
}

fn of_image(name: &str) -> Facts {
    late(|f| image(f, name))
}

fn with_role(identity: Identity) -> Facts {
    sound_one().role(OURS, identity)
}

fn egress(facts: &mut Facts, rules: Vec<Rule>) {
    network(facts).group("sg-app").egress = rules;
}

/// A connected node, with these preferences changed.
fn session(from: Sessions, change: impl FnOnce(&mut Sessions)) -> Facts {
    let mut sessions = from;
    change(&mut sessions);
    open(sessions)
}

/// The endpoints of Systems Manager and these besides.
fn endpoints_and(services: &[Service]) -> Network {
    let mut network = with_endpoints();
    network
        .endpoints
        .extend(services.iter().map(|one| endpoint(*one)));
    network
}

const NOT_REGISTERED: [Case; 26] = [
    Case {
        source: "aws/amazon-ssm-agent#544",
        was: "no instance profile, and Default Host Management off",
        truth: &["no-profile"],
        facts: || {
            let mut facts = that_wrote(
                "Nov 21 11:43:16 ip-172-31-21-124 amazon-ssm-agent[2373]: 2026-11-21 11:43:14 WARN EC2RoleProvider Failed to connect to Systems Manager with instance profile role credentials. Err: retrieved credentials failed to report to ssm. Error: EC2RoleRequestError: no EC2 instance role found",
            );
            first(&mut facts).profile = None;
            facts
        },
        first: "Definite no-profile i-1",
    },
    Case {
        source: "aws-samples/aws-cloud9-bootstrapping-example#7",
        was: "the profile came after the boot, and the agent slept for 25 minutes",
        truth: &["retry-window"],
        facts: || {
            let young = with_profile("i-1", OURS).launched("11:40:00");
            let mut facts = sound(young).attached("i-1", "11:45:00");
            wrote(
                &mut facts,
                "Nov 21 11:41:08 ip-172-31-21-124 amazon-ssm-agent[2373]: 2026-11-21 11:41:08 ERROR EC2RoleProvider Failed to connect to Systems Manager with SSM role credentials. AccessDeniedException: Systems Manager's instance management role is not configured for account: 1",
            );
            facts
        },
        first: "Likely retry-window i-1",
    },
    Case {
        source: "aws/amazon-ssm-agent#543",
        was: "Default Host Management on, and an agent that kept trying a role without the right",
        truth: &["role-lacks"],
        facts: || {
            let mut facts = with_role(role(&NEEDED)).hosted();
            wrote(
                &mut facts,
                "2026-11-21 11:14:42 INFO [ssm-agent-worker] Entering SSM Agent hibernate - AccessDeniedException: User: arn:aws:sts::1:assumed-role/web-role/i-1 is not authorized to perform: ssm:UpdateInstanceInformation",
            );
            facts
        },
        first: "Likely role-lacks web-role",
    },
    Case {
        source: "aws/amazon-ssm-agent#109",
        was: "the wrong role",
        truth: &["role-lacks"],
        facts: || with_role(role(&NEEDED)),
        first: "Definite role-lacks web-role",
    },
    Case {
        source: "LBHackney-IT/Data-Platform#116",
        was: "the role trusted another service, and nothing was let out",
        truth: &["role-trust", "egress-closed"],
        facts: || {
            let mut facts = with_role(trusted_by(&TRUST.replace("ec2.", "rds."), &[]));
            egress(&mut facts, vec![]);
            facts
        },
        first: "Definite role-trust web-role",
    },
    Case {
        source: "openshift/installer#1322",
        was: "a boundary with conditions, which the simulator calls a denial",
        truth: &["agent"],
        facts: || with_role(in_doubt()),
        first: "CannotTell role-lacks web-role",
    },
    Case {
        source: "aws/aws-cli#10525",
        was: "a service control policy with conditions, likewise",
        truth: &["agent"],
        facts: || {
            let unclear = vec![
                "ssm:UpdateInstanceInformation (the organization's policies say no)".to_owned(),
            ];
            let missing = vec![];
            with_role(role_with(
                TRUST,
                Permissions::Simulated { missing, unclear },
            ))
        },
        first: "CannotTell role-lacks web-role",
    },
    Case {
        source: "cloudposse/terraform-aws-ec2-bastion-server#19",
        was: "Terraform had left the security group without any outbound rule",
        truth: &["egress-closed"],
        facts: || late(|f| egress(f, vec![])),
        first: "Definite egress-closed sg-app",
    },
    Case {
        source: "awsdocs/aws-systems-manager-user-guide#170",
        was: "the CDK's `allowAllOutbound: false`, a rule for ICMP to nobody",
        truth: &["egress-closed"],
        facts: || {
            let nobody = Rule {
                protocol: "icmp".to_owned(),
                from: Some(252),
                to: Some(86),
                ..rule(&["255.255.255.255/32"], &[])
            };
            late(|f| egress(f, vec![nobody]))
        },
        first: "Definite egress-closed sg-app",
    },
    Case {
        source: "aws/amazon-ssm-agent#55",
        was: "outbound to some of AWS's ranges only",
        truth: &["egress-closed"],
        facts: || late(|f| egress(f, vec![rule(&["52.94.0.0/16", "54.239.0.0/17"], &[])])),
        first: "CannotTell egress-closed sg-app",
    },
    Case {
        source: "stackoverflow.com/a/61340016",
        was: "the route to the NAT gateway was taken away",
        truth: &["no-route"],
        facts: || sound_one().network(closed()).lost("i-1", "09:00:00"),
        first: "Likely no-route rtb-main",
    },
    Case {
        source: "guri2o1667.work/entry/2020/05/01",
        was: "endpoints made for another subnet: private DNS leads all of the VPC there, their security group lets only that in",
        truth: &["endpoint-closed"],
        facts: || {
            late(|f| {
                *network(f) = Network {
                    endpoints: with_endpoints().endpoints,
                    ..behind_nat()
                };
                network(f).group("sg-endpoints").ingress = vec![rule(&["10.0.2.0/24"], &[])];
                wrote(
                    f,
                    "2026-11-21 11:07:00 INFO Entering SSM Agent hibernate - RequestError: send request failed\ncaused by: Post https://ssm.ap-northeast-1.amazonaws.com/: dial tcp 172.30.1.18:443: i/o timeout",
                );
            })
        },
        first: "Likely endpoint-closed vpce-ssm",
    },
    Case {
        source: "awsgrub.com/blog/centralized-vpc-endpoints-transit-gateway",
        was: "endpoints in a hub, by transit gateway and zone",
        truth: &["agent"],
        facts: || {
            late(|f| {
                *network(f) = closed();
                network(f).to("10.2.0.0/16", other("tgw-1"));
            })
        },
        first: "CannotTell no-route rtb-main",
    },
    Case {
        source: "blog.wkhoo.com/posts/cross-account-vpce-sharing",
        was: "private DNS off on purpose, and zones instead",
        truth: &["agent"],
        facts: || {
            late(|f| {
                *network(f) = with_endpoints();
                for endpoint in &mut network(f).endpoints {
                    endpoint.private_dns = false;
                }
            })
        },
        first: "CannotTell endpoint-private-dns-off vpce-ssm",
    },
    Case {
        source: "L9Labs/aws-ipv6-gaps#10",
        was: "IPv6 only, and out by NAT64",
        truth: &["agent"],
        facts: || {
            let (instance, network) = nat64();
            sound(instance).network(network)
        },
        first: "Likely agent i-1",
    },
    Case {
        source: "basti-app/basti#133",
        was: "dual-stack, with a public address for IPv6 only",
        truth: &["no-public-address"],
        facts: || {
            let (mut instance, mut network) = public();
            instance.interface.public = false;
            instance
                .interface
                .addresses
                .push("2600:1f18::10".parse().unwrap());
            network.tables[1].routes.push(route("::/0", internet()));
            network.open_to_v6(2);
            sound(instance).network(network)
        },
        first: "CannotTell no-public-address rtb-public",
    },
    Case {
        source: "PaloAltoNetworks/lab-aws-gwlb-vmseries#60",
        was: "a firewall on the way out that drops what it doesn't know",
        truth: &["agent-says", "route-elsewhere"],
        facts: || {
            late(|f| {
                *network(f) = closed();
                network(f).to("0.0.0.0/0", other("vpce-gwlb"));
                wrote(
                    f,
                    "2026/11/21 11:50:00Z: SSM Agent unable to acquire credentials: <error>Post \"https://ssm.us-east-1.amazonaws.com/\": dial tcp 13.217.78.180:443: i/o timeout</error>",
                );
            })
        },
        first: "Likely agent-says i-1",
    },
    Case {
        source: "aws/amazon-ssm-agent#609",
        was: "no network on the host, the metadata service included",
        truth: &["agent-says"],
        facts: || {
            that_wrote(
                "Nov 21 11:02:45 ip-172-31-21-124 amazon-ssm-agent[2373]: 2026-11-21 11:02:45 ERROR [TokenRequestService] failed to retrieve instance identity role. Error: RequestError: send request failed\ncaused by: Get \"http://169.254.169.254/latest/meta-data/identity-credentials/ec2/security-credentials/ec2-instance\": dial tcp 169.254.169.254:80: connect: network is unreachable",
            )
        },
        first: "Likely agent-says i-1",
    },
    Case {
        source: "aws/amazon-ssm-agent#348",
        was: "a Windows image made in another subnet, whose routes to the metadata service it kept",
        truth: &["agent"],
        facts: || {
            let mut windows = with_profile("i-1", OURS);
            windows.windows = true;
            let mut facts = sound(windows);
            wrote(&mut facts, "Windows is Ready to use");
            facts
        },
        first: "Likely agent i-1",
    },
    Case {
        source: "aws/amazon-ssm-agent#381",
        was: "the registration of a hybrid activation, left over on the host and gone in AWS",
        truth: &["agent-says"],
        facts: || {
            that_wrote(
                "2026-11-21 11:51:34 INFO [ssm-agent-worker] Entering SSM Agent hibernate - error occurred in RequestManagedInstanceRoleToken: InvalidInstanceId: Not existing InstanceId mi-0c17d31c2af36e0e6",
            )
        },
        first: "Likely agent-says i-1",
    },
    Case {
        source: "aws/amazon-ssm-agent#118",
        was: "what an earlier registration had left in /var/lib/amazon/ssm",
        truth: &["agent"],
        facts: sound_one,
        first: "Likely agent i-1",
    },
    Case {
        source: "chime/terraform-aws-alternat#154",
        was: "a minimal image, which has no agent",
        truth: &["image-without-agent"],
        facts: || of_image("al2023-ami-minimal-2023.8.20250818.0-kernel-6.1-arm64"),
        first: "Likely image-without-agent i-1",
    },
    Case {
        source: "amazonlinux/amazon-linux-2023#166",
        was: "an image whose agent is disabled at boot",
        truth: &["agent"],
        facts: || of_image("al2022-ami-2022.0.20220810.2-kernel-5.15-x86_64"),
        first: "Likely agent i-1",
    },
    Case {
        source: "alphagov/prometheus-aws-configuration-beta#195",
        was: "an image for ECS, which had no agent then",
        truth: &["agent"],
        facts: || of_image("amzn-ami-2018.03.h-amazon-ecs-optimized"),
        first: "Likely agent i-1",
    },
    Case {
        source: "aws/amazon-ssm-agent#640",
        was: "an agent that an update broke",
        truth: &["agent"],
        facts: || sound_one().lost("i-1", "09:00:00"),
        first: "Likely agent i-1",
    },
    Case {
        source: "aws/amazon-ssm-agent#249",
        was: "endpoints that answer, and an agent stuck in \"Starting\"",
        truth: &["agent"],
        facts: || sound_one().network(with_endpoints()),
        first: "Likely agent i-1",
    },
];

const NO_SESSION: [Case; 14] = [
    Case {
        source: "awsdocs/aws-systems-manager-user-guide#91",
        was: "no endpoint for ssmmessages",
        truth: &["endpoint-missing"],
        facts: || {
            let facts = sound_one().network(only_ssm_endpoint());
            facts.online("i-1").connected("i-1", false)
        },
        first: "Likely endpoint-missing vpc-1/ssmmessages",
    },
    Case {
        source: "guardian/security-hq#164",
        was: "a role without ssmmessages",
        truth: &["role-lacks"],
        facts: || {
            let facts = with_role(role(&CHANNELS));
            facts.online("i-1").connected("i-1", false)
        },
        first: "Definite role-lacks web-role",
    },
    Case {
        source: "aws/session-manager-plugin#5",
        was: "the caller's own command line",
        truth: &[],
        facts: || open(Sessions::default()),
        first: "nothing",
    },
    Case {
        source: "kirodotdev/KiroCrew#10229",
        was: "a boundary without kms:Decrypt, while the key's policy allows it",
        truth: &["session-key-refused"],
        facts: || session(strict(), |s| set(s, DECRYPT, unclear())),
        first: "CannotTell session-key-refused arn:aws:kms:eu-central-1:111122223333:key/k-1",
    },
    Case {
        source: "department-of-veterans-affairs/va.gov-team#54885",
        was: "a role without kms:Decrypt",
        truth: &["session-key-refused"],
        facts: || session(strict(), |s| set(s, DECRYPT, Right::Missing)),
        first: "Likely session-key-refused arn:aws:kms:eu-central-1:111122223333:key/k-1",
    },
    Case {
        source: "ministryofjustice/modernisation-platform#1296",
        was: "the caller's own role without kms:GenerateDataKey",
        truth: &[],
        facts: || open(strict()),
        first: "nothing",
    },
    Case {
        source: "repost.aws/knowledge-center/ssm-session-manager-connect-fail",
        was: "no way to KMS: \"Handshake timed out\"",
        truth: &["endpoint-missing"],
        facts: || open(strict()).network(endpoints_and(&[Service::Logs, Service::S3])),
        first: "Likely endpoint-missing vpc-1/kms",
    },
    Case {
        source: "aws/amazon-ssm-agent#198",
        was: "an encrypted log group, and a role that can't look: \"encryption is not set up\"",
        truth: &["session-log-unseen"],
        facts: || session(strict(), |s| set(s, FIND_LOG_GROUP, Right::Missing)),
        first: "Definite session-log-unseen /sessions",
    },
    Case {
        source: "bridgecrewio/terraform-aws-session-manager#9",
        was: "preferences that named no log group that there is",
        truth: &["session-log-unencrypted"],
        facts: || session(strict(), |s| group(s, None)),
        first: "Definite session-log-unencrypted /sessions",
    },
    Case {
        source: "aws/amazon-ssm-agent#639",
        was: "no endpoint for logs: two minutes until the prompt",
        truth: &["endpoint-missing"],
        facts: || open(lenient()).network(endpoints_and(&[Service::Kms, Service::S3])),
        first: "Likely endpoint-missing vpc-1/logs",
    },
    Case {
        source: "widdix/aws-cf-templates#245",
        was: "a bucket that must be encrypted, and a role that can't look",
        truth: &["session-log-unseen"],
        facts: || session(strict(), |s| set(s, CHECK_BUCKET, Right::Missing)),
        first: "Likely session-log-unseen session-logs",
    },
    Case {
        source: "awslabs/landing-zone-accelerator-on-aws#934",
        was: "a policy for a log group of another name: sessions open, and aren't logged",
        truth: &["session-log-refused"],
        facts: || session(lenient(), |s| set(s, WRITE_LOG[0], Right::Missing)),
        first: "nothing",
    },
    Case {
        source: "aws/amazon-ssm-agent#219",
        was: "Run As, as a user that the host hasn't",
        truth: &[],
        facts: || open(strict()),
        first: "nothing",
    },
    Case {
        source: "aws/amazon-ssm-agent#170",
        was: "a full disk: the session hangs",
        truth: &[],
        facts: || open(Sessions::default()),
        first: "nothing",
    },
];

/// A definite cause is what it was; and where the truth can't be seen, nothing is said for sure.
#[test]
fn no_report_is_answered_confidently_wrong() {
    for case in NOT_REGISTERED.iter().chain(&NO_SESSION) {
        let found = diagnosis(&(case.facts)());
        let first = told(&found.causes).into_iter().next();
        let first = first.unwrap_or_else(|| "nothing".to_owned());
        assert_eq!(first, case.first, "{}", case.source);
        let all = || found.causes.iter().chain(&found.log_only);
        for cause in all().filter(|cause| cause.certainty == Certainty::Definite) {
            assert!(
                case.truth.contains(&cause.code),
                "{}: {cause:?}",
                case.source
            );
        }
        let named = all().any(|cause| case.truth.contains(&cause.code));
        assert!(
            named || case.truth.is_empty(),
            "{}: {:?}",
            case.source,
            told(&found.causes)
        );
    }
}

/// All that is said of them, to be read as a set; and the table that the documentation shows.
#[test]
fn the_reports_as_a_diagnosis_answers_them() {
    let mut said = String::new();
    let mut table = "| report | what it was | said first |\n| --- | --- | --- |\n".to_owned();
    let mut counts = BTreeMap::from([
        ("definite", 0),
        ("likely", 0),
        ("cannot-tell", 0),
        ("nothing", 0),
    ]);
    for case in NOT_REGISTERED.iter().chain(&NO_SESSION) {
        let found = diagnosis(&(case.facts)());
        writeln!(said, "## {}\nIt was: {}.", case.source, case.was).unwrap();
        for cause in &found.causes {
            writeln!(
                said,
                "- {:?}, by {}: {}. {}",
                cause.certainty, cause.evidence, cause.problem, cause.fix
            )
            .unwrap();
        }
        for cause in &found.log_only {
            writeln!(said, "- Only the log: {}. {}", cause.problem, cause.fix).unwrap();
        }
        let (word, code) = found.primary().map_or(("nothing", ""), |cause| {
            let word = match cause.certainty {
                Certainty::Definite => "definite",
                Certainty::Likely => "likely",
                Certainty::CannotTell => "cannot-tell",
            };
            (word, cause.code)
        });
        *counts.get_mut(word).unwrap() += 1;
        let first = match (code, found.log_only.first()) {
            ("", Some(only)) => format!("log-only: `{}`", only.code),
            ("", None) => word.to_owned(),
            (code, _) => format!("{word}: `{code}`"),
        };
        writeln!(table, "| {} | {} | {first} |", case.source, case.was).unwrap();
    }
    insta::assert_snapshot!(said);
    let documentation = include_str!("../../../../../docs/attach-ssm-role.md");
    assert!(
        documentation.contains(&table),
        "docs/attach-ssm-role.md lacks:\n{table}"
    );
    let total = NOT_REGISTERED.len() + NO_SESSION.len();
    let counted = format!(
        "Of the {total} first causes {} are definite, {} likely and {} cannot-tell; of {} nothing is said",
        counts["definite"], counts["likely"], counts["cannot-tell"], counts["nothing"]
    );
    assert!(
        documentation.contains(&counted),
        "docs/attach-ssm-role.md lacks: {counted}"
    );
}
