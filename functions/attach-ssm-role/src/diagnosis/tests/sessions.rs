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
    let mut facts = sound_one().online("i-1").connected("i-1", true);
    facts.sessions = Some(Ok(sessions));
    facts
}

pub(super) fn told(causes: &[Cause]) -> Vec<String> {
    causes
        .iter()
        .map(|cause| format!("{:?} {} {}", cause.certainty, cause.code, cause.resource))
        .collect()
}

/// Each change to preferences that are met; what then keeps a session out, and what only loses its
/// log.
#[test]
fn each_preference_that_is_not_met_is_named_and_its_twin_is_not() {
    type Case = (
        &'static str,
        fn() -> Sessions,
        fn(&mut Sessions),
        &'static str,
        &'static str,
    );
    fn lacks(sessions: &mut Sessions, action: &'static str) {
        set(sessions, action, Right::Missing);
    }
    fn found(sessions: &mut Sessions) -> &mut Result<Option<FoundKey>, ApiError> {
        &mut sessions.key.as_mut().unwrap().found
    }
    let table: &[Case] = &rows! {
        "all met", strict, |_| {}, "" => "";
        "nothing asked", Sessions::default, |_| {}, "" => "";
        // The key (amazon-ssm-agent: the handshake decrypts the data key).
        "key to be deleted", strict, |s| state(s, "PendingDeletion"),
            "Definite session-key-unusable alias/sessions" => "";
        "key disabled, and not allowed", strict,
            |s| {
                state(s, "Disabled");
                lacks(s, DECRYPT);
            },
            "Definite session-key-unusable alias/sessions" => "";
        "a key whose primary moves", strict, |s| state(s, "Updating"), "" => "";
        "no such key", strict, |s| *found(s) = Ok(None),
            "Definite session-key-unusable alias/sessions" => "";
        "not allowed: the key's own policy may", strict, |s| lacks(s, DECRYPT),
            "Likely session-key-refused arn:aws:kms:eu-central-1:111122223333:key/k-1" => "";
        "not allowed, another account's key: it takes both", strict,
            |s| {
                lacks(s, DECRYPT);
                found(s).as_mut().unwrap().as_mut().unwrap().arn = THEIRS.to_owned();
            },
            "Definite session-key-refused arn:aws:kms:eu-central-1:999988887777:key/k-9" => "";
        "denied", strict, |s| set(s, DECRYPT, Right::Denied),
            "Definite session-key-refused arn:aws:kms:eu-central-1:111122223333:key/k-1" => "";
        "a boundary", strict, |s| set(s, DECRYPT, unclear()),
            "CannotTell session-key-refused arn:aws:kms:eu-central-1:111122223333:key/k-1" => "";
        // The log group.
        "must be encrypted, isn't", strict, |s| group(s, Some(false)),
            "Definite session-log-unencrypted /sessions" => "";
        "needn't be, isn't", lenient, |s| group(s, Some(false)), "" => "";
        "must be encrypted, isn't there", strict, |s| group(s, None),
            "Definite session-log-unencrypted /sessions" => "";
        "needn't be, isn't there", lenient, |s| group(s, None),
            "" => "Definite session-log-missing /sessions";
        "must be encrypted, the agent can't look", strict, |s| lacks(s, FIND_LOG_GROUP),
            "Definite session-log-unseen /sessions" => "";
        "needn't be, the agent can't look", lenient, |s| lacks(s, FIND_LOG_GROUP),
            "" => "Definite session-log-refused /sessions";
        "can't write", strict, |s| lacks(s, WRITE_LOG[1]),
            "" => "Definite session-log-refused /sessions";
        "whether it can look isn't clear", strict, |s| set(s, FIND_LOG_GROUP, unclear()),
            "CannotTell session-log-unseen /sessions" => "";
        // The bucket, whose own policy may allow it.
        "must be encrypted, the agent can't look into the bucket", strict, |s| lacks(s, CHECK_BUCKET),
            "Likely session-log-unseen session-logs" => "";
        "needn't be, the agent can't look into the bucket", lenient, |s| lacks(s, CHECK_BUCKET),
            "" => "";
        "denied", strict, |s| set(s, CHECK_BUCKET, Right::Denied),
            "Definite session-log-unseen session-logs" => "";
        "can't put the log there", lenient, |s| lacks(s, WRITE_OBJECT),
            "" => "Likely session-log-refused session-logs";
        // Run As.
        "Run As without a default user", strict, |s| s.run_as_by_tag = true,
            "CannotTell session-run-as i-1" => "";
        // A role that isn't known allows nothing that is known.
        "no role", strict, |s| s.rights = None, "" => "";
    };
    for (what, from, change, blocks, loses) in table {
        let mut sessions = from();
        change(&mut sessions);
        let found = diagnosis(&open(sessions));
        assert_eq!(told(&found.causes).join("; "), *blocks, "{what}");
        assert_eq!(told(&found.log_only).join("; "), *loses, "{what}");
        assert!(found.complete, "{what}");
        assert!(found.log_only.iter().all(|cause| cause.at == Some(now())));
    }
}

