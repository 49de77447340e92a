//! The calls of EC2 that attach-ssm-role makes about instances, as strict as AWS about what it
//! sends.

use super::estate::{IMAGES, Instances};
use crate::estate::{ACCOUNT, Answer, id, rfc3339};
use crate::query::{PAGED, Query, Refusal, answer, answer_page};

/// A console's text without a word of the agent, in base64.
const CONSOLE: &str = "WyAgIDEyLjQ4MjExN10gY2xvdWQtaW5pdFsxNDAyXTogQ2xvdWQtaW5pdCB2LiAyMi4yLjIgZmluaXNoZWQuIERhdGFzb3VyY2UgRGF0YVNvdXJjZUVjMi4gVXAgMTIuNDcgc2Vjb25kcw0KDQpBbWF6b24gTGludXggMjAyMy45LjIwMjUxMTEwDQpLZXJuZWwgNi4xLjE1OCBvbiBhbiBhYXJjaDY0ICgtKQ0KDQppcC0xMC0wLTAtMTAgbG9naW46IA==";

/// Answers `action`.
pub(super) fn respond(estate: &mut Instances, action: &str, query: &Query) -> Answer {
    if let Some(answer) = estate.network.respond(action, query) {
        return answer;
    }
    match action {
        "DescribeInstances" => instances(estate, query),
        "DescribeIamInstanceProfileAssociations" => associations(estate, query),
        "DescribeInstanceStatus" => statuses(estate, query),
        "DescribeImages" => images(query),
        "DescribeLaunchTemplateVersions" => template(estate, query),
        "GetConsoleOutput" => console(estate, query),
        "AssociateIamInstanceProfile" => associate(estate, query),
        "CreateTags" => tag(estate, query),
        _ => Err(Refusal::unknown(action)),
    }
}

fn instances(estate: &Instances, query: &Query) -> Answer {
    query.only(&PAGED)?;
    let page = query.page(1_000)?;
    let mut chosen: Vec<usize> = (0..estate.instances.len()).collect();
    for (name, values) in query.filters()? {
        match name {
            "instance-id" => {
                chosen.retain(|at| values.contains(&estate.instances[*at].id.as_str()));
            }
            "instance-state-name" => chosen.retain(|at| {
                values.contains(&if estate.instances[*at].running {
                    "running"
                } else {
                    "stopped"
                })
            }),
            _ => return Err(Refusal::filter(name)),
        }
    }
    let items = chosen
        .into_iter()
        .map(|at| (at, estate.instances[at].xml.as_str()));
    let set = "reservationSet";
    Ok(answer_page("DescribeInstances", set, page, items))
}

fn associations(estate: &Instances, query: &Query) -> Answer {
    query.only(&PAGED)?;
    let page = query.page(1_000)?;
    let filters = query.filters()?;
    let [("instance-id", ids)] = filters.as_slice() else {
        return Err(Refusal::of(
            "InvalidParameterValue",
            "without a filter by instance-id all associations would be listed",
        ));
    };
    let found = estate
        .instances
        .iter()
        .filter(|found| ids.contains(&found.id.as_str()))
        .filter_map(|found| {
            Some(format!(
                "<item><associationId>iip-assoc-{id}</associationId><instanceId>{id}</instanceId><iamInstanceProfile><arn>{}</arn><id>AIPAEXAMPLE</id></iamInstanceProfile><state>associated</state><timestamp>{}</timestamp></item>",
                found.profile.as_ref()?,
                rfc3339(found.launched),
                id = found.id,
            ))
        });
    let found: Vec<String> = found.collect();
    let items = found.iter().map(String::as_str).enumerate();
    let (action, set) = (
        "DescribeIamInstanceProfileAssociations",
        "iamInstanceProfileAssociationSet",
    );
    Ok(answer_page(action, set, page, items))
}

fn statuses(estate: &Instances, query: &Query) -> Answer {
    query.only(&["InstanceId", "IncludeAllInstances"])?;
    let ids = query.list("InstanceId");
    if ids.is_empty() || ids.len() > 100 {
        return Err(Refusal::of(
            "InvalidParameterValue",
            format!("{} instance ids", ids.len()),
        ));
    }
    let ok = "<status>ok</status><details><item><name>reachability</name><status>passed</status></item></details>";
    let mut items = Vec::with_capacity(ids.len());
    for id in ids {
        estate.find(id)?;
        items.push(format!(
            "<item><instanceId>{id}</instanceId><instanceState><code>16</code><name>running</name></instanceState><systemStatus>{ok}</systemStatus><instanceStatus>{ok}</instanceStatus></item>"
        ));
    }
    let set = format!("<instanceStatusSet>{}</instanceStatusSet>", items.concat());
    Ok(answer("DescribeInstanceStatus", &set))
}

