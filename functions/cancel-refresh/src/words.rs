//! What AWS's words mean: whose fault a failed launch is, and why an instance was terminated.
//!
//! The texts have no contract (ASG-5). AWS's *code* decides where a text holds one, its words only
//! after that; what no table knows is an ordinary failure, and never an unhealthy instance. The
//! tables are data, each entry with where the words stand: a page of AWS, or a public report.

use serde::Serialize;

/// Whose fault a failed launch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// The release's, every time until somebody changes something: a missing security group or key,
    /// a bad AMI or device mapping, an unsupported type.
    Permanent,
    /// A zone doesn't have what the release asks for: the release's only if every zone says so.
    Zone,
    /// AWS had nothing to give, or the account's limits let it give nothing (ASG-8).
    Capacity,
    /// Somebody or something outside of the release: a person, AWS's own faults, an account that is
    /// not ready yet.
    Outside,
    /// Nothing that a table knows: it counts, but more of it is needed.
    Other,
}

/// Why a member was terminated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Why {
    /// It failed a health check.
    Unhealthy,
    /// It was found stopped or terminated: whether by itself, only EC2 tells.
    FoundGone,
    /// Spot, scale-in, a person, the refresh itself, or anything else.
    Other,
}

/// Words, and what they mean.
pub(crate) struct Entry<T> {
    /// A code; or lower-case pieces of a text between `*`, in this order.
    pub(crate) pattern: &'static str,
    pub(crate) means: T,
    /// Where the words stand.
    #[cfg_attr(not(test), expect(dead_code, reason = "for readers, and for the test"))]
    pub(crate) source: &'static str,
}

const fn entry<T>(pattern: &'static str, means: T, source: &'static str) -> Entry<T> {
    Entry {
        pattern,
        means,
        source,
    }
}

/// "Error codes for the Amazon EC2 API".
const ERRORS: &str = "docs.aws.amazon.com/ec2/latest/devguide/errors-overview.html";
/// "Troubleshoot instance launch issues", and `StateReason` in the API reference.
const REASONS: &str = "docs.aws.amazon.com/AWSEC2/latest/APIReference/API_StateReason.html";
/// "Troubleshoot Amazon EC2 Auto Scaling: EC2 instance launch failures".
const LAUNCH: &str =
    "docs.aws.amazon.com/autoscaling/ec2/userguide/ts-as-instancelaunchfailure.html";
/// "Troubleshoot Amazon EC2 Auto Scaling: AMI issues".
const AMI: &str = "docs.aws.amazon.com/autoscaling/ec2/userguide/ts-as-ami.html";
/// "Troubleshoot Amazon EC2 Auto Scaling: Load balancer issues".
const BALANCER: &str = "docs.aws.amazon.com/autoscaling/ec2/userguide/ts-as-loadbalancer.html";
/// "Troubleshoot Amazon EC2 Auto Scaling: Health checks".
const HEALTH: &str = "docs.aws.amazon.com/autoscaling/ec2/userguide/ts-as-healthchecks.html";
/// "Why did Amazon EC2 Auto Scaling terminate an instance?"
const TERMINATED: &str = "repost.aws/knowledge-center/auto-scaling-instance-how-terminated";
/// "Spot request status" in the EC2 user guide.
const SPOT: &str = "docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-request-status.html";
/// "Scaling activities" in the EC2 Auto Scaling user guide, and the API reference's examples.
const ACTIVITIES: &str =
    "docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-verify-scaling-activity.html";

use Fault::{Capacity, Outside, Permanent, Zone};

