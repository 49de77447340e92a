use super::*;

/// AWS's own words, as its documents and public reports have them.
#[test]
fn whose_fault_a_failed_launch_is() {
    for (expected, messages) in [
        (
            Fault::Permanent,
            &[
                "The security group 'sg-0a1b2c3d' does not exist. Launching EC2 instance failed.",
                "The security group <name of the security group> does not exist. Launching EC2 instance failed.",
                "The key pair <key pair associated with your EC2 instance> does not exist. Launching EC2 instance failed.",
                "The key pair 'web' does not exist. Launching EC2 instance failed.",
                "The image id '[ami-0123456789abcdef0]' does not exist. Launching EC2 instance failed.",
                "The AMI ID <ID of your AMI> does not exist. Launching EC2 instance failed.",
                "Not authorized for images: [ami-0123456789abcdef0]. Launching EC2 instance failed.",
                "Invalid device name upload. Launching EC2 instance failed.",
                "Value (<name associated with the instance storage device>) for parameter virtualName is invalid. Launching EC2 instance failed.",
                "EBS block device mappings not supported for instance-store AMIs.",
                "Volume of size 8GB is smaller than snapshot 'snap-1', expect size >= 30GB. Launching EC2 instance failed.",
                "The requested configuration is currently not supported. Please check the documentation for supported configurations. Launching EC2 instance failed.",
                "The requested instance type's architecture (i386) does not match the architecture in the manifest for ami-6622f00f (x86_64). Launching EC2 instance failed.",
                "Placement groups may not be used with instances of type 'm1.large'. Launching EC2 instance failed.",
                "You are not authorized to perform this operation. Encoded authorization failure message: AbC. Launching EC2 instance failed.",
                // The code behind the wrapper.
                "Could not launch Spot Instances. InvalidParameterCombination - The specified instance type is not eligible for Free Tier. For a list of Free Tier instance types, run 'describe-instance-types' with the filter 'free-tier-eligible=true'. Launching EC2 instance failed.",
                "Could not launch Spot Instances. InvalidParameterCombination - You can't launch instances that are not VPC. Launching EC2 instance failed.",
                "Instance became unhealthy while waiting for instance to be in InService state. Termination Reason: Client.InvalidKMSKey.InvalidState: The KMS key provided is in an incorrect state",
                "One or more target groups not found. Validating load balancer configuration failed.",
                "Cannot find Load Balancer web. Validating load balancer configuration failed.",
                "EC2 instance i-0123456789abcdef0 is not in VPC. Updating load balancer configuration failed.",
                "Security group sg-0a1b2c3d and subnet subnet-0a1b2c3d belong to different networks. Launching EC2 instance failed.",
                "The security group 'sg-3d7bcc4d' does not exist in VPC 'vpc-be5433da'. Launching EC2 instance failed.",
                "Enhanced networking with the Elastic Network Adapter (ENA) is required for the 'm6i.large' instance type. Ensure that you are using an AMI that is enabled for ENA. Launching EC2 instance failed.",
                "Non-Windows instances with a virtualization type of 'hvm' are currently not supported for this instance type. Launching EC2 instance failed.",
                "In order to use this AWS Marketplace product you need to accept terms and subscribe. To do so please visit https://aws.amazon.com/marketplace/pp?sku=abc. Launching EC2 instance failed.",
                "snapshotId can only be modified on EBS devices. Launching EC2 instance failed.",
                "A network interface may not specify both a network interface ID and a subnet. Launching EC2 instance failed.",
            ][..],
        ),
        (
            Fault::Zone,
            &[
                "Your requested instance type (m9.large) is not supported in your requested Availability Zone (us-east-1e). Launching EC2 instance failed.",
                "The placement_group00 Placement Group has already been used in another Availability Zone. Specify the correct Availability Zone and try again. Launching EC2 instance failed.",
                "Could not launch On-Demand Instances. Unsupported - Your requested instance type (m9.large) is not supported in your requested Availability Zone (us-east-1e). Please retry your request by not specifying an Availability Zone or choosing us-east-1a. Launching EC2 instance failed.",
            ][..],
        ),
        (
            Fault::Capacity,
            &[
                "We currently do not have sufficient m5.large capacity in the Availability Zone you requested (us-east-1a). Our system will be working on provisioning additional capacity. Launching EC2 instance failed.",
                "There is no Spot capacity available that matches your request. Launching EC2 instance failed.",
                "Could not launch Spot Instances. UnfulfillableCapacity - Unable to fulfill capacity due to your request configuration. Launching EC2 instance failed.",
                "Your Spot request price of 0.015 is lower than the minimum required Spot request fulfillment price of 0.0735. Launching EC2 instance failed.",
                "You have requested more vCPU capacity than your current vCPU limit of 32 allows for the instance bucket that the specified instance type belongs to. Launching EC2 instance failed.",
                "5 instance(s) are already running. Launching EC2 instance failed.",
                "InsufficientFreeAddressesInSubnet - There are not enough free addresses in subnet 'subnet-1' to satisfy the requested number of instances.",
                "The requested reservation does not have sufficient compatible and available capacity for this request. Launching EC2 instance failed.",
                "Instance became unhealthy while waiting for instance to be in InService state. Termination Reason: Server.SpotInstanceTermination: Spot instance termination",
                "You have requested more instances (2) than your current instance limit of 1 allows for the specified instance type. Please visit http://aws.amazon.com/contact-us/ec2-request to request an adjustment to this limit. Launching EC2 instance failed.",
                "You've reached your quota for maximum Fleet Requests for this account. Launching EC2 instance failed.",
                "Max spot instance count exceeded. Launching EC2 instance failed.",
                "Could not launch Spot Instances. MaxSpotInstanceCountExceeded - Max spot instance count exceeded. Launching EC2 instance failed.",
                "Could not launch On-Demand Instances. VcpuLimitExceeded - You have requested more vCPU capacity than your current vCPU limit of 0 allows for the instance bucket that the specified instance type belongs to. Launching EC2 instance failed.",
                "Instance became unhealthy while waiting for instance to be in InService state. Termination Reason: Client.VolumeLimitExceeded: Volume limit exceeded",
                "Your Capacity Block reservation cr-0123456789abcdef0 is not active yet. Launching EC2 instance failed.",
                "Could not launch On-Demand Instances. InsufficientInstanceCapacity - We currently do not have sufficient p3dn.24xlarge capacity in the Availability Zone you requested (us-west-2c). Our system will be working on provisioning additional capacity. Launching EC2 instance failed.",
            ][..],
        ),
        (
            Fault::Outside,
            &[
                "Instance became unhealthy while waiting for instance to be in InService state. Termination Reason: Client.UserInitiatedShutdown: User initiated shutdown",
                "AMI ami-0123456789abcdef0 is pending, and cannot be run. Launching EC2 instance failed.",
                // Accounts that are not ready.
                "Authentication Failure. Launching EC2 instance failed.",
                "Access denied when attempting to assume role arn:aws:iam::123456789012:role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling. Validating load balancer configuration failed.",
                "Your request for accessing resources in this region is being validated, and you will not be able to launch additional resources in this region until the validation is complete. Launching EC2 instance failed.",
                "This account is currently blocked and not recognized as a valid account. Please contact aws-verification@amazon.com if you have questions. Launching EC2 instance failed.",
                "Instance became unhealthy while waiting for instance to be in InService state. Termination Reason: Server.InternalError: Internal error on launch",
            ][..],
        ),
        (
            Fault::Other,
            &[
                "Instance became unhealthy while waiting for instance to be in InService state. Termination Reason: Client.InstanceInitiatedShutdown: Instance initiated shutdown",
                "Instance became unhealthy while waiting for instance to be in InService state. Termination Reason: Client.InternalError: Client error on launch",
                "Instance failed to complete user's Lifecycle Action: Lifecycle Action with token b1ed9e5f-0000-4c4f-9a77-0123456789ab was abandoned: Heartbeat Timeout",
                "something that nobody has seen before",
                "",
            ][..],
        ),
    ] {
        for message in messages {
            assert_eq!(fault(message), expected, "{message}");
        }
    }
}

