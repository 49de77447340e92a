use super::*;

fn activity(description: &str, status: &str, message: Option<&str>, cause: &str) -> Activity {
    Activity {
        id: "a".to_owned(),
        description: description.to_owned(),
        cause: cause.to_owned(),
        status: status.to_owned(),
        message: message.map(str::to_owned),
        start: "2026-11-21T09:00:00Z".parse().unwrap(),
        end: None,
    }
}

/// AWS's own words, as its documents and public reports have them.
#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn whose_fault_a_failed_launch_is() {
    for (message, expected) in [
        (
            "The security group 'sg-0a1b2c3d' does not exist. Launching EC2 instance failed.",
            Fault::Permanent,
        ),
        (
            "The security group <name of the security group> does not exist. Launching EC2 instance failed.",
            Fault::Permanent,
        ),
        (
            "The key pair <key pair associated with your EC2 instance> does not exist. Launching EC2 instance failed.",
            Fault::Permanent,
        ),
        (
            "The key pair 'web' does not exist. Launching EC2 instance failed.",
            Fault::Permanent,
        ),
        (
            "The image id '[ami-0123456789abcdef0]' does not exist. Launching EC2 instance failed.",
            Fault::Permanent,
        ),
        (
            "The AMI ID <ID of your AMI> does not exist. Launching EC2 instance failed.",
            Fault::Permanent,
        ),
        (
            "Not authorized for images: [ami-0123456789abcdef0]. Launching EC2 instance failed.",
            Fault::Permanent,
        ),
        (
            "Invalid device name upload. Launching EC2 instance failed.",
            Fault::Permanent,
        ),
        (
            "Value (<name associated with the instance storage device>) for parameter virtualName is invalid. Launching EC2 instance failed.",
            Fault::Permanent,
        ),
        (
            "EBS block device mappings not supported for instance-store AMIs.",
            Fault::Permanent,
        ),
        (
            "Volume of size 8GB is smaller than snapshot 'snap-1', expect size >= 30GB. Launching EC2 instance failed.",
            Fault::Permanent,
        ),
        (
            "The requested configuration is currently not supported. Please check the documentation for supported configurations. Launching EC2 instance failed.",
            Fault::Permanent,
        ),
        (
            "Your requested instance type (m9.large) is not supported in your requested Availability Zone (us-east-1e). Launching EC2 instance failed.",
            Fault::Permanent,
        ),
        (
            "The requested instance type's architecture (i386) does not match the architecture in the manifest for ami-6622f00f (x86_64). Launching EC2 instance failed.",
            Fault::Permanent,
        ),
        (
            "Placement groups may not be used with instances of type 'm1.large'. Launching EC2 instance failed.",
            Fault::Permanent,
        ),
        (
            "We currently do not have sufficient m5.large capacity in the Availability Zone you requested (us-east-1a). Our system will be working on provisioning additional capacity. Launching EC2 instance failed.",
            Fault::Capacity,
        ),
        (
            "There is no Spot capacity available that matches your request. Launching EC2 instance failed.",
            Fault::Capacity,
        ),
        (
            "Could not launch Spot Instances. UnfulfillableCapacity - Unable to fulfill capacity due to your request configuration. Launching EC2 instance failed.",
            Fault::Capacity,
        ),
        (
            "Your Spot request price of 0.015 is lower than the minimum required Spot request fulfillment price of 0.0735. Launching EC2 instance failed.",
            Fault::Capacity,
        ),
        (
            "You have requested more vCPU capacity than your current vCPU limit of 32 allows for the instance bucket that the specified instance type belongs to. Launching EC2 instance failed.",
            Fault::Capacity,
        ),
        (
            "5 instance(s) are already running. Launching EC2 instance failed.",
            Fault::Capacity,
        ),
        (
            "InsufficientFreeAddressesInSubnet - There are not enough free addresses in subnet 'subnet-1' to satisfy the requested number of instances.",
            Fault::Capacity,
        ),
        (
            "The requested reservation does not have sufficient compatible and available capacity for this request. Launching EC2 instance failed.",
            Fault::Capacity,
        ),
        (
            "Instance became unhealthy while waiting for instance to be in InService state. Termination Reason: Server.SpotInstanceTermination: Spot instance termination",
            Fault::Capacity,
        ),
        (
            "Instance became unhealthy while waiting for instance to be in InService state. Termination Reason: Client.UserInitiatedShutdown: User initiated shutdown",
            Fault::Outside,
        ),
        (
            "Instance became unhealthy while waiting for instance to be in InService state. Termination Reason: Client.InstanceInitiatedShutdown: Instance initiated shutdown",
            Fault::Other,
        ),
        (
            "Instance became unhealthy while waiting for instance to be in InService state. Termination Reason: Client.InternalError: Client error on launch",
            Fault::Other,
        ),
        (
            "Instance failed to complete user's Lifecycle Action: Lifecycle Action with token b1ed9e5f-0000-4c4f-9a77-0123456789ab was abandoned: Heartbeat Timeout",
            Fault::Other,
        ),
        (
            "You are not authorized to perform this operation. Encoded authorization failure message: AbC. Launching EC2 instance failed.",
            Fault::Other,
        ),
        (
            "AMI ami-0123456789abcdef0 is pending, and cannot be run. Launching EC2 instance failed.",
            Fault::Other,
        ),
        ("something that nobody has seen before", Fault::Other),
        ("", Fault::Other),
    ] {
        assert_eq!(fault(message), expected, "{message}");
    }
}

