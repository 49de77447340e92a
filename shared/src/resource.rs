//! What a guardrail speaks of, and ARNs: the one place that writes and reads each form.

use std::fmt;

use serde::{Serialize, Serializer};

/// A resource. Written as its id (`vol-0a1b`), or as `type/name` where names are free text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Resource {
    /// An EBS volume, by id.
    Volume(String),
    /// An EBS snapshot, by id.
    Snapshot(String),
    /// An EC2 instance, by id.
    Instance(String),
    /// An AMI, by id.
    Image(String),
    /// An Auto Scaling group, by name.
    Group(String),
    /// An SSM parameter, by name or, of another account, by ARN.
    Parameter(String),
    /// A `CloudWatch` alarm, by name.
    Alarm(String),
    /// The account in this Region as a whole.
    Account,
}

const GROUP: &str = "auto-scaling-group";
const PARAMETER: &str = "parameter";
const ALARM: &str = "alarm";
const ACCOUNT: &str = "account";

impl Resource {
    /// Reads what [`fmt::Display`] writes. None where it is nothing of this.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        if text == ACCOUNT {
            return Some(Self::Account);
        }
        if let Some((kind, name)) = text.split_once('/') {
            let name = name.to_owned();
            return match kind {
                GROUP => Some(Self::Group(name)),
                PARAMETER => Some(Self::Parameter(name)),
                ALARM => Some(Self::Alarm(name)),
                _ => None,
            };
        }
        let id = text.to_owned();
        match text.split_once('-')?.0 {
            "vol" => Some(Self::Volume(id)),
            "snap" => Some(Self::Snapshot(id)),
            "i" => Some(Self::Instance(id)),
            "ami" => Some(Self::Image(id)),
            _ => None,
        }
    }

    /// An Auto Scaling group.
    pub fn group(name: impl Into<String>) -> Self {
        Self::Group(name.into())
    }

    /// An instance.
    pub fn instance(id: impl Into<String>) -> Self {
        Self::Instance(id.into())
    }

    /// A volume.
    pub fn volume(id: impl Into<String>) -> Self {
        Self::Volume(id.into())
    }

    /// Its id, or its name without its type.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Volume(name)
            | Self::Snapshot(name)
            | Self::Instance(name)
            | Self::Image(name)
            | Self::Group(name)
            | Self::Parameter(name)
            | Self::Alarm(name) => name,
            Self::Account => ACCOUNT,
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Group(name) => write!(f, "{GROUP}/{name}"),
            Self::Parameter(name) => write!(f, "{PARAMETER}/{name}"),
            Self::Alarm(name) => write!(f, "{ALARM}/{name}"),
            other => f.write_str(other.name()),
        }
    }
}

impl Serialize for Resource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// An Amazon Resource Name, taken apart: `arn:PARTITION:SERVICE:REGION:ACCOUNT:RESOURCE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arn<'a> {
    /// `aws`, `aws-cn`, `aws-us-gov`, `aws-eusc`.
    pub partition: &'a str,
    /// `iam`, `ec2` and the like.
    pub service: &'a str,
    /// The Region; empty for global services.
    pub region: &'a str,
    /// The account; empty where there is none.
    pub account: &'a str,
    /// All that follows: `instance/i-0a1b`, `function:name:alias`.
    pub resource: &'a str,
}

impl<'a> Arn<'a> {
    /// Reads an ARN; none where it isn't one.
    #[must_use]
    pub fn read(text: &'a str) -> Option<Self> {
        let mut parts = text.splitn(6, ':');
        let mut next = || parts.next();
        if next()? != "arn" {
            return None;
        }
        Some(Self {
            partition: next().filter(|partition| !partition.is_empty())?,
            service: next().filter(|service| !service.is_empty())?,
            region: next()?,
            account: next()?,
            resource: next().filter(|resource| !resource.is_empty())?,
        })
    }

    /// What follows the last `/` of the resource: a role's or profile's name without its path, an
    /// instance's id. Events write snapshot ARNs in two layouts (EBS-10), and this is the same in
    /// both.
    #[must_use]
    pub fn name(&self) -> &'a str {
        self.resource.rsplit('/').next().unwrap_or(self.resource)
    }
}

/// The name in an ARN (see [`Arn::name`]), or `text` itself where it is none.
#[must_use]
pub fn name_of(text: &str) -> &str {
    Arn::read(text).map_or(text, |arn| arn.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for text in [
            "vol-1",
            "snap-1",
            "i-0abc",
            "ami-1",
            "auto-scaling-group/web/blue #1",
            "parameter//ec2-guardrails/policy",
            "alarm/errors",
            "account",
        ] {
            assert_eq!(Resource::read(text).unwrap().to_string(), text);
        }
        for text in ["", "web", "topic/x", "eni", "sg-1"] {
            assert_eq!(Resource::read(text), None, "{text}");
        }
        assert_eq!(Resource::group("a/b").name(), "a/b");
    }

    #[test]
    fn an_arn_is_taken_apart() {
        let arn = Arn::read("arn:aws-us-gov:iam::123456789012:instance-profile/a/b").unwrap();
        assert_eq!(
            (arn.partition, arn.service, arn.region, arn.account),
            ("aws-us-gov", "iam", "", "123456789012")
        );
        assert_eq!((arn.resource, arn.name()), ("instance-profile/a/b", "b"));
        let function = Arn::read("arn:aws:lambda:r:1:function:f:live").unwrap();
        assert_eq!(function.resource, "function:f:live");
        for text in ["", "i-1", "arn:aws", "arn:aws:ec2:r:1:", "arn::ec2:r:1:x"] {
            assert_eq!(Arn::read(text), None, "{text}");
        }
    }

    #[test]
    fn both_layouts_of_events_give_the_id() {
        assert_eq!(name_of("arn:aws:ec2:eu-west-1::snapshot/snap-1"), "snap-1");
        assert_eq!(name_of("arn:aws:ec2::eu-west-1:snapshot/snap-1"), "snap-1");
        assert_eq!(name_of("snap-1"), "snap-1");
    }
}