/// Codes that decide whatever the words beside them; a `*` at the end stands for anything.
#[rustfmt::skip] // One row a line.
pub(crate) const CODES: &[Entry<Fault>] = &[
    entry("InsufficientInstanceCapacity", Capacity, ERRORS),
    entry("InsufficientHostCapacity", Capacity, ERRORS),
    entry("InsufficientReservedInstanceCapacity", Capacity, ERRORS),
    entry("InsufficientCapacity*", Capacity, ERRORS),
    entry("InsufficientAddressCapacity", Capacity, ERRORS),
    entry("InsufficientFreeAddressesInSubnet", Capacity, ERRORS),
    entry("InsufficientVolumeCapacity", Capacity, ERRORS),
    entry("ReservationCapacityExceeded", Capacity, ERRORS),
    entry("UnfulfillableCapacity", Capacity, "github.com/aws/karpenter-provider-aws (pkg/errors)"),
    entry("SpotMaxPriceTooLow", Capacity, ERRORS),
    entry("SpotInstanceTermination", Capacity, REASONS),
    entry("SpotInstanceShutdown", Capacity, REASONS),
    entry("SpotInterruption*", Capacity, SPOT),
    entry("RequestLimitExceeded", Capacity, ERRORS),
    entry("Throttling*", Capacity, ERRORS),
    entry("ThrottledException", Capacity, ERRORS),
    // Limits of the account: VcpuLimitExceeded, InstanceLimitExceeded, VolumeLimitExceeded,
    // AddressLimitExceeded, NetworkInterfaceLimitExceeded, MaxIOPSLimitExceeded …
    entry("*LimitExceeded", Capacity, ERRORS),
    entry("*CountExceeded", Capacity, ERRORS),
    entry("*QuotaExceeded*", Capacity, ERRORS),
    entry("ResourceCountExceeded", Capacity, ERRORS),
    entry("Blocked", Outside, ERRORS),
    entry("PendingVerification", Outside, ERRORS),
    entry("UserInitiatedShutdown", Outside, REASONS),
    entry("UserInitiatedHibernate", Outside, REASONS),
    entry("ScheduledStop", Outside, REASONS),
    entry("Server.InternalError", Outside, REASONS),
    entry("InternalFailure", Outside, ERRORS),
    entry("ServiceUnavailable", Outside, ERRORS),
    entry("Unavailable", Outside, ERRORS),
    entry("InvalidKMSKey*", Permanent, "github.com/hashicorp/terraform-provider-aws/issues/39904"),
    entry("InvalidAMIID.NotFound", Permanent, ERRORS),
    entry("InvalidAMIID.Malformed", Permanent, ERRORS),
    entry("InvalidBlockDeviceMapping", Permanent, ERRORS),
    entry("InvalidDevice*", Permanent, ERRORS),
    entry("InvalidGroup*", Permanent, ERRORS),
    entry("InvalidSecurityGroup*", Permanent, ERRORS),
    entry("InvalidSecurity.*", Permanent, ERRORS),
    entry("InvalidKeyPair*", Permanent, ERRORS),
    entry("InvalidKey.*", Permanent, ERRORS),
    entry("InvalidLaunchTemplate*", Permanent, ERRORS),
    entry("InvalidNetworkInterface*", Permanent, ERRORS),
    entry("InvalidParameterCombination", Permanent, ERRORS),
    entry("InvalidParameterDependency", Permanent, ERRORS),
    entry("InvalidParameterValue", Permanent, ERRORS),
    entry("InvalidParameter", Permanent, ERRORS),
    entry("InvalidPlacementGroup*", Permanent, ERRORS),
    entry("InvalidSnapshot*", Permanent, ERRORS),
    entry("InvalidSubnet*", Permanent, ERRORS),
    entry("InvalidUserData*", Permanent, ERRORS),
    entry("InvalidVolume*", Permanent, ERRORS),
    entry("InvalidHost*", Permanent, ERRORS),
    entry("InvalidCapacityReservationId*", Permanent, ERRORS),
    entry("InvalidIamInstanceProfile*", Permanent, ERRORS),
    entry("InvalidTenancy", Permanent, ERRORS),
    entry("MissingParameter", Permanent, ERRORS),
    entry("UnauthorizedOperation", Permanent, ERRORS),
    entry("UnsupportedOperation", Permanent, ERRORS),
    entry("VPCIdNotSpecified", Permanent, ERRORS),
];

/// Codes that say too little: only where the words say nothing either.
#[rustfmt::skip] // One row a line.
pub(crate) const VAGUE_CODES: &[Entry<Fault>] = &[
    entry("Unsupported*", Permanent, ERRORS),
    entry("InvalidAMIID*", Permanent, ERRORS),
    entry("OptInRequired", Permanent, ERRORS),
    entry("AuthFailure*", Outside, ERRORS),
    entry("InternalError", Fault::Other, REASONS),
    entry("IncorrectState", Fault::Other, ERRORS),
];

