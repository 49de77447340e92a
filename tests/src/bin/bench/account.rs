//! The synthetic account: what it lists and answers, and what was asked of it.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use serde_json::{Value, json};

use crate::call::{Answer, Call, Refusal, refuse};
use crate::estate::{Estate, add_snapshot, rfc3339};
use crate::list::List;
use crate::state::State;
use crate::{launches, nodes};

/// Name of the parameter that holds the policy.
pub(crate) const POLICY_PARAMETER: &str = "/ec2-guardrails/policy";
/// Where notices go.
pub(crate) const TOPIC: &str = "arn:aws:sns:eu-central-1:123456789012:bench";
const CONFIRMED: &str =
    "<Attributes><entry><key>SubscriptionsConfirmed</key><value>1</value></entry></Attributes>";

/// The account.
#[derive(Debug, Default)]
pub(crate) struct Account {
    estate: Estate,
    /// Where AWS's request rates hold.
    rates: Option<Buckets>,
    pub(crate) state: State,
    /// By name, how many calls the run made, and how many of them were throttled.
    pub(crate) calls: BTreeMap<String, (usize, usize)>,
    /// What couldn't be answered, each with the reason.
    refused: Vec<String>,
    /// What the run changed, each with its target; neither labels nor what it told or remembers.
    pub(crate) changed: Vec<String>,
    notices: usize,
    /// The resource of each finding.
    findings: Vec<String>,
}

impl Account {
    pub(crate) fn new(estate: Estate, aws_rates: bool) -> Self {
        let rates = aws_rates.then(Buckets::default);
        Self {
            estate,
            rates,
            ..Self::default()
        }
    }

    /// A run begins: from here on calls are counted anew.
    pub(crate) fn begin(&mut self) {
        self.calls.clear();
        self.changed.clear();
        self.findings.clear();
        (self.notices, self.state.units) = (0, (0, 0));
    }

    /// Whether a run did and told what was due, each once, and nothing else; and its report says so.
    /// At AWS's rates something may be left for the next one.
    pub(crate) fn check(&self, report: &Value) -> Result<(), String> {
        if let Some(refused) = self.refused.first() {
            return Err(format!(
                "refused {refused}: mend it, or teach the synthetic account"
            ));
        }
        let left = report["outcomes"]["left"].as_u64().unwrap_or_default();
        let mut open: BTreeMap<&str, isize> = BTreeMap::new();
        for due in self.estate.changes.iter().chain(&self.estate.findings) {
            *open.entry(due).or_default() += 1;
        }
        for done in self.changed.iter().chain(&self.findings) {
            *open.entry(done).or_default() -= 1;
        }
        let wrong = |times: isize| times < 0 || (times > 0 && left == 0);
        if let Some((what, times)) = open.iter().find(|(_, times)| wrong(**times)) {
            let times = 1 - times;
            return Err(format!(
                "done or told {times} times instead of once: {what}"
            ));
        }
        let notices = usize::from(!self.findings.is_empty());
        let considered = report["considered"] == self.estate.size;
        let done = report["outcomes"]["done"] == self.estate.due() as u64 - left;
        let failed = report["outcomes"]["failed"] != 0 || (left > 0 && self.rates.is_none());
        if self.notices != notices || !considered || !done || failed {
            let notices = self.notices;
            return Err(format!("{notices} notices, and the report says {report}"));
        }
        Ok(())
    }

    /// Answers a call.
    pub(crate) fn respond(&mut self, call: &Call) -> (u16, &'static str, String) {
        let rates = self.rates.as_mut();
        let throttled = rates.and_then(|buckets| buckets.refuse(call, Instant::now()));
        let count = self.calls.entry(call.action.clone()).or_default();
        count.0 += 1;
        if let Some(code) = throttled {
            count.1 += 1;
            return call.reply(Err((code, "Rate exceeded".to_owned())));
        }
        let answer = self.answer(call);
        match &answer {
            Ok(_) if changes(&call.action) => self.changed.push(call.target()),
            // Somebody else was faster, and said so.
            Ok(_) | Err(("ConditionalCheckFailedException", _)) => {}
            Err((_, why)) => self.refused.push(format!("{}: {why}", call.target())),
        }
        call.reply(answer)
    }