#[test]
fn why_a_member_was_terminated() {
    for (cause, expected) in [
        (
            "At 2026-11-21T09:00:00Z an instance was taken out of service in response to an ELB system health check failure.",
            Why::Unhealthy,
        ),
        (
            "At 2026-11-21T09:00:00Z an instance was taken out of service in response to an EC2 instance status checks failure.",
            Why::Unhealthy,
        ),
        (
            "At 2026-11-21T09:00:00Z an instance was taken out of service in response to a system health-check.",
            Why::Unhealthy,
        ),
        (
            "At 2026-11-21T09:00:00Z an instance was taken out of service in response to a user health-check.",
            Why::Unhealthy,
        ),
        (
            "At 2026-11-21T09:00:00Z an instance was taken out of service in response to an EBS volume health check failure.",
            Why::Unhealthy,
        ),
        (
            "At 2026-11-21T09:00:00Z an instance was taken out of service in response to an EC2 health check indicating it has been terminated or stopped.",
            Why::FoundGone,
        ),
        (
            "At 2026-11-21T09:00:00Z a user request update of AutoScalingGroup constraints to min: 3, max: 1000, desired: 3 changing the desired capacity from 4 to 3.  At 2026-11-21T09:00:10Z an instance was taken out of service in response to a difference between desired and actual capacity, shrinking the capacity from 4 to 3.  At 2026-11-21T09:00:11Z instance i-02ce4f07da10a5333 was selected for termination.",
            Why::Other,
        ),
        (
            "At 2026-11-21T09:00:00Z an instance was taken out of service in response to an instance refresh.  At 2026-11-21T09:00:00Z instance i-0002075bea40ce1c8 was selected for termination.",
            Why::Other,
        ),
        (
            "At 2026-11-21T09:00:00Z instance i-bdae7a84 was taken out of service in response to a user request, shrinking the capacity from 1 to 0.",
            Why::Other,
        ),
        (
            "At 2026-11-21T09:00:00Z an instance was taken out of service in response to an EC2 Spot Instance interruption notice.",
            Why::Other,
        ),
        (
            "At 2026-11-21T09:00:00Z an instance was taken out of service in response to an EC2 instance rebalance recommendation.",
            Why::Other,
        ),
        (
            "At 2026-11-21T09:00:00Z an instance was taken out of service in response to instance maximum lifetime.",
            Why::Other,
        ),
        ("somebody's new words about a health check", Why::Other),
        ("", Why::Other),
    ] {
        assert_eq!(why(cause), expected, "{cause}");
    }
}

#[test]
fn what_an_activity_did() {
    let id = "i-0abc0123456789def";
    let launching = format!("Launching a new EC2 instance: {id}");
    let done = activity(&launching, "Successful", None, "");
    assert_eq!(read(&done), Did::Launched { instance: id });
    for status in [
        "InProgress",
        "PreInService",
        "MidLifecycleAction",
        "WaitingForInstanceWarmup",
    ] {
        let under_way = activity(&launching, status, None, "");
        assert_eq!(
            read(&under_way),
            Did::Launching { instance: Some(id) },
            "{status}"
        );
    }
    // The status message is sometimes left to the description.
    let failed = activity(
        "Launching a new EC2 instance.  Status Reason: The image id '[ami-1]' does not exist. Launching EC2 instance failed.",
        "Failed",
        None,
        "",
    );
    assert_eq!(
        read(&failed),
        Did::LaunchFailed {
            instance: None,
            fault: Fault::Permanent,
            message: "The image id '[ami-1]' does not exist. Launching EC2 instance failed.",
        }
    );
    let abandoned = "Instance failed to complete user's Lifecycle Action: Lifecycle Action with token t was abandoned: Lifecycle Action Completed with ABANDON Result";
    let hook = activity(&launching, "Cancelled", Some(abandoned), "");
    assert_eq!(
        read(&hook),
        Did::LaunchFailed {
            instance: Some(id),
            fault: Fault::Other,
            message: abandoned,
        }
    );
    // Broken off from outside: nothing has failed.
    let broken_off = activity(&launching, "Cancelled", Some("Launch was cancelled"), "");
    assert_eq!(read(&broken_off), Did::Other);
    let terminating =
        format!("Terminating EC2 instance: {id} - Waiting For ELB Connection Draining");
    let unhealthy = "At 2026-11-21T09:00:00Z an instance was taken out of service in response to an ELB system health check failure.";
    let died = activity(&terminating, "InProgress", None, unhealthy);
    assert_eq!(
        read(&died),
        Did::Terminated {
            instance: id,
            why: Why::Unhealthy,
        }
    );
    for other in [
        "Attaching an existing EC2 instance: i-0abc0123456789def",
        "Moving EC2 instance to Standby: i-0abc0123456789def",
        "Detaching EC2 instance: i-0abc0123456789def",
        "",
    ] {
        assert_eq!(
            read(&activity(other, "Successful", None, unhealthy)),
            Did::Other
        );
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
        (None, false),
    ] {
        assert_eq!(failed_by_itself(reason), expected, "{reason:?}");
    }
}