/// The first that fits holds.
#[rustfmt::skip] // One row a line.
pub(crate) const TEXTS: &[Entry<Fault>] = &[
    // Not ready yet, or for a moment.
    entry("ami*is pending, and cannot be run", Outside, AMI),
    entry("currently blocked and not recognized as a valid account", Outside, "github.com/thecodeteam/labs/issues/43"),
    entry("account is currently blocked", Outside, "github.com/aws/amazon-sagemaker-examples/issues/1858"),
    entry("account is currently being verified", Outside, "github.com/galaxyproject/cloudlaunch/issues/150"),
    entry("request for accessing resources in this region is being validated", Outside, "github.com/galaxyproject/cloudlaunch/issues/172"),
    entry("account*pending verification", Outside, ERRORS),
    entry("not subscribed to this service", Outside, ERRORS),
    entry("attempting to assume role*awsservicerole", Outside, "docs.aws.amazon.com/autoscaling/ec2/userguide/autoscaling-service-linked-role.html"),
    entry("attempting to assume role*aws-service-role/", Outside, "docs.aws.amazon.com/autoscaling/ec2/userguide/autoscaling-service-linked-role.html"),
    entry("service-linked role*not*exist", Outside, "docs.aws.amazon.com/autoscaling/ec2/userguide/autoscaling-service-linked-role.html"),
    entry("service linked role*not*exist", Outside, "docs.aws.amazon.com/autoscaling/ec2/userguide/autoscaling-service-linked-role.html"),
    entry("authentication failure", Outside, "docs.aws.amazon.com/autoscaling/ec2/userguide/autoscaling-service-linked-role.html"),
    entry("was not able to validate the provided access credentials", Outside, ERRORS),
    entry("internal error on launch", Outside, "github.com/LeanerCloud/AutoSpotting/issues/153"),
    entry("an internal error has occurred", Outside, ERRORS),
    entry("service is unavailable", Outside, ERRORS),
    entry("user initiated shutdown", Outside, REASONS),
    entry("user initiated", Outside, REASONS),
    // Nothing to give.
    entry("do not have sufficient*capacity", Capacity, LAUNCH),
    entry("not have sufficient compatible and available capacity", Capacity, LAUNCH),
    entry("capacity block*is not active yet", Capacity, LAUNCH),
    entry("capacity block*not active", Capacity, LAUNCH),
    entry("no spot capacity available", Capacity, LAUNCH),
    entry("spot request price*is lower than", Capacity, LAUNCH),
    entry("spot*price*lower than", Capacity, SPOT),
    entry("insufficient*capacity", Capacity, ERRORS),
    entry("not enough capacity", Capacity, ERRORS),
    entry("unable to fulfill capacity", Capacity, "github.com/aws/karpenter-provider-aws (pkg/errors)"),
    entry("availability zone is currently constrained", Capacity, "docs.aws.amazon.com/AWSEC2/latest/UserGuide/troubleshooting-launch.html"),
    entry("no longer support*requested availability zone", Capacity, "docs.aws.amazon.com/AWSEC2/latest/UserGuide/troubleshooting-launch.html"),
    entry("spot instance termination", Capacity, REASONS),
    entry("spot instance interruption", Capacity, SPOT),
    entry("instance(s) are already running", Capacity, LAUNCH),
    entry("not enough free addresses in subnet", Capacity, ERRORS),
    entry("insufficient free addresses", Capacity, ERRORS),
    entry("does not have enough free addresses", Capacity, ERRORS),
    // Limits.
    entry("requested more*than your current*limit", Capacity, "github.com/kubernetes/autoscaler/issues/1263"),
    entry("reached your quota", Capacity, "docs.aws.amazon.com/AWSEC2/latest/UserGuide/fleet-quotas.html"),
    entry("exceed*quota", Capacity, ERRORS),
    entry("quota*exceeded", Capacity, ERRORS),
    entry("your quota allows for", Capacity, LAUNCH),
    entry("spot instance count exceeded", Capacity, "github.com/aws-deepracer-community/deepracer-on-the-spot/issues/55"),
    entry("limit exceeded", Capacity, ERRORS),
    entry("exceeded*limit", Capacity, ERRORS),
    entry("exceeds*limit", Capacity, ERRORS),
    entry("exceeded the number of*allowed", Capacity, ERRORS),
    entry("maximum number of*reached", Capacity, ERRORS),
    entry("rate exceeded", Capacity, "repost.aws/knowledge-center/autoscaling-api-calls-throttled"),
    // One zone.
    entry("is not supported in your requested availability zone", Zone, LAUNCH),
    entry("not supported in the requested availability zone", Zone, LAUNCH),
    entry("already been used in another availability zone", Zone, "docs.aws.amazon.com/AWSEC2/latest/UserGuide/placement-groups.html"),
    // Fails every time.
    entry("encoded authorization failure", Permanent, "repost.aws/knowledge-center/ec2-not-auth-launch"),
    entry("not authorized to perform", Permanent, "repost.aws/knowledge-center/ec2-not-auth-launch"),
    entry("not authorized to use", Permanent, "docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-launch-template-permissions.html"),
    entry("not authorized for images", Permanent, AMI),
    entry("kms key*incorrect state", Permanent, "github.com/hashicorp/terraform-provider-aws/issues/39904"),
    entry("inaccessible*kms key", Permanent, "github.com/aws/aws-cdk/issues/34491"),
    entry("kms key*not", Permanent, "docs.aws.amazon.com/autoscaling/ec2/userguide/key-policy-requirements-EBS-encryption.html"),
    entry("target group*not found", Permanent, BALANCER),
    entry("cannot find load balancer", Permanent, BALANCER),
    entry("no active load balancer named", Permanent, BALANCER),
    entry("is not in vpc", Permanent, BALANCER),
    entry("not in the same vpc", Permanent, BALANCER),
    entry("vpc*target group", Permanent, BALANCER),
    entry("in vpc and cannot be attached to a non-vpc load balancer", Permanent, BALANCER),
    entry("security group*does not exist", Permanent, LAUNCH),
    entry("security group*and subnet*different networks", Permanent, ERRORS),
    entry("belong to different networks", Permanent, ERRORS),
    entry("key pair*does not exist", Permanent, LAUNCH),
    entry("subnet*does not exist", Permanent, ERRORS),
    entry("ami id*does not exist", Permanent, AMI),
    entry("image id*does not exist", Permanent, AMI),
    entry("image*is not available", Permanent, ERRORS),
    entry("image*is no longer available", Permanent, ERRORS),
    entry("image*has been deregistered", Permanent, ERRORS),
    entry("ami*is disabled", Permanent, "docs.aws.amazon.com/AWSEC2/latest/UserGuide/disable-an-ami.html"),
    entry("launch template*does not exist", Permanent, ERRORS),
    entry("launch template*not valid", Permanent, ERRORS),
    entry("fully-formed launch template", Permanent, "github.com/spinnaker/spinnaker/issues/6114"),
    entry("invalid iam instance profile", Permanent, "docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_iam-ec2.html"),
    entry("iam instance profile*not", Permanent, "docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_iam-ec2.html"),
    entry("invalid device name", Permanent, LAUNCH),
    entry("block device mapping", Permanent, LAUNCH),
    entry("can only be modified on ebs devices", Permanent, "docs.aws.amazon.com/AWSEC2/latest/UserGuide/block-device-mapping-concepts.html"),
    entry("parameter virtualname is invalid", Permanent, LAUNCH),
    entry("snapshot*does not exist", Permanent, ERRORS),
    entry("smaller than snapshot", Permanent, ERRORS),
    entry("requested configuration is currently not supported", Permanent, LAUNCH),
    entry("requested instance type*is not supported", Permanent, LAUNCH),
    entry("architecture*does not match", Permanent, AMI),
    entry("architecture*not*match", Permanent, AMI),
    entry("invalid value*instancetype", Permanent, ERRORS),
    entry("not supported for instance type", Permanent, ERRORS),
    entry("enhanced networking with the elastic network adapter", Permanent, "docs.aws.amazon.com/AWSEC2/latest/UserGuide/troubleshooting-launch.html"),
    entry("(ena) is required", Permanent, "docs.aws.amazon.com/AWSEC2/latest/UserGuide/enhanced-networking-ena.html"),
    entry("virtualization type", Permanent, AMI),
    entry("boot mode", Permanent, "docs.aws.amazon.com/AWSEC2/latest/UserGuide/ami-boot.html"),
    entry("not eligible for free tier", Permanent, "docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/free-tier.html"),
    entry("not eligible for the free tier", Permanent, "docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/free-tier.html"),
    entry("marketplace product you need to accept terms", Permanent, "repost.aws/knowledge-center/accept-marketplace-terms"),
    entry("accept terms and subscribe", Permanent, "repost.aws/knowledge-center/accept-marketplace-terms"),
    entry("placement groups may not be used", Permanent, LAUNCH),
    entry("placement group*is unknown", Permanent, ERRORS),
    entry("may not specify both a network interface", Permanent, ERRORS),
    entry("network interfaces and an instance-level", Permanent, ERRORS),
    entry("may not be specified", Permanent, ERRORS),
    entry("must be specified", Permanent, ERRORS),
    entry("must contain the parameter", Permanent, ERRORS),
    entry("invalid*volume type", Permanent, ERRORS),
    entry("invalid base64", Permanent, ERRORS),
];

