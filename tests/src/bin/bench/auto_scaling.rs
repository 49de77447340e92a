//! What the synthetic estates have in common of EC2 Auto Scaling.

use std::fmt::Write as _;

use crate::estate::{ACCOUNT, Answer, REGION, Tag};
use crate::query::{Query, Refusal, escaped, wrapped};

/// An Auto Scaling group as `DescribeAutoScalingGroups` shows it.
#[derive(Debug)]
pub(crate) struct Described<'a> {
    pub(crate) name: &'a str,
    /// Id of the launch template.
    pub(crate) template: &'a str,
    pub(crate) version: u64,
    pub(crate) min: usize,
    pub(crate) desired: usize,
    pub(crate) members: Vec<Member<'a>>,
    pub(crate) tags: &'a [Tag],
}

/// A member of a group.
#[derive(Debug)]
pub(crate) struct Member<'a> {
    pub(crate) id: &'a str,
    /// `InService`, `Standby`.
    pub(crate) state: &'static str,
    /// Of the launch template.
    pub(crate) version: u64,
}

/// Answers `DescribeAutoScalingGroups`: all of them, those that are named, or those with a tag of
/// one of some keys.
pub(crate) fn describe_groups<'a>(
    query: &Query,
    groups: impl Iterator<Item = Described<'a>>,
) -> Answer {
    const DEFAULT: usize = 50;
    query.only(&[
        "AutoScalingGroupNames",
        "Filters",
        "MaxRecords",
        "NextToken",
    ])?;
    let (size, start) = match query.get("MaxRecords") {
        None => (DEFAULT, 0),
        Some(_) => query.page_by("MaxRecords", 100)?,
    };
    let names = query.list("AutoScalingGroupNames.member");
    // "By default, you can only specify up to 50 names. You can optionally increase this limit
    // using the MaxRecords property."
    if names.len() > size.max(DEFAULT) {
        let why = format!("{} names in a page of {size}", names.len());
        return Err(Refusal::of("ValidationError", why));
    }
    let keys = match query.get("Filters.member.1.Name") {
        None => None,
        Some("tag-key") => Some(query.list("Filters.member.1.Values.member")),
        Some(name) => return Err(Refusal::filter(name)),
    };
    let mut chosen = groups
        .filter(|group| names.is_empty() || names.contains(&group.name))
        .filter(|group| {
            let tagged = |keys: &Vec<&str>| {
                let mut tags = group.tags.iter();
                tags.any(|(key, _)| keys.contains(&key.as_str()))
            };
            keys.as_ref().is_none_or(tagged)
        })
        .skip(start);
    let mut result = "<AutoScalingGroups>".to_owned();
    for group in chosen.by_ref().take(size) {
        group.write(&mut result);
    }
    result.push_str("</AutoScalingGroups>");
    if chosen.next().is_some() {
        let _ = write!(result, "<NextToken>at-{}</NextToken>", start + size);
    }
    Ok(wrapped("DescribeAutoScalingGroups", &result))
}

impl Described<'_> {
    fn write(&self, xml: &mut String) {
        let Self {
            name,
            template,
            version,
            min,
            desired,
            ..
        } = self;
        let _ = write!(
            xml,
            "<member><AutoScalingGroupName>{name}</AutoScalingGroupName><AutoScalingGroupARN>arn:aws:autoscaling:{REGION}:{ACCOUNT}:autoScalingGroup:example:autoScalingGroupName/{name}</AutoScalingGroupARN><LaunchTemplate><LaunchTemplateId>{template}</LaunchTemplateId><LaunchTemplateName>{name}</LaunchTemplateName><Version>{version}</Version></LaunchTemplate><MinSize>{min}</MinSize><MaxSize>100</MaxSize><DesiredCapacity>{desired}</DesiredCapacity><DefaultCooldown>300</DefaultCooldown><AvailabilityZones><member>{REGION}a</member></AvailabilityZones><HealthCheckType>EC2</HealthCheckType><HealthCheckGracePeriod>300</HealthCheckGracePeriod><CreatedTime>2026-01-01T00:00:00Z</CreatedTime><VPCZoneIdentifier>subnet-0a,subnet-0b</VPCZoneIdentifier><TerminationPolicies><member>Default</member></TerminationPolicies><Instances>"
        );
        for Member { id, state, version } in &self.members {
            let _ = write!(
                xml,
                "<member><InstanceId>{id}</InstanceId><InstanceType>m7g.large</InstanceType><AvailabilityZone>{REGION}a</AvailabilityZone><LifecycleState>{state}</LifecycleState><HealthStatus>Healthy</HealthStatus><LaunchTemplate><LaunchTemplateId>{template}</LaunchTemplateId><LaunchTemplateName>{name}</LaunchTemplateName><Version>{version}</Version></LaunchTemplate><ProtectedFromScaleIn>false</ProtectedFromScaleIn></member>"
            );
        }
        xml.push_str("</Instances><Tags>");
        for (key, value) in self.tags {
            let _ = write!(
                xml,
                "<member><ResourceId>{name}</ResourceId><ResourceType>auto-scaling-group</ResourceType><Key>{key}</Key><Value>{}</Value><PropagateAtLaunch>false</PropagateAtLaunch></member>",
                escaped(value)
            );
        }
        xml.push_str("</Tags></member>");
    }
}

/// The tags that `CreateOrUpdateTags` puts on groups: group, key and value of each.
pub(crate) fn tags_of(query: &Query) -> Result<Vec<(&str, &str, &str)>, Refusal> {
    query.only(&["Tags"])?;
    let mut tags = Vec::new();
    while let Some(name) = query.get(&format!("Tags.member.{}.ResourceId", tags.len() + 1)) {
        let number = tags.len() + 1;
        let need = |part: &str| query.need(&format!("Tags.member.{number}.{part}"));
        // Told of the group, not of its members.
        if need("PropagateAtLaunch")? != "false" {
            return Err(Refusal::of("ValidationError", "members would have it too"));
        }
        tags.push((name, need("Key")?, need("Value")?));
    }
    if tags.is_empty() {
        return Err(Refusal::of("ValidationError", "no tag"));
    }
    Ok(tags)
}

/// The value of a tag.
pub(crate) fn tag<'a>(tags: &'a [Tag], key: &str) -> Option<&'a str> {
    tags.iter()
        .find(|(have, _)| have == key)
        .map(|(_, value)| value.as_str())
}

/// Puts a tag in the place of one with the same key.
pub(crate) fn set_tag(tags: &mut Vec<Tag>, key: &str, value: &str) {
    tags.retain(|(have, _)| have != key);
    tags.push((key.to_owned(), value.to_owned()));
}
