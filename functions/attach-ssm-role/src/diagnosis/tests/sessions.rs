//! What keeps sessions from a node that is Online, and what only loses their logs (SSM-17, SSM-18).

use super::*;
use crate::facts::sessions::{
    Bucket, CHECK_BUCKET, DECRYPT, FIND_LOG_GROUP, FoundKey, Key, LogGroup, Right, Rights,
    Sessions, WRITE_LOG, WRITE_OBJECT,
};

const KEY: &str = "arn:aws:kms:eu-central-1:111122223333:key/k-1";
const THEIRS: &str = "arn:aws:kms:eu-central-1:999988887777:key/k-9";

/// Preferences that ask for all that there is, and an account that has it all.
pub(super) fn strict() -> Sessions {
    let actions = [DECRYPT, FIND_LOG_GROUP, CHECK_BUCKET, WRITE_OBJECT];
    let actions = actions.into_iter().chain(WRITE_LOG);
    Sessions {
        key: Some(Key {
            name: "alias/sessions".to_owned(),
            found: Ok(Some(FoundKey {
                arn: KEY.to_owned(),
                state: "Enabled".to_owned(),
            })),
        }),
        log_group: Some(LogGroup {
            name: "/sessions".to_owned(),
            must_be_encrypted: true,
            encrypted: Ok(Some(true)),
        }),
        bucket: Some(Bucket {
            name: "session-logs".to_owned(),
            must_be_encrypted: true,
        }),
        run_as_by_tag: false,
        rights: Some(Ok(Rights {
            role: "arn:aws:iam::111122223333:role/web-role".to_owned(),
            of: actions.map(|action| (action, Right::Allowed)).collect(),
        })),
    }
}

/// The same, where logs needn't be encrypted.
pub(super) fn lenient() -> Sessions {
    let mut sessions = strict();
    sessions.log_group.as_mut().unwrap().must_be_encrypted = false;
    sessions.bucket.as_mut().unwrap().must_be_encrypted = false;
    sessions
}

pub(super) fn set(sessions: &mut Sessions, action: &'static str, right: Right) {
    let rights = sessions.rights.as_mut().unwrap().as_mut().unwrap();
    rights.of.insert(action, right);
}

fn state(sessions: &mut Sessions, state: &str) {
    let key = sessions.key.as_mut().unwrap();
    key.found.as_mut().unwrap().as_mut().unwrap().state = state.to_owned();
}

pub(super) fn group(sessions: &mut Sessions, encrypted: Option<bool>) {
    sessions.log_group.as_mut().unwrap().encrypted = Ok(encrypted);
}

pub(super) fn unclear() -> Right {
    Right::Unclear("the permissions boundary says no".to_owned())
}

/// A node that is Online behind NAT, and that AWS calls connected.
pub(super) fn open(sessions: Sessions) -> Facts {
    let mut facts = sound(with_profile("i-1", OURS))
        .online("i-1")
        .connected("i-1", true);
    facts.sessions = Some(Ok(sessions));
    facts
}

pub(super) fn told(causes: &[Cause]) -> Vec<String> {
    causes
        .iter()
        .map(|cause| format!("{:?} {} {}", cause.certainty, cause.code, cause.resource))
        .collect()
}

