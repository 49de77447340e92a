//! Where a function runs, and the console's pages of what is there.

use jiff::Timestamp;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::resource::{Arn, Resource};

/// The alias through which a function takes commands. It has no permission of its own, so that
/// EventBridge can't invoke it, whoever may write rules.
pub const OPERATOR: &str = "operator";

/// Where a function runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// `aws`, `aws-cn`, `aws-us-gov`, `aws-eusc` (PRT-1).
    pub(crate) partition: String,
    pub(crate) region: String,
    pub(crate) account: String,
    /// The function's name.
    pub(crate) function: String,
    /// The log group that it writes to.
    pub(crate) log_group: String,
}

impl Place {
    /// Reads a function's ARN: `arn:PARTITION:lambda:REGION:ACCOUNT:function:NAME`; its log group is
    /// the one that Lambda gives to it.
    pub(crate) fn of_function(arn: &str) -> Self {
        let arn = Arn::read(arn);
        let known = |part: Option<&str>| {
            let part = part.filter(|part| !part.is_empty());
            part.unwrap_or("unknown").to_owned()
        };
        let function = known(arn.and_then(|arn| arn.resource.split(':').nth(1)));
        Self {
            partition: known(arn.map(|arn| arn.partition)),
            region: known(arn.map(|arn| arn.region)),
            account: known(arn.map(|arn| arn.account)),
            log_group: format!("/aws/lambda/{function}"),
            function,
        }
    }

    /// The console's page of a resource.
    pub(super) fn console(&self, resource: &Resource) -> Option<String> {
        let page = match resource {
            Resource::Volume(id) => format!("VolumeDetails:volumeId={id}"),
            Resource::Snapshot(id) => format!("SnapshotDetails:snapshotId={id}"),
            Resource::Instance(id) => format!("InstanceDetails:instanceId={id}"),
            Resource::Image(id) => format!("ImageDetails:imageId={id}"),
            Resource::Group(name) => {
                format!("AutoScalingGroupDetails:id={}", percent_encoded(name))
            }
            Resource::Parameter(name) => return self.parameter_page(name),
            Resource::Alarm(_) | Resource::Account => return None,
        };
        Some(self.ec2_page(&page))
    }

    /// The log, searched for `words` from `since` on.
    pub(super) fn log_page(&self, words: &str, since: Timestamp) -> String {
        // What stands behind the `#` is encoded twice, with a dollar for the percent sign.
        let twice = |text: &str| percent_encoded(&percent_encoded(text)).replace('%', "$");
        let (domain, region) = (self.domain(), &self.region);
        format!(
            "https://{region}.{domain}/cloudwatch/home?region={region}#logsV2:log-groups/log-group/{}/log-events$3Fstart$3D{}$26filterPattern$3D{}",
            twice(&self.log_group),
            since.as_millisecond(),
            twice(&format!("\"{words}\"")),
        )
    }

    fn ec2_page(&self, page: &str) -> String {
        let (domain, region) = (self.domain(), &self.region);
        format!("https://{region}.{domain}/ec2/home?region={region}#{page}")
    }

    /// None of a parameter that another account shares: the console shows it there.
    fn parameter_page(&self, name: &str) -> Option<String> {
        if Arn::read(name).is_some() {
            return None;
        }
        let (domain, region) = (self.domain(), &self.region);
        // Encoded twice, since the console decodes the path before it looks for the name's slashes.
        let name = percent_encoded(&percent_encoded(name));
        Some(format!(
            "https://{region}.{domain}/systems-manager/parameters/{name}/description?region={region}"
        ))
    }

    fn domain(&self) -> &'static str {
        match self.partition.as_str() {
            "aws-cn" => "console.amazonaws.cn",
            "aws-us-gov" => "console.amazonaws-us-gov.com",
            "aws-eusc" => "console.amazonaws-eusc.eu",
            _ => "console.aws.amazon.com",
        }
    }
}

/// `text` as it may stand in a part of a URL: an Auto Scaling group's name may hold spaces, `#`, `/`
/// and much else.
fn percent_encoded(text: &str) -> String {
    /// All but RFC 3986's unreserved characters.
    const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'.')
        .remove(b'_')
        .remove(b'~');
    utf8_percent_encode(text, RESERVED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: &str = "https://eu-central-1.console.aws.amazon.com/";

    fn place() -> Place {
        Place::of_function("arn:aws:lambda:eu-central-1:123456789012:function:f:live")
    }

    #[test]
    fn reads_a_functions_arn_with_or_without_its_version() {
        let one = place();
        assert_eq!(
            [&one.partition, &one.region, &one.account, &one.function],
            ["aws", "eu-central-1", "123456789012", "f"]
        );
    }

    #[test]
    fn each_kind_of_resource_has_its_page() {
        for (resource, page) in [
            ("vol-1", "VolumeDetails:volumeId=vol-1"),
            ("snap-1", "SnapshotDetails:snapshotId=snap-1"),
            ("i-1", "InstanceDetails:instanceId=i-1"),
            ("ami-1", "ImageDetails:imageId=ami-1"),
            (
                "auto-scaling-group/web/blue #1 é",
                "AutoScalingGroupDetails:id=web%2Fblue%20%231%20%C3%A9",
            ),
        ] {
            let expected = format!("{HOME}ec2/home?region=eu-central-1#{page}");
            let resource = Resource::read(resource).unwrap();
            assert_eq!(place().console(&resource), Some(expected), "{resource}");
        }
        let page = "systems-manager/parameters/%252Fec2-guardrails%252Fpolicy/description?region=eu-central-1";
        let own = Resource::Parameter("/ec2-guardrails/policy".to_owned());
        assert_eq!(place().console(&own), Some(format!("{HOME}{page}")));
        let shared = "arn:aws:ssm:eu-central-1:1:parameter/p".to_owned();
        for none in [Resource::Account, Resource::Parameter(shared)] {
            assert_eq!(place().console(&none), None, "{none}");
        }
    }

    #[test]
    fn console_links_follow_the_partition() {
        for (partition, region, domain) in [
            ("aws-us-gov", "us-gov-west-1", "amazonaws-us-gov.com"),
            ("aws-cn", "cn-north-1", "amazonaws.cn"),
            ("aws-eusc", "eusc-de-east-1", "amazonaws-eusc.eu"),
        ] {
            let place =
                Place::of_function(&format!("arn:{partition}:lambda:{region}:1:function:f"));
            let page = format!(
                "https://{region}.console.{domain}/ec2/home?region={region}#InstanceDetails:instanceId=i-1"
            );
            assert_eq!(place.console(&Resource::instance("i-1")), Some(page));
        }
    }

    #[test]
    fn the_log_is_searched_for_the_run() {
        let since = Timestamp::from_millisecond(1_700_000_000_000).unwrap();
        assert_eq!(
            place().log_page("0a-1b", since),
            format!(
                "{HOME}cloudwatch/home?region=eu-central-1#logsV2:log-groups/log-group/$252Faws$252Flambda$252Ff/log-events$3Fstart$3D1700000000000$26filterPattern$3D$25220a-1b$2522"
            )
        );
    }
}