/// Why a member was terminated, by what follows `taken out of service in response to`. The first
/// that fits holds.
#[rustfmt::skip] // One row a line.
pub(crate) const CAUSES: &[Entry<Why>] = &[
    entry("terminated or stopped", Why::FoundGone, HEALTH),
    entry("spot", Why::Other, TERMINATED),
    entry("rebalance", Why::Other, TERMINATED),
    entry("scheduled", Why::Other, HEALTH),
    entry("instance refresh", Why::Other, ACTIVITIES),
    entry("elb system health check failure", Why::Unhealthy, TERMINATED),
    entry("instance status check", Why::Unhealthy, HEALTH),
    entry("ebs volume health check", Why::Unhealthy, "docs.aws.amazon.com/autoscaling/ec2/userguide/monitor-and-replace-instances-with-impaired-ebs-volumes.html"),
    entry("user health-check", Why::Unhealthy, TERMINATED),
    entry("health check", Why::Unhealthy, TERMINATED),
    entry("health-check", Why::Unhealthy, TERMINATED),
    entry("status check", Why::Unhealthy, HEALTH),
    entry("status-check", Why::Unhealthy, HEALTH),
];

/// What says of a cancelled launch that the instance itself failed: its hook was abandoned or ran
/// out of time, or it died before it was in service.
#[rustfmt::skip] // One row a line.
pub(crate) const FAILED_INSTANCE: &[Entry<()>] = &[
    entry("failed to complete user's lifecycle action", (), "docs.aws.amazon.com/autoscaling/ec2/userguide/lifecycle-hooks.html"),
    entry("was abandoned", (), "docs.aws.amazon.com/autoscaling/ec2/userguide/lifecycle-hooks.html"),
    entry("abandon result", (), "docs.aws.amazon.com/autoscaling/ec2/userguide/lifecycle-hooks.html"),
    entry("became unhealthy while waiting for instance to be in inservice", (), "github.com/gruntwork-io/terratest/pull/693"),
];