    fn answer(&mut self, call: &Call) -> Answer {
        let done = "<return>true</return>".to_owned();
        match &*call.action {
            "GetParameter" if call.json["Name"] == POLICY_PARAMETER => {
                let value = &self.estate.policy;
                let parameter = json!({"Name": POLICY_PARAMETER, "Value": value, "Version": 1});
                Ok(json!({ "Parameter": parameter }).to_string())
            }
            "ListTagsForResource" => Ok(json!({ "TagList": [] }).to_string()),
            "PutEvents" => Ok(self.put_events(call)),
            "Publish" if call.get("TopicArn") == TOPIC => {
                self.notices += 1;
                Ok("<MessageId>59dbff89</MessageId>".to_owned())
            }
            "GetTopicAttributes" => Ok(CONFIRMED.to_owned()),
            // Labels, which nobody reads.
            "CreateTags" | "CreateOrUpdateTags" => Ok(done),
            "CreateSnapshots" => self.create_snapshots(call),
            "DeleteSnapshot" => {
                let snapshot = self.row("DescribeSnapshots", call.get("SnapshotId"))?;
                snapshot.clear();
                Ok(done)
            }
            "GetServiceSetting" => Ok(nodes::host_management()),
            "GetInstanceProfile" => Ok(nodes::profile(call)),
            "SimulatePrincipalPolicy" => Ok(nodes::simulate(call)),
            "DescribeInstanceAttribute" => launches::attribute(self, call),
            "EnterStandby" => launches::standby(self, call),
            "LookupEvents" => Ok(launches::lookup(call)),
            "ModifyInstanceAttribute" => launches::modify(self, call),
            "ModifyNetworkInterfaceAttribute" => launches::isolate(self, call),
            "Query" | "GetItem" | "PutItem" | "DeleteItem" => self.state.answer(call),
            action => match self.estate.lists.iter().find(|list| list.action == action) {
                Some(list) => list.answer(call),
                None => refuse("nobody taught it that call"),
            },
        }
    }

    fn put_events(&mut self, call: &Call) -> String {
        let mut ids = Vec::new();
        for entry in call.json["Entries"].as_array().into_iter().flatten() {
            let detail = entry["Detail"].as_str().unwrap_or_default();
            let detail: Value = serde_json::from_str(detail).unwrap_or_default();
            let resource = detail["resource"].as_str().unwrap_or_default();
            self.findings.push(resource.to_owned());
            ids.push(json!({ "EventId": "59dbff89" }));
        }
        json!({ "FailedEntryCount": 0, "Entries": ids }).to_string()
    }

    /// A snapshot of each volume of an instance (EBS-2).
    fn create_snapshots(&mut self, call: &Call) -> Answer {
        let instance = call.get("InstanceSpecification.InstanceId");
        let text = self.row("DescribeInstances", instance)?.clone();
        let (tags, description) = (call.tags("TagSpecification.1.Tag"), call.get("Description"));
        let mut made = String::new();
        let list = self.list("DescribeSnapshots")?;
        for volume in text.split("<volumeId>").skip(1) {
            let volume = volume.split('<').next().unwrap_or_default();
            let pending = ("pending", rfc3339(jiff::Timestamp::now()));
            made += &add_snapshot(list, volume, pending, description, &tags);
        }
        Ok(call.listed("snapshotSet", &[&made], None))
    }

    fn list(&mut self, action: &str) -> Result<&mut List, Refusal> {
        let mut lists = self.estate.lists.iter_mut();
        let found = lists.find(|list| list.action == action);
        found.ok_or_else(|| ("UnexpectedCall", action.to_owned()))
    }

    /// What `action` tells of `id`.
    pub(crate) fn row(&mut self, action: &str, id: &str) -> Result<&mut String, Refusal> {
        let found = self.list(action)?.row(id).filter(|row| !row.is_empty());
        found.ok_or_else(|| ("UnexpectedCall", format!("there is no {id}")))
    }

    /// Replaces `from`, which must be there, in what `action` tells of `id`.
    pub(crate) fn replace(&mut self, action: &str, id: &str, from: &str, to: &str) -> Answer {
        let row = self.row(action, id)?;
        if !row.contains(from) {
            return refuse(format!("{id} has no {from}"));
        }
        *row = row.replace(from, to);
        Ok("<return>true</return>".to_owned())
    }
}

fn changes(action: &str) -> bool {
    let others = "Describe Get List Lookup Simulate Query Put Publish CreateTags \
        CreateOrUpdateTags DeleteItem";
    !others.split(' ').any(|other| action.starts_with(other))
}