#[test]
fn why_a_member_was_terminated() {
    for (expected, responses) in [
        (
            Why::Unhealthy,
            &[
                "an ELB system health check failure.",
                "an EC2 instance status checks failure.",
                "a system health-check.",
                "a user health-check.",
                "an EBS volume health check failure.",
                "an EBS volume health check.",
            ][..],
        ),
        (
            Why::FoundGone,
            &[
                "an EC2 health check indicating it has been terminated or stopped.",
                "an EC2 health check that indicated it had been terminated or stopped.",
            ][..],
        ),
        (
            Why::Other,
            &[
                "an EC2 scheduled reboot.",
                "an instance refresh.  At 2026-11-21T09:00:00Z instance i-0002075bea40ce1c8 was selected for termination.",
                "an EC2 Spot Instance interruption notice.",
                "an EC2 instance rebalance recommendation.",
                "instance maximum lifetime.",
            ][..],
        ),
    ] {
        for response in responses {
            let cause = format!(
                "At 2026-11-21T09:00:00Z an instance was taken out of service in response to {response}"
            );
            assert_eq!(why(&cause), expected, "{response}");
        }
    }
    for other in [
        "At 2026-11-21T09:00:00Z a user request update of AutoScalingGroup constraints to min: 3, max: 1000, desired: 3 changing the desired capacity from 4 to 3.  At 2026-11-21T09:00:10Z an instance was taken out of service in response to a difference between desired and actual capacity, shrinking the capacity from 4 to 3.  At 2026-11-21T09:00:11Z instance i-02ce4f07da10a5333 was selected for termination.",
        "At 2026-11-21T09:00:00Z instance i-bdae7a84 was taken out of service in response to a user request, shrinking the capacity from 1 to 0.",
        "somebody's new words about a health check",
        "",
    ] {
        assert_eq!(why(other), Why::Other, "{other}");
    }
}