/// Whose fault a failed launch is, by AWS's words.
pub(crate) fn fault(message: &str) -> Fault {
    let code = code(message);
    let by_code = |table| code.and_then(|code| by_code(table, code));
    by_code(CODES)
        .or_else(|| by_words(TEXTS, message))
        .or_else(|| by_code(VAGUE_CODES))
        .unwrap_or(Fault::Other)
}

/// Whether the words say that the instance itself failed.
pub(crate) fn is_failed_instance(message: &str) -> bool {
    by_words(FAILED_INSTANCE, message).is_some()
}

/// What `… was taken out of service in response to` goes on with.
const IN_RESPONSE: &str = "taken out of service in response to ";

/// Why a member was terminated, by the cause's sentence that says so. The sentences before it tell
/// of what led there (`a user request update of AutoScalingGroup constraints …`).
pub(crate) fn why(cause: &str) -> Why {
    by_words(CAUSES, response(cause)).unwrap_or(Why::Other)
}

/// What the instance was taken out of service in response to; empty, if the cause doesn't say.
pub(crate) fn response(cause: &str) -> &str {
    let Some((_, rest)) = cause.split_once(IN_RESPONSE) else {
        return "";
    };
    let ends = [".  At ", ". At "].into_iter();
    let end = ends.filter_map(|end| rest.find(end)).min();
    end.map_or(rest, |end| &rest[..end])
}