/// Each change to preferences that are met, what then keeps a session out, and what only loses its
/// log.
#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn each_preference_that_is_not_met_is_named_and_its_twin_is_not() {
    type Case = (
        &'static str,
        fn() -> Sessions,
        fn(&mut Sessions),
        &'static [&'static str],
        &'static [&'static str],
    );
    let table: &[Case] = &[
        ("all met", strict, |_| {}, &[], &[]),
        ("nothing asked", Sessions::default, |_| {}, &[], &[]),
        // The key (amazon-ssm-agent: the handshake decrypts the data key).
        (
            "key to be deleted",
            strict,
            |s| state(s, "PendingDeletion"),
            &["Definite session-key-unusable alias/sessions"],
            &[],
        ),
        (
            "key disabled, and not allowed",
            strict,
            |s| {
                state(s, "Disabled");
                set(s, DECRYPT, Right::Missing);
            },
            &["Definite session-key-unusable alias/sessions"],
            &[],
        ),
        (
            "a key whose primary moves",
            strict,
            |s| state(s, "Updating"),
            &[],
            &[],
        ),
        (
            "no such key",
            strict,
            |s| s.key.as_mut().unwrap().found = Ok(None),
            &["Definite session-key-unusable alias/sessions"],
            &[],
        ),
        (
            "not allowed: the key's own policy may",
            strict,
            |s| set(s, DECRYPT, Right::Missing),
            &["Likely session-key-refused arn:aws:kms:eu-central-1:111122223333:key/k-1"],
            &[],
        ),
        (
            "not allowed, another account's key: it takes both",
            strict,
            |s| {
                set(s, DECRYPT, Right::Missing);
                let key = s.key.as_mut().unwrap().found.as_mut().unwrap();
                key.as_mut().unwrap().arn = THEIRS.to_owned();
            },
            &["Definite session-key-refused arn:aws:kms:eu-central-1:999988887777:key/k-9"],
            &[],
        ),
        (
            "denied",
            strict,
            |s| set(s, DECRYPT, Right::Denied),
            &["Definite session-key-refused arn:aws:kms:eu-central-1:111122223333:key/k-1"],
            &[],
        ),
        (
            "a boundary",
            strict,
            |s| set(s, DECRYPT, unclear()),
            &["CannotTell session-key-refused arn:aws:kms:eu-central-1:111122223333:key/k-1"],
            &[],
        ),
        // The log group.
        (
            "must be encrypted, isn't",
            strict,
            |s| group(s, Some(false)),
            &["Definite session-log-unencrypted /sessions"],
            &[],
        ),
        (
            "needn't be, isn't",
            lenient,
            |s| group(s, Some(false)),
            &[],
            &[],
        ),
        (
            "must be encrypted, isn't there",
            strict,
            |s| group(s, None),
            &["Definite session-log-unencrypted /sessions"],
            &[],
        ),
        (
            "needn't be, isn't there",
            lenient,
            |s| group(s, None),
            &[],
            &["Definite session-log-missing /sessions"],
        ),
        (
            "must be encrypted, the agent can't look",
            strict,
            |s| set(s, FIND_LOG_GROUP, Right::Missing),
            &["Definite session-log-unseen /sessions"],
            &[],
        ),
        (
            "needn't be, the agent can't look",
            lenient,
            |s| set(s, FIND_LOG_GROUP, Right::Missing),
            &[],
            &["Definite session-log-refused /sessions"],
        ),
        (
            "can't write",
            strict,
            |s| set(s, WRITE_LOG[1], Right::Missing),
            &[],
            &["Definite session-log-refused /sessions"],
        ),
        (
            "whether it can look isn't clear",
            strict,
            |s| set(s, FIND_LOG_GROUP, unclear()),
            &["CannotTell session-log-unseen /sessions"],
            &[],
        ),
        // The bucket, whose own policy may allow it.
        (
            "must be encrypted, the agent can't look into the bucket",
            strict,
            |s| set(s, CHECK_BUCKET, Right::Missing),
            &["Likely session-log-unseen session-logs"],
            &[],
        ),
        (
            "needn't be, the agent can't look into the bucket",
            lenient,
            |s| set(s, CHECK_BUCKET, Right::Missing),
            &[],
            &[],
        ),
        (
            "denied",
            strict,
            |s| set(s, CHECK_BUCKET, Right::Denied),
            &["Definite session-log-unseen session-logs"],
            &[],
        ),
        (
            "can't put the log there",
            lenient,
            |s| set(s, WRITE_OBJECT, Right::Missing),
            &[],
            &["Likely session-log-refused session-logs"],
        ),
        // Run As.
        (
            "Run As without a default user",
            strict,
            |s| s.run_as_by_tag = true,
            &["CannotTell session-run-as i-1"],
            &[],
        ),
        // A role that isn't known allows nothing that is known.
        ("no role", strict, |s| s.rights = None, &[], &[]),
    ];
    for (what, from, change, blocks, loses) in table {
        let mut sessions = from();
        change(&mut sessions);
        let found = diagnosis(&open(sessions));
        assert_eq!(told(&found.causes), *blocks, "{what}");
        assert_eq!(told(&found.log_only), *loses, "{what}");
        assert!(found.complete, "{what}");
        assert!(found.log_only.iter().all(|cause| cause.at == Some(now())));
    }
    let mut windows = open(Sessions {
        run_as_by_tag: true,
        ..strict()
    });
    windows.instances.get_mut("i-1").unwrap().windows = true;
    assert_eq!(
        told(&diagnosis(&windows).causes),
        [""; 0],
        "it has no Run As"
    );
}

