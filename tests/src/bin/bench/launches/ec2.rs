//! The calls of EC2 that quarantine-launch makes, as strict as AWS about what it sends.

use super::estate::{IMAGES, Launches, VPCS, isolation, vpc, wrong};
use crate::estate::{ACCOUNT, Answer, id, rfc3339};
use crate::query::{PAGED, Query, Refusal, answer, answer_page};

/// Answers `action`.
pub(super) fn respond(estate: &mut Launches, action: &str, query: &Query) -> Answer {
    match action {
        "DescribeInstances" => instances(estate, query),
        "DescribeImages" => images(query),
        "DescribeSecurityGroups" => security_groups(query),
        "DescribeInstanceAttribute" => attribute(estate, query),
        "DescribeSnapshots" => snapshots(estate, query),
        "CreateTags" => tag(estate, query),
        "ModifyNetworkInterfaceAttribute" => isolate(estate, query),
        "ModifyInstanceAttribute" => modify(estate, query),
        "CreateSnapshots" => create_snapshots(estate, query),
        _ => Err(Refusal::unknown(action)),
    }
}

fn done(action: &str) -> String {
    answer(action, "<return>true</return>")
}

fn instances(estate: &Launches, query: &Query) -> Answer {
    query.only(&PAGED)?;
    let page = query.page(1_000)?;
    let filters = query.filters()?;
    let chosen: Vec<usize> = match filters.as_slice() {
        [] => (0..estate.instances.len()).collect(),
        [("instance-id", ids)] => ids.iter().flat_map(|id| estate.find(id)).collect(),
        [(name, _), ..] => return Err(Refusal::filter(name)),
    };
    let items = chosen
        .into_iter()
        .map(|at| (at, estate.instances[at].xml.as_str()));
    let set = "reservationSet";
    Ok(answer_page("DescribeInstances", set, page, items))
}

/// Without a page size AWS answers all that match.
fn images(query: &Query) -> Answer {
    query.only(&["Filter", "IncludeDeprecated", "IncludeDisabled"])?;
    let filters = query.filters()?;
    let [("image-id", ids)] = filters.as_slice() else {
        return Err(wrong("images without a filter by image-id".to_owned()));
    };
    let [own, amazon, others] = IMAGES;
    let found: String = (0..own + amazon + others)
        .filter(|number| ids.contains(&id("ami", *number).as_str()))
        .map(image)
        .collect();
    Ok(answer(
        "DescribeImages",
        &format!("<imagesSet>{found}</imagesSet>"),
    ))
}

fn image(number: usize) -> String {
    let [own, amazon, _] = IMAGES;
    let (owner, alias, name) = if number < own {
        (ACCOUNT, "", format!("golden-web-2026-{number:02}"))
    } else if number < own + amazon {
        let name = format!("al2023-ami-2023.9.202511{number:02}.0-kernel-6.1-arm64");
        (
            "137112412989",
            "<imageOwnerAlias>amazon</imageOwnerAlias>",
            name,
        )
    } else {
        ("999999999999", "", format!("fast-and-free-{number:02}"))
    };
    format!(
        "<item><imageId>{}</imageId><imageLocation>{owner}/{name}</imageLocation><imageState>available</imageState><imageOwnerId>{owner}</imageOwnerId><creationDate>2025-11-10T00:00:00.000Z</creationDate><isPublic>true</isPublic><architecture>arm64</architecture><imageType>machine</imageType>{alias}<name>{name}</name><rootDeviceType>ebs</rootDeviceType><rootDeviceName>/dev/xvda</rootDeviceName><virtualizationType>hvm</virtualizationType></item>",
        id("ami", number)
    )
}

/// The isolation groups, all of them or those of some VPCs; all of them bare.
fn security_groups(query: &Query) -> Answer {
    query.only(&PAGED)?;
    let page = query.page(1_000)?;
    let mut vpcs: Vec<usize> = (0..VPCS).collect();
    let mut ours = false;
    for (name, values) in query.filters()? {
        match name {
            "tag:ec2-guardrails:guardrail" => ours = values == ["quarantine-launch"],
            "vpc-id" => vpcs.retain(|number| values.contains(&vpc(*number).as_str())),
            _ => return Err(Refusal::filter(name)),
        }
    }
    if !ours {
        return Err(wrong("security groups that aren't ours".to_owned()));
    }
    let found: Vec<String> = vpcs
        .into_iter()
        .map(|number| {
            format!(
                "<item><ownerId>{ACCOUNT}</ownerId><groupId>{}</groupId><groupName>ec2-guardrails-quarantine</groupName><groupDescription>Isolates</groupDescription><vpcId>{}</vpcId><ipPermissions/><ipPermissionsEgress/><tagSet><item><key>ec2-guardrails:guardrail</key><value>quarantine-launch</value></item></tagSet></item>",
                isolation(number),
                vpc(number)
            )
        })
        .collect();
    let items = found.iter().map(String::as_str).enumerate();
    let set = "securityGroupInfo";
    Ok(answer_page("DescribeSecurityGroups", set, page, items))
}