/// AWS's request rates, per account and Region, as token buckets, full at first: tokens, and when
/// they were counted.
#[derive(Debug, Default)]
struct Buckets(HashMap<String, (f64, Instant)>);

impl Buckets {
    /// Takes a token, or returns the code that says that there is none.
    ///
    /// EC2 has a bucket for each action (EBS-6): the numbers are those of "Request throttling for
    /// the Amazon EC2 API" in the EC2 developer guide, for paged or filtered reads. `CloudTrail`
    /// takes two lookups a second. Auto Scaling has one bucket for all its calls, whose size AWS
    /// doesn't publish; here it is as large as one of EC2's. Other services don't throttle here.
    fn refuse(&mut self, call: &Call, now: Instant) -> Option<&'static str> {
        let (name, code) = match (call.service, &*call.action) {
            ("ec2", action) => (action, "RequestLimitExceeded"),
            ("json", "LookupEvents") => ("LookupEvents", "ThrottlingException"),
            ("autoscaling", _) => ("autoscaling", "Throttling"),
            _ => return None,
        };
        let (size, refill) = match name {
            "LookupEvents" => (2.0, 2.0),
            "CreateSnapshots" | "DeleteSnapshot" => (100.0, 5.0),
            "CreateTags" => (100.0, 10.0),
            read if read.starts_with("Describe") || read == "autoscaling" => (100.0, 20.0),
            _mutating => (50.0, 5.0),
        };
        let (tokens, at) = self.0.entry(name.to_owned()).or_insert((size, now));
        let passed = now.duration_since(*at).as_secs_f64();
        (*tokens, *at) = ((*tokens + passed * refill).min(size), now);
        if *tokens < 1.0 {
            return Some(code);
        }
        *tokens -= 1.0;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn names(names: &str) -> Vec<String> {
        names.split_whitespace().map(str::to_owned).collect()
    }

    /// A benchmark of a wrong run must fail.
    #[test]
    fn what_is_done_or_told_twice_not_at_all_or_of_others_fails() {
        let check = |changed: &str, findings: &str, notices, done, left| {
            let mut account = Account::new(Estate::default(), left > 0);
            (account.estate.changes, account.estate.findings) = (names("-a -b"), names("a b"));
            (account.changed, account.findings) = (names(changed), names(findings));
            account.notices = notices;
            let outcomes = json!({"done": done, "failed": 0, "left": left});
            let report = json!({"considered": 0, "outcomes": outcomes});
            account.check(&report).is_ok()
        };
        assert!(check("-b -a", "a b", 1, 2, 0));
        assert!(check("-b", "b", 1, 1, 1), "left");
        for wrong in ["-b", "-a -a -b", "-a -b -c"] {
            assert!(!check(wrong, "a b", 1, 2, 0), "{wrong}");
            assert!(!check("-a -b", &wrong.replace('-', ""), 1, 2, 0), "{wrong}");
        }
        assert!(!check("-a -b", "a b", 2, 2, 0), "two notices");
        assert!(!check("-a -b", "a b", 1, 1, 0), "a wrong report");
        assert!(!check("-c", "b", 1, 1, 1), "left, and another done");
    }

    #[test]
    fn a_bucket_empties_and_refills_at_its_rate() {
        let mut buckets = Buckets::default();
        let start = Instant::now();
        let mut taken = |version: &str, action: &str, at| {
            let call = format!("Version={version}&Action={action}");
            let call = Call::read(None, call.as_bytes());
            let all = (0..200).map(|_| buckets.refuse(&call, at));
            all.filter(Option::is_none).count()
        };
        let (ec2, autoscaling) = ("2016-11-15", "2011-01-01");
        assert_eq!(taken(ec2, "CreateSnapshots", start), 100);
        assert_eq!(taken(ec2, "DescribeVolumes", start), 100, "its own");
        assert_eq!(taken(autoscaling, "CreateOrUpdateTags", start), 100);
        assert_eq!(taken(autoscaling, "EnterStandby", start), 0, "one for all");
        let later = start + Duration::from_secs(2);
        assert_eq!(taken(ec2, "CreateSnapshots", later), 10);
        let mut lookup = || {
            let call = Call::read(Some("CloudTrail_20131101.LookupEvents"), b"{}");
            buckets.refuse(&call, start).is_none()
        };
        assert_eq!([lookup(), lookup(), lookup()], [true, true, false]);
    }
}