/// Whether an instance that was found stopped or terminated failed by itself, by the code of its
/// state's reason. `Client.UserInitiatedShutdown` is a person, or the group itself.
pub(crate) fn failed_by_itself(reason: Option<&str>) -> bool {
    reason.is_some_and(|code| {
        let fault = by_code(CODES, code).unwrap_or(Fault::Other);
        code.starts_with("Client.") && matches!(fault, Fault::Permanent | Fault::Other)
    })
}

/// A text in which what differs from one launch to the next is left out: instance ids, tokens.
pub(crate) fn same_words(message: &str) -> String {
    let message = message.split("failure message:").next().unwrap_or(message);
    let words = message.split_whitespace().map(|word| {
        let bare = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        let hex = |c: char| c.is_ascii_hexdigit() || c == '-';
        let token = bare.len() >= 32 && bare.chars().all(hex);
        if bare.starts_with("i-") || token {
            "…"
        } else {
            word
        }
    });
    words.collect::<Vec<_>>().join(" ").to_lowercase()
}

/// What stands before AWS's code.
const BEFORE_CODE: &[&str] = &[
    "Termination Reason: ",
    "Could not launch Spot Instances. ",
    "Could not launch On-Demand Instances. ",
];

/// AWS's code in a text: `VcpuLimitExceeded`, `Client.InternalError`.
fn code(message: &str) -> Option<&str> {
    let mut before = BEFORE_CODE.iter();
    let wrapped = before.find_map(|before| message.split_once(before));
    let rest = wrapped.map_or(message, |(_, rest)| rest).trim();
    let of_code = |c: char| c.is_ascii_alphanumeric() || c == '.';
    let end = rest.find(|c| !of_code(c)).unwrap_or(rest.len());
    let (code, next) = rest.split_at(end);
    // `VcpuLimitExceeded - You have …`, `Client.InternalError: Client error …`, or nothing more.
    let mut ends = [":", " -", " –", " —"].iter();
    let alone = next.is_empty() || code.ends_with('.') || ends.any(|end| next.starts_with(*end));
    let code = code.trim_end_matches('.');
    let capitals = code.chars().filter(char::is_ascii_uppercase).count();
    let words = ["Blocked", "Unsupported", "Unavailable"];
    let is_code = code.starts_with(|c: char| c.is_ascii_uppercase())
        && (capitals > 1 || words.contains(&code));
    (alone && is_code).then_some(code)
}

fn by_code<T: Copy>(table: &[Entry<T>], code: &str) -> Option<T> {
    let bare = code.trim_start_matches("Client.");
    let bare = bare.trim_start_matches("Server.");
    let fits = |pattern: &str| {
        let is = |code: &str| match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
            (Some(middle), Some(_)) => code.contains(middle.trim_end_matches('*')),
            (Some(end), None) => code.ends_with(end),
            (None, Some(start)) => code.starts_with(start),
            (None, None) => code == pattern,
        };
        is(code) || is(bare)
    };
    let found = table.iter().find(|entry| fits(entry.pattern));
    found.map(|entry| entry.means)
}

fn by_words<T: Copy>(table: &[Entry<T>], text: &str) -> Option<T> {
    let text = text.to_lowercase();
    let found = table.iter().find(|entry| holds(&text, entry.pattern));
    found.map(|entry| entry.means)
}

/// Whether the pieces of `pattern` stand in `text`, in this order.
fn holds(mut text: &str, pattern: &str) -> bool {
    pattern.split('*').all(|piece| {
        let after = text.split_once(piece).map(|(_, after)| after);
        text = after.unwrap_or_default();
        after.is_some()
    })
}

#[cfg(test)]
mod tests;