fn attribute(estate: &mut Launches, query: &Query) -> Answer {
    query.only(&["Attribute", "InstanceId"])?;
    let id = query.need("InstanceId")?;
    estate.held(id)?;
    if query.get("Attribute") != Some("disableApiTermination") {
        return Err(Refusal::of("InvalidParameterValue", "another attribute"));
    }
    let content = format!(
        "<instanceId>{id}</instanceId><disableApiTermination><value>false</value></disableApiTermination>"
    );
    Ok(answer("DescribeInstanceAttribute", &content))
}

/// The evidence of one instance.
fn snapshots(estate: &mut Launches, query: &Query) -> Answer {
    query.only(&["Filter", "MaxResults", "Owner"])?;
    query.page(1_000)?;
    let filters = query.filters()?;
    let id = match filters.as_slice() {
        [("tag:ec2-guardrails:evidence", ids)] if ids.len() == 1 => ids[0],
        _ => return Err(wrong("snapshots that are no evidence".to_owned())),
    };
    let found = match estate.held(id)?.steps.evidence {
        0 => String::new(),
        _ => format!("<item>{}</item>", evidence(id)),
    };
    let set = format!("<snapshotSet>{found}</snapshotSet>");
    Ok(answer("DescribeSnapshots", &set))
}

fn evidence(instance: &str) -> String {
    format!(
        "<snapshotId>snap-{instance}</snapshotId><volumeId>vol-{instance}</volumeId><status>pending</status><state>pending</state><startTime>{}</startTime><progress/><ownerId>{ACCOUNT}</ownerId><volumeSize>8</volumeSize>",
        rfc3339(jiff::Timestamp::now())
    )
}

fn create_snapshots(estate: &mut Launches, query: &Query) -> Answer {
    query.only(&["InstanceSpecification", "Description", "TagSpecification"])?;
    let id = query.need("InstanceSpecification.InstanceId")?;
    let tags = query.tags("TagSpecification.1.Tag");
    if !tags.contains(&("ec2-guardrails:evidence", Some(id))) {
        return Err(wrong(format!("snapshots of {id} without the tag")));
    }
    estate.held(id)?.steps.evidence += 1;
    let set = format!("<snapshotSet><item>{}</item></snapshotSet>", evidence(id));
    Ok(answer("CreateSnapshots", &set))
}

fn tag(estate: &mut Launches, query: &Query) -> Answer {
    query.only(&["ResourceId", "Tag"])?;
    let tags: Vec<(&str, &str)> = query
        .tags("Tag")
        .into_iter()
        .map(|(key, value)| (key, value.unwrap_or_default()))
        .collect();
    for id in query.list("ResourceId") {
        estate.tag(id, &tags)?;
    }
    Ok(done("CreateTags"))
}

fn isolate(estate: &mut Launches, query: &Query) -> Answer {
    query.only(&["NetworkInterfaceId", "SecurityGroupId"])?;
    let interface = query.need("NetworkInterfaceId")?;
    let instance = interface.strip_prefix("eni-").unwrap_or_default();
    estate.isolate(instance, &query.list("SecurityGroupId"))?;
    Ok(done("ModifyNetworkInterfaceAttribute"))
}

/// Termination protection on, or delete-on-termination off.
fn modify(estate: &mut Launches, query: &Query) -> Answer {
    query.only(&["InstanceId", "DisableApiTermination", "BlockDeviceMapping"])?;
    let steps = &mut estate.held(query.need("InstanceId")?)?.steps;
    match (
        query.get("DisableApiTermination.Value"),
        query.get("BlockDeviceMapping.1.Ebs.DeleteOnTermination"),
    ) {
        (Some("true"), None) => steps.protected += 1,
        (None, Some("false")) => steps.disks_kept += 1,
        other => return Err(wrong(format!("the change {other:?} of an instance"))),
    }
    Ok(done("ModifyInstanceAttribute"))
}