#[test]
fn windows_has_no_run_as() {
    let mut facts = open(Sessions {
        run_as_by_tag: true,
        ..strict()
    });
    first(&mut facts).windows = true;
    assert_eq!(told(&diagnosis(&facts).causes), [""; 0]);
}

/// Behind endpoints only those of Systems Manager, and those besides: what each service that a
/// session turns to has there.
#[test]
fn each_service_that_a_session_turns_to_needs_a_way() {
    fn all() -> Network {
        Network {
            endpoints: Service::ALL.map(endpoint).to_vec(),
            ..closed()
        }
    }
    let table: &[Case] = &rows! {
        "all there", all, |_| {} => &[];
        "by NAT", behind_nat, |_| {} => &[];
        "none but those of Systems Manager", with_endpoints, |_| {} => &[
            "Likely endpoint-missing vpc-1/kms",
            "Likely endpoint-missing vpc-1/logs",
            "Likely endpoint-missing vpc-1/s3",
        ];
        "no KMS", all, |n| n.without(Service::Kms) => &["Likely endpoint-missing vpc-1/kms"];
        "no KMS, perhaps behind a transit gateway", all,
            |n| {
                n.without(Service::Kms);
                n.to("10.2.0.0/16", other("tgw-1"));
            }
            => &["CannotTell endpoint-missing vpc-1/kms"];
        "no KMS, and Systems Manager by a zone", all,
            |n| {
                n.without(Service::Kms);
                n.endpoints[0].private_dns = false;
            }
            => &["CannotTell endpoint-missing vpc-1/kms"];
        "no KMS, and all of Systems Manager by a hub", closed, |_| {} => &[];
        "S3 by a gateway endpoint", all,
            |n| {
                n.without(Service::S3);
                n.gateway_endpoint();
            }
            => &[];
        "logs, closed by its security group", all,
            |n| {
                n.group("sg-logs");
                n.endpoints[4].groups = vec!["sg-logs".to_owned()];
            }
            => &["Likely endpoint-closed vpce-logs"];
        "KMS, by a policy for something else", all,
            |n| n.endpoints[3].policy = Some(policy_for(r#""*""#, "kms:Encrypt"))
            => &["Likely endpoint-policy vpce-kms"];
    };
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
    let code = "session-key-unusable";
    assert_eq!(codes(&diagnosis(&facts)), [code], "Online");
    // What AWS says goes first.
    let no_channel = diagnosis(&facts.clone().connected("i-1", false));
    assert_eq!(codes(&no_channel), ["not-connected", code]);
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
    let table: &[(&str, Change)] = &rows! {
        "ssm:GetDocument" => |f| f.sessions = Some(Err(denied("ssm:GetDocument")));
        "kms:DescribeKey"
            => |f| sessions(f).key.as_mut().unwrap().found = Err(denied("kms:DescribeKey"));
        "logs:DescribeLogGroups" => |f| {
            let group = sessions(f).log_group.as_mut().unwrap();
            group.encrypted = Err(denied("logs:DescribeLogGroups"));
        };
        "iam:SimulatePrincipalPolicy"
            => |f| sessions(f).rights = Some(Err(denied("iam:SimulatePrincipalPolicy")));
        "ec2:DescribeRouteTables" => |f| f.network = Some(Err(denied("ec2:DescribeRouteTables")));
    };
    for (operation, change) in table {
        let found = of(*change);
        let not_read = ["CannotTell not-read i-1"];
        assert_eq!(told(&found.causes), not_read, "{operation}");
        assert!(found.causes[0].problem.contains(operation));
        assert!(!found.complete && !found.passing);
    }
    let passing = of(|f| f.sessions = Some(Err(throttled("ssm:GetDocument"))));
    assert!(passing.passing, "asked again, it may answer");
    let nothing_asked = of(|f| {
        f.sessions = Some(Ok(Sessions::default()));
        f.network = Some(Err(denied("ec2:DescribeRouteTables")));
    });
    let none = "no way to anything is needed";
    assert_eq!(codes(&nothing_asked), [""; 0], "{none}");
}