fn images(query: &Query) -> Answer {
    query.only(&[
        "Filter",
        "MaxResults",
        "NextToken",
        "IncludeDeprecated",
        "IncludeDisabled",
    ])?;
    let page = query.page(1_000)?;
    let filters = query.filters()?;
    let [("image-id", ids)] = filters.as_slice() else {
        return Err(Refusal::of(
            "InvalidParameterValue",
            "without a filter by image-id all public images would be listed",
        ));
    };
    let found: Vec<String> = (0..IMAGES)
        .map(|number| (number, id("ami", number)))
        .filter(|(_, id)| ids.contains(&id.as_str()))
        .map(|(number, id)| {
            let name = format!("al2023-ami-2023.9.202511{number:02}.0-kernel-6.1-arm64");
            format!(
                "<item><imageId>{id}</imageId><imageLocation>amazon/{name}</imageLocation><imageState>available</imageState><imageOwnerId>137112412989</imageOwnerId><imageOwnerAlias>amazon</imageOwnerAlias><name>{name}</name></item>"
            )
        })
        .collect();
    let items = found.iter().map(String::as_str).enumerate();
    Ok(answer_page("DescribeImages", "imagesSet", page, items))
}

fn template(estate: &Instances, query: &Query) -> Answer {
    query.only(&["LaunchTemplateId", "LaunchTemplateVersion"])?;
    let id = query.need("LaunchTemplateId")?;
    let group = estate
        .groups
        .iter()
        .find(|group| group.template == id)
        .ok_or_else(|| Refusal::of("InvalidLaunchTemplateId.NotFound", id))?;
    if query.list("LaunchTemplateVersion") != ["3"] {
        return Err(Refusal::of(
            "InvalidLaunchTemplateId.VersionNotFound",
            "it is version 3 that the group launches",
        ));
    }
    let profile = if group.has_profile {
        "<iamInstanceProfile><name>application-00</name></iamInstanceProfile>"
    } else {
        ""
    };
    let set = format!(
        "<launchTemplateVersionSet><item><launchTemplateId>{id}</launchTemplateId><launchTemplateName>{name}</launchTemplateName><versionNumber>3</versionNumber><createTime>2026-01-01T00:00:00.000Z</createTime><createdBy>arn:aws:iam::{ACCOUNT}:role/deploy</createdBy><defaultVersion>true</defaultVersion><launchTemplateData>{profile}<imageId>{image}</imageId><instanceType>m7g.large</instanceType></launchTemplateData></item></launchTemplateVersionSet>",
        name = group.name,
        image = crate::estate::id("ami", 0),
    );
    Ok(answer("DescribeLaunchTemplateVersions", &set))
}

fn console(estate: &Instances, query: &Query) -> Answer {
    query.only(&["InstanceId", "Latest"])?;
    let found = &estate.instances[estate.find(query.need("InstanceId")?)?];
    let content = format!(
        "<instanceId>{}</instanceId><timestamp>{}</timestamp><output>{CONSOLE}</output>",
        found.id,
        rfc3339(found.launched)
    );
    Ok(answer("GetConsoleOutput", &content))
}

fn associate(estate: &mut Instances, query: &Query) -> Answer {
    query.only(&["InstanceId", "IamInstanceProfile"])?;
    let (id, arn) = (
        query.need("InstanceId")?,
        query.need("IamInstanceProfile.Arn")?,
    );
    estate.associate(id, arn)?;
    let content = format!(
        "<iamInstanceProfileAssociation><associationId>iip-assoc-{id}</associationId><instanceId>{id}</instanceId><iamInstanceProfile><arn>{arn}</arn><id>AIPAEXAMPLE</id></iamInstanceProfile><state>associating</state></iamInstanceProfileAssociation>"
    );
    Ok(answer("AssociateIamInstanceProfile", &content))
}

fn tag(estate: &mut Instances, query: &Query) -> Answer {
    query.only(&["ResourceId", "Tag"])?;
    let (ids, tags) = (query.list("ResourceId"), query.tags("Tag"));
    if ids.is_empty() || ids.len() > 1_000 || tags.is_empty() {
        return Err(Refusal::of("MissingParameter", "no tag or no resource"));
    }
    for id in ids {
        for (key, value) in &tags {
            estate.tag(id, key, value.unwrap_or_default())?;
        }
    }
    Ok(answer("CreateTags", "<return>true</return>"))
}