/// Behind endpoints only those of Systems Manager, and those besides: what each service that a
/// session turns to has there.
#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn each_service_that_a_session_turns_to_needs_a_way() {
    type Case = (
        &'static str,
        fn() -> Network,
        fn(&mut Network),
        &'static [&'static str],
    );
    fn all() -> Network {
        Network {
            endpoints: Service::ALL.map(endpoint).to_vec(),
            ..closed()
        }
    }
    fn without(n: &mut Network, service: Service) {
        n.endpoints.retain(|e| e.service != service);
    }
    fn to(n: &mut Network, hop: &str) {
        let hop = Hop::Other(hop.to_owned());
        n.tables[0].routes.push(route("10.2.0.0/16", hop));
    }
    let table: &[Case] = &[
        ("all there", all, |_| {}, &[]),
        ("by NAT", behind_nat, |_| {}, &[]),
        (
            "none but those of Systems Manager",
            with_endpoints,
            |_| {},
            &[
                "Likely endpoint-missing vpc-1/kms",
                "Likely endpoint-missing vpc-1/logs",
                "Likely endpoint-missing vpc-1/s3",
            ],
        ),
        (
            "no KMS",
            all,
            |n| without(n, Service::Kms),
            &["Likely endpoint-missing vpc-1/kms"],
        ),
        (
            "no KMS, perhaps behind a transit gateway",
            all,
            |n| {
                without(n, Service::Kms);
                to(n, "tgw-1");
            },
            &["CannotTell endpoint-missing vpc-1/kms"],
        ),
        (
            "no KMS, and Systems Manager by a zone",
            all,
            |n| {
                without(n, Service::Kms);
                n.endpoints[0].private_dns = false;
            },
            &["CannotTell endpoint-missing vpc-1/kms"],
        ),
        (
            "no KMS, and all of Systems Manager by a hub",
            closed,
            |_| {},
            &[],
        ),
        (
            "S3 by a gateway endpoint",
            all,
            |n| {
                without(n, Service::S3);
                n.prefix_lists.insert("pl-s3".to_owned(), vec![]);
                n.tables[0].routes.push(Route {
                    destination: None,
                    prefix_list: Some("pl-s3".to_owned()),
                    ..route("0.0.0.0/0", Hop::Other("vpce-s3".to_owned()))
                });
            },
            &[],
        ),
        (
            "logs, closed by its security group",
            all,
            |n| {
                n.groups
                    .insert("sg-logs".to_owned(), SecurityGroup::default());
                n.endpoints[4].groups = vec!["sg-logs".to_owned()];
            },
            &["Likely endpoint-closed vpce-logs"],
        ),
        (
            "KMS, by a policy for something else",
            all,
            |n| {
                n.endpoints[3].policy = Some(r#"{"Statement":[{"Action":"kms:Encrypt","Effect":"Allow","Principal":"*","Resource":"*"}]}"#.to_owned());
            },
            &["Likely endpoint-policy vpce-kms"],
        ),
    ];
    for (what, from, change, expected) in table {
        let mut network = from();
        change(&mut network);
        let facts = open(strict()).network(network);
        assert_eq!(told(&diagnosis(&facts).causes), *expected, "{what}");
        let asks_nothing = Facts {
            sessions: Some(Ok(Sessions::default())),
            ..facts
        };
        assert_eq!(told(&diagnosis(&asks_nothing).causes), [""; 0], "{what}");
    }
}

/// None of it matters before the node is Online, and none of it is asked for by a sweep.
#[test]
fn sessions_are_judged_of_nodes_that_can_be_reached_only() {
    let lacking = || {
        let mut sessions = strict();
        state(&mut sessions, "Disabled");
        sessions
    };
    let mut facts = open(lacking());
    facts.connections.clear();
    assert_eq!(
        codes(&diagnosis(&facts)),
        ["session-key-unusable"],
        "Online"
    );
    let no_channel = facts.clone().connected("i-1", false);
    assert_eq!(
        codes(&diagnosis(&no_channel)),
        ["not-connected", "session-key-unusable"],
        "what AWS says goes first"
    );
    facts.nodes.clear();
    assert_eq!(codes(&diagnosis(&facts)), ["agent"], "not Online");
    let swept = Facts {
        sessions: None,
        ..open(lacking())
    };
    assert_eq!(codes(&diagnosis(&swept)), [""; 0]);
}

#[test]
fn what_could_not_be_read_of_sessions_is_told_and_nothing_is_inferred_from_it() {
    type Change = fn(&mut Facts);
    fn sessions(facts: &mut Facts) -> &mut Sessions {
        facts.sessions.as_mut().unwrap().as_mut().unwrap()
    }
    let of = |change: Change| {
        let mut facts = open(strict());
        change(&mut facts);
        diagnosis(&facts)
    };
    let table: &[(&str, Change)] = &[
        ("ssm:GetDocument", |f| {
            f.sessions = Some(Err(denied("ssm:GetDocument")));
        }),
        ("kms:DescribeKey", |f| {
            sessions(f).key.as_mut().unwrap().found = Err(denied("kms:DescribeKey"));
        }),
        ("logs:DescribeLogGroups", |f| {
            let group = sessions(f).log_group.as_mut().unwrap();
            group.encrypted = Err(denied("logs:DescribeLogGroups"));
        }),
        ("iam:SimulatePrincipalPolicy", |f| {
            sessions(f).rights = Some(Err(denied("iam:SimulatePrincipalPolicy")));
        }),
        ("ec2:DescribeRouteTables", |f| {
            f.network = Some(Err(denied("ec2:DescribeRouteTables")));
        }),
    ];
    for (operation, change) in table {
        let found = of(*change);
        assert_eq!(
            told(&found.causes),
            ["CannotTell not-read i-1"],
            "{operation}"
        );
        assert!(found.causes[0].problem.contains(operation));
        assert!(!found.complete && !found.passing);
    }
    let passing = of(|f| f.sessions = Some(Err(throttled("ssm:GetDocument"))));
    assert!(passing.passing, "asked again, it may answer");
    let nothing_asked = of(|f| {
        f.sessions = Some(Ok(Sessions::default()));
        f.network = Some(Err(denied("ec2:DescribeRouteTables")));
    });
    assert_eq!(
        codes(&nothing_asked),
        [""; 0],
        "no way to anything is needed"
    );
}
