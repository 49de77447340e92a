use super::*;

fn activity(description: &str, status: &str, message: Option<&str>, cause: &str) -> Activity {
    Activity {
        id: "a".to_owned(),
        description: description.to_owned(),
        cause: cause.to_owned(),
        status: status.to_owned(),
        message: message.map(str::to_owned),
        zone: None,
        start: "2026-11-21T09:00:00Z".parse().unwrap(),
        end: None,
    }
}

fn launch<'a>(instance: Option<&'a str>, came: Came<'a>) -> Did<'a> {
    Did::Launch {
        instance,
        from_pool: false,
        came,
    }
}

#[test]
fn what_an_activity_did() {
    let id = "i-0abc0123456789def";
    let launching = format!("Launching a new EC2 instance: {id}");
    let done = activity(&launching, "Successful", None, "");
    assert_eq!(read(&done), launch(Some(id), Came::InService));
    for status in [
        "InProgress",
        "PreInService",
        "MidLifecycleAction",
        "WaitingForInstanceWarmup",
    ] {
        let under_way = activity(&launching, status, None, "");
        assert_eq!(
            read(&under_way),
            launch(Some(id), Came::UnderWay),
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
        launch(
            None,
            Came::Failed {
                fault: Fault::Permanent,
                message: "The image id '[ami-1]' does not exist. Launching EC2 instance failed."
            }
        )
    );
    let abandoned = "Instance failed to complete user's Lifecycle Action: Lifecycle Action with token t was abandoned: Lifecycle Action Completed with ABANDON Result";
    let hook = activity(&launching, "Cancelled", Some(abandoned), "");
    assert_eq!(
        read(&hook),
        launch(
            Some(id),
            Came::Failed {
                fault: Fault::Other,
                message: abandoned
            }
        )
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
        Did::Terminate {
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

/// Pools serve nobody.
#[test]
fn what_happens_in_a_warm_pool_is_neither_a_launch_nor_a_termination() {
    let id = "i-0abc0123456789def";
    let into = format!("Launching a new EC2 instance into warm pool: {id}");
    let into = activity(&into, "Successful", None, "");
    assert_eq!(read(&into), Did::IntoPool { instance: Some(id) });
    let from = format!("Launching a new EC2 instance from warm pool: {id}");
    let from = activity(&from, "Successful", None, "");
    let out = Did::Launch {
        instance: Some(id),
        from_pool: true,
        came: Came::InService,
    };
    assert_eq!(read(&from), out);
    let gone = format!("Terminating EC2 instance from warm pool: {id}");
    assert_eq!(read(&activity(&gone, "Successful", None, "")), Did::Other);
}