#[test]
fn an_instance_found_gone_failed_only_where_ec2_says_so() {
    for (reason, expected) in [
        (Some("Client.InstanceInitiatedShutdown"), true),
        (Some("Client.InternalError"), true),
        (Some("Client.UserInitiatedShutdown"), false),
        (Some("Server.SpotInstanceTermination"), false),
        (Some("Server.InternalError"), false),
        (Some("Client.InvalidKMSKey.InvalidState"), true),
        (Some("Client.VolumeLimitExceeded"), false),
        (None, false),
    ] {
        assert_eq!(failed_by_itself(reason), expected, "{reason:?}");
    }
}

/// A code is a word of its own: the words around it may hold others.
#[test]
fn a_code_is_read_where_aws_writes_one() {
    for (text, expected) in [
        (
            "VcpuLimitExceeded - You have requested more",
            Some("VcpuLimitExceeded"),
        ),
        (
            "Could not launch Spot Instances. UnfulfillableCapacity – Unable to",
            Some("UnfulfillableCapacity"),
        ),
        (
            "Could not launch Spot Instances. MaxSpotInstanceCountExceeded",
            Some("MaxSpotInstanceCountExceeded"),
        ),
        (
            "Client.InternalError: Client error on launch",
            Some("Client.InternalError"),
        ),
        (
            "… Termination Reason: Client.InvalidKMSKey.InvalidState: The KMS key",
            Some("Client.InvalidKMSKey.InvalidState"),
        ),
        ("Blocked: This account is blocked", Some("Blocked")),
        ("We currently do not have sufficient capacity", None),
        (
            "Authentication Failure. Launching EC2 instance failed.",
            None,
        ),
        ("AMI ami-1 is pending", None),
        ("", None),
    ] {
        assert_eq!(code(text), expected, "{text}");
    }
}

/// Whoever changes a table can look up what it rests on.
#[test]
fn each_entry_names_where_its_words_stand() {
    fn check<T>(table: &[Entry<T>], lower: bool) {
        for (n, entry) in table.iter().enumerate() {
            let Entry {
                pattern, source, ..
            } = entry;
            let known = ["docs.aws.amazon.com/", "repost.aws/", "github.com/"];
            assert!(
                known.iter().any(|host| source.starts_with(host)),
                "{pattern}: {source}"
            );
            assert!(
                !source.contains(' ') || source.starts_with("github.com/"),
                "{pattern}: {source}"
            );
            assert!(!pattern.trim_matches('*').is_empty());
            assert!(!lower || *pattern == pattern.to_lowercase(), "{pattern}");
            let twice = table[n + 1..].iter().any(|other| other.pattern == *pattern);
            assert!(!twice, "{pattern} stands twice");
        }
    }
    check(CODES, false);
    check(VAGUE_CODES, false);
    check(TEXTS, true);
    check(CAUSES, true);
    check(FAILED_INSTANCE, true);
}

/// An entry that an earlier one always hides says nothing.
#[test]
fn no_entry_is_hidden_by_one_before_it() {
    for (n, entry) in TEXTS.iter().enumerate() {
        let text = entry.pattern.replace('*', " … ");
        let mut entries = TEXTS.iter();
        let first = entries.position(|other| holds(&text, other.pattern));
        let first = first.unwrap();
        assert!(
            first == n || TEXTS[first].means == entry.means,
            "{} is hidden by {}",
            entry.pattern,
            TEXTS[first].pattern
        );
    }
}

#[test]
fn the_same_words_of_another_instance_are_the_same() {
    let abandoned = |token: &str| {
        same_words(&format!(
            "Lifecycle Action with token {token} was abandoned: Heartbeat Timeout"
        ))
    };
    assert_eq!(
        abandoned("b1ed9e5f-0000-4c4f-9a77-0123456789ab"),
        abandoned("c1ed9e5f-1111-4c4f-9a77-0123456789ab")
    );
    // Another image is another cause.
    assert_ne!(
        same_words("The image id '[ami-1]' does not exist."),
        same_words("The image id '[ami-2]' does not exist.")
    );
    let encoded = "You are not authorized. Encoded authorization failure message: ";
    assert_eq!(
        same_words(&format!("{encoded}AbC")),
        same_words(&format!("{encoded}dEf"))
    );
}
