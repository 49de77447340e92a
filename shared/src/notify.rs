//! Telling people: one notice (SNS) for all that is new in a run, the same findings on the
//! default event bus, and tags that remember what was told.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use aws_config::SdkConfig;
use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use jiff::Timestamp;
use serde_json::json;

use crate::aws::{ApiError, ErrorKind};
use crate::finding::{Kind, News};
use crate::tags;

/// `source` of the findings on the event bus.
pub const EVENT_SOURCE: &str = "ec2-guardrails";
/// `detail-type` of the findings on the event bus.
pub const EVENT_DETAIL_TYPE: &str = "EC2 Guardrails Finding";

/// Most findings of a kind that a notice lists; the log has them all.
const LISTED_MAX: usize = 20;
/// Longest subject: SNS takes fewer than 100 characters of ASCII.
const SUBJECT_MAX: usize = 99;
/// Most resources per `CreateTags` (AWS takes 1,000) and events per `PutEvents` (AWS takes 10).
const TAGGED_AT_ONCE: usize = 200;
const EVENTS_AT_ONCE: usize = 10;
/// How a finding names an Auto Scaling group, before the group's name.
pub const AUTO_SCALING_GROUP: &str = "auto-scaling-group/";

/// Where a function runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// `aws`, `aws-cn`, `aws-us-gov`.
    pub partition: String,
    /// The Region.
    pub region: String,
    /// The account.
    pub account: String,
}

impl Place {
    /// Reads a function's ARN: `arn:PARTITION:lambda:REGION:ACCOUNT:function:NAME`.
    #[must_use]
    pub fn of_function(arn: &str) -> Self {
        let mut parts = arn.split(':').skip(1);
        let mut next = || parts.next().unwrap_or("unknown").to_owned();
        let (partition, _service, region, account) = (next(), next(), next(), next());
        Self {
            partition,
            region,
            account,
        }
    }

    /// The console's page of an EC2 resource.
    #[must_use]
    pub fn console(&self, resource: &str) -> Option<String> {
        if let Some(group) = resource.strip_prefix(AUTO_SCALING_GROUP) {
            let group = percent_encoded(group);
            return Some(self.ec2_page(&format!("AutoScalingGroupDetails:id={group}")));
        }
        let page = match resource.split('-').next()? {
            "vol" => format!("VolumeDetails:volumeId={resource}"),
            "snap" => format!("SnapshotDetails:snapshotId={resource}"),
            "i" => format!("InstanceDetails:instanceId={resource}"),
            "ami" => format!("ImageDetails:imageId={resource}"),
            _ => return None,
        };
        Some(self.ec2_page(&page))
    }

    fn ec2_page(&self, page: &str) -> String {
        let domain = match self.partition.as_str() {
            "aws-cn" => "console.amazonaws.cn",
            "aws-us-gov" => "console.amazonaws-us-gov.com",
            _ => "console.aws.amazon.com",
        };
        let region = &self.region;
        format!("https://{region}.{domain}/ec2/home?region={region}#{page}")
    }
}

/// `text` as it may stand in a part of a URL: an Auto Scaling group's name may hold spaces, `#`, `/`
/// and much else.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// Whether `resource` is one that EC2's `CreateTags` takes: an id such as `vol-0a1b`. Others are
/// written `type/name`.
#[must_use]
pub fn is_ec2(resource: &str) -> bool {
    !resource.contains('/')
}

/// A message to people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// What happened to what, in under 100 characters of ASCII.
    pub subject: String,
    /// Why, what was done, what to do next, how to undo it.
    pub body: String,
}

/// The findings of each kind, in the order in which the kinds first occur.
fn by_kind<'a, 'n>(news: &'n [News<'a>], cured: bool) -> Vec<(&'static Kind, Vec<&'n News<'a>>)> {
    let mut kinds: Vec<(&'static Kind, Vec<&News<'_>>)> = Vec::new();
    for item in news {
        if matches!(item, News::Cured(_)) != cured {
            continue;
        }
        match kinds.iter_mut().find(|(kind, _)| *kind == item.kind()) {
            Some((_, items)) => items.push(item),
            None => kinds.push((item.kind(), vec![item])),
        }
    }
    kinds
}

fn counted(kind: &Kind, items: &[&News<'_>]) -> String {
    match items {
        [only] => format!("{} ({})", kind.one, only.resource()),
        several => format!("{} {}", several.len(), kind.many),
    }
}

/// Writes the notice of what is new; none when nothing is.
#[must_use]
pub fn compose(
    guardrail: &str,
    place: &Place,
    now: Timestamp,
    news: &[News<'_>],
) -> Option<Notice> {
    if news.is_empty() {
        return None;
    }
    let (standing, cured) = (by_kind(news, false), by_kind(news, true));

    let mut subject: Vec<String> = standing
        .iter()
        .map(|(kind, items)| counted(kind, items))
        .collect();
    if !cured.is_empty() {
        let all: Vec<_> = cured.iter().flat_map(|(_, items)| items).collect();
        subject.push(match all.as_slice() {
            [only] => format!("resolved: {} ({})", only.kind().one, only.resource()),
            several => format!("{} resolved", several.len()),
        });
    }
    let subject = format!("[{guardrail}] {}", capitalized(&subject.join(", ")));

    let mut body = format!(
        "{guardrail} in account {}, {}, at {}.\n",
        place.account,
        place.region,
        now.strftime("%Y-%m-%d %H:%M UTC")
    );
    for (kind, items) in &standing {
        heading(&mut body, &counted(kind, items));
        list(&mut body, place, items);
        let _ = write!(body, "\nWhat to do: {}\n", kind.next);
    }
    for (kind, items) in &cured {
        let resolved = match items.as_slice() {
            [only] => format!("Resolved: {}", only.kind().one),
            several => format!("Resolved: {} {}", several.len(), kind.many),
        };
        heading(&mut body, &resolved);
        list(&mut body, place, items);
    }
    body.push_str(
        "\nYou are told once when something appears or changes and once when it is resolved. What was \
         told stands in the tags ec2-guardrails:told-… of each resource; each decision stands in the \
         function's log.\n",
    );
    Some(Notice {
        subject: ascii(&tags::clip_to(&subject, SUBJECT_MAX - 2)),
        body,
    })
}

fn heading(body: &mut String, text: &str) {
    let text = capitalized(text);
    let _ = write!(body, "\n{text}\n{}\n", "-".repeat(text.chars().count()));
}

fn capitalized(text: &str) -> String {
    let mut rest = text.chars();
    rest.next()
        .map(|first| first.to_uppercase().chain(rest).collect())
        .unwrap_or_default()
}

fn list(body: &mut String, place: &Place, items: &[&News<'_>]) {
    for item in items.iter().take(LISTED_MAX) {
        let _ = writeln!(body, "* {}", item.text());
        if let Some(link) = place.console(item.resource()) {
            let _ = writeln!(body, "  {link}");
        }
    }
    if items.len() > LISTED_MAX {
        let _ = writeln!(body, "* and {} more", items.len() - LISTED_MAX);
    }
}

/// SNS refuses subjects with anything but printable ASCII.
fn ascii(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '…' => plain.push_str("..."),
            ' '..='~' => plain.push(c),
            _ => plain.push('?'),
        }
    }
    plain
}

/// Sends what is new where it belongs.
#[derive(Debug)]
pub struct Teller {
    ec2: aws_sdk_ec2::Client,
    events: aws_sdk_eventbridge::Client,
    sns: aws_sdk_sns::Client,
    topic_arn: String,
}

impl Teller {
    /// A teller that publishes to `topic_arn`.
    #[must_use]
    pub fn new(config: &SdkConfig, topic_arn: String) -> Self {
        Self {
            ec2: aws_sdk_ec2::Client::new(config),
            events: aws_sdk_eventbridge::Client::new(config),
            sns: aws_sdk_sns::Client::new(config),
            topic_arn,
        }
    }

    #[cfg(test)]
    pub(crate) fn for_tests(sns: &aws_smithy_mocks::Rule) -> Self {
        use aws_smithy_mocks::{RuleMode, mock_client};
        Self {
            ec2: mock_client!(aws_sdk_ec2, RuleMode::MatchAny, &[]),
            events: mock_client!(aws_sdk_eventbridge, RuleMode::MatchAny, &[]),
            sns: mock_client!(aws_sdk_sns, RuleMode::MatchAny, [sns]),
            topic_arn: "arn:aws:sns:eu-central-1:1:t".to_owned(),
        }
    }

    /// Notice, then bus, then tags: killed in between it tells twice, never not at all.
    pub async fn tell(
        &self,
        guardrail: &str,
        place: &Place,
        now: Timestamp,
        news: &[News<'_>],
    ) -> Result<(), ApiError> {
        let Some(notice) = compose(guardrail, place, now, news) else {
            return Ok(());
        };
        self.publish(notice).await?;
        self.put_events(guardrail, place, news).await?;
        self.remember(news).await
    }

    async fn publish(&self, notice: Notice) -> Result<(), ApiError> {
        self.sns
            .publish()
            .topic_arn(&self.topic_arn)
            .subject(notice.subject)
            .message(notice.body)
            .send()
            .await
            .map_err(|error| ApiError::of("sns:Publish", &error))?;
        Ok(())
    }

    async fn put_events(
        &self,
        guardrail: &str,
        place: &Place,
        news: &[News<'_>],
    ) -> Result<(), ApiError> {
        for some in news.chunks(EVENTS_AT_ONCE) {
            let entries = some
                .iter()
                .map(|item| {
                    let stands = matches!(item, News::Stands(_));
                    let detail = json!({
                        "guardrail": guardrail,
                        "account": place.account,
                        "region": place.region,
                        "resource": item.resource(),
                        "kind": item.kind().name,
                        "status": if stands { "stands" } else { "resolved" },
                        "text": item.text(),
                    });
                    PutEventsRequestEntry::builder()
                        .source(EVENT_SOURCE)
                        .detail_type(EVENT_DETAIL_TYPE)
                        .resources(item.resource())
                        .detail(detail.to_string())
                        .build()
                })
                .collect();
            let answer = self
                .events
                .put_events()
                .set_entries(Some(entries))
                .send()
                .await
                .map_err(|error| ApiError::of("events:PutEvents", &error))?;
            if let Some(refused) = answer.entries().iter().find(|e| e.error_code().is_some()) {
                return Err(ApiError {
                    operation: "events:PutEvents",
                    code: refused.error_code().unwrap_or_default().to_owned(),
                    message: refused.error_message().unwrap_or_default().to_owned(),
                    kind: ErrorKind::Refused,
                });
            }
        }
        Ok(())
    }

    /// Writes what was told into the resources' tags, many at once where the tag is the same.
    async fn remember(&self, news: &[News<'_>]) -> Result<(), ApiError> {
        let mut groups: BTreeMap<(String, Option<String>), Vec<&str>> = BTreeMap::new();
        // What is gone has no tags to change.
        let here = |item: &&News<'_>| {
            is_ec2(item.resource()) && !matches!(item, News::Cured(told) if told.gone)
        };
        for item in news.iter().filter(here) {
            groups
                .entry((item.kind().tag(), item.value()))
                .or_default()
                .push(item.resource());
        }
        for ((key, value), resources) in groups {
            for some in resources.chunks(TAGGED_AT_ONCE) {
                match self.tag(&key, value.as_deref(), some).await {
                    Err(error) if error.is_not_found() => {
                        // One of them has gone meanwhile; then AWS tags none of them.
                        for one in some {
                            match self.tag(&key, value.as_deref(), &[one]).await {
                                Err(error) if error.is_not_found() => {}
                                other => other?,
                            }
                        }
                    }
                    other => other?,
                }
            }
        }
        Ok(())
    }

    async fn tag(&self, key: &str, value: Option<&str>, on: &[&str]) -> Result<(), ApiError> {
        let resources = Some(on.iter().map(|id| (*id).to_owned()).collect());
        let tag = aws_sdk_ec2::types::Tag::builder().key(key);
        match value {
            Some(value) => self
                .ec2
                .create_tags()
                .set_resources(resources)
                .tags(tag.value(value).build())
                .send()
                .await
                .map(drop)
                .map_err(|error| ApiError::of("ec2:CreateTags", &error)),
            None => self
                .ec2
                .delete_tags()
                .set_resources(resources)
                .tags(tag.build())
                .send()
                .await
                .map(drop)
                .map_err(|error| ApiError::of("ec2:DeleteTags", &error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::tests::STALE;
    use crate::finding::{Finding, Told};
    use aws_sdk_ec2::operation::create_tags::CreateTagsOutput;
    use aws_sdk_ec2::operation::delete_tags::DeleteTagsOutput;
    use aws_sdk_eventbridge::operation::put_events::PutEventsOutput;
    use aws_sdk_eventbridge::types::PutEventsResultEntry;
    use aws_sdk_sns::operation::publish::PublishOutput;
    use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};

    fn place() -> Place {
        Place::of_function("arn:aws:lambda:eu-central-1:123456789012:function:f")
    }

    fn finding(n: usize) -> Finding {
        Finding {
            resource: format!("vol-{n}"),
            kind: &STALE,
            state: "daily".to_owned(),
            text: format!("vol-{n}: plan daily has no completed snapshot yet"),
        }
    }

    fn told(n: usize) -> Told {
        Told {
            resource: format!("vol-{n}"),
            kind: &STALE,
            state: "daily".to_owned(),
            gone: false,
        }
    }

    fn at() -> Timestamp {
        "2026-11-21T03:15:00Z".parse().unwrap()
    }

    #[test]
    fn one_finding_reads_like_a_person_wrote_it() {
        let finding = finding(1);
        let notice = compose(
            "snapshot-volumes",
            &place(),
            at(),
            &[News::Stands(&finding)],
        );
        let notice = notice.unwrap();
        insta::assert_snapshot!(format!("Subject: {}\n\n{}", notice.subject, notice.body));
    }

    #[test]
    fn many_findings_are_one_digest() {
        let findings: Vec<_> = (0..50).map(finding).collect();
        let told = told(99);
        let mut news: Vec<_> = findings.iter().map(News::Stands).collect();
        news.push(News::Cured(&told));
        let notice = compose("snapshot-volumes", &place(), at(), &news).unwrap();
        assert_eq!(
            notice.subject,
            "[snapshot-volumes] 50 volumes without a fresh snapshot, resolved: volume without a fresh snapsho..."
        );
        assert!(notice.subject.len() < 100);
        assert!(notice.body.contains("* and 30 more"));
        assert!(notice.body.len() < 8_000, "{}", notice.body.len());
    }

    #[test]
    fn a_subject_is_ascii() {
        assert_eq!(ascii("Größe… \u{7}"), "Gr??e... ?");
    }

    #[test]
    fn nothing_new_makes_no_notice() {
        assert_eq!(compose("x", &place(), at(), &[]), None);
    }

    #[test]
    fn console_links_follow_the_partition() {
        let gov = Place::of_function("arn:aws-us-gov:lambda:us-gov-west-1:1:function:f");
        assert_eq!(
            gov.console("i-1").unwrap(),
            "https://us-gov-west-1.console.amazonaws-us-gov.com/ec2/home?region=us-gov-west-1#InstanceDetails:instanceId=i-1"
        );
        assert_eq!(place().console("topic"), None);
        assert_eq!(
            place().console("auto-scaling-group/web/blue #1 é").unwrap(),
            "https://eu-central-1.console.aws.amazon.com/ec2/home?region=eu-central-1#AutoScalingGroupDetails:id=web%2Fblue%20%231%20%C3%A9"
        );
    }

    fn teller(sns: &Rule, events: &Rule, ec2: &[&Rule]) -> Teller {
        Teller {
            ec2: mock_client!(aws_sdk_ec2, RuleMode::MatchAny, ec2),
            events: mock_client!(aws_sdk_eventbridge, RuleMode::MatchAny, [events]),
            sns: mock_client!(aws_sdk_sns, RuleMode::MatchAny, [sns]),
            topic_arn: "arn:aws:sns:eu-central-1:1:t".to_owned(),
        }
    }

    fn published() -> Rule {
        mock!(aws_sdk_sns::Client::publish).then_output(|| PublishOutput::builder().build())
    }

    fn put() -> Rule {
        mock!(aws_sdk_eventbridge::Client::put_events)
            .then_output(|| PutEventsOutput::builder().build())
    }

    fn no_volume() -> aws_sdk_ec2::operation::create_tags::CreateTagsError {
        aws_sdk_ec2::operation::create_tags::CreateTagsError::generic(
            aws_sdk_ec2::error::ErrorMetadata::builder()
                .code("InvalidVolume.NotFound")
                .build(),
        )
    }

    #[tokio::test]
    async fn tags_many_at_once_and_one_by_one_where_one_has_gone() {
        let (sns, events) = (published(), put());
        let some = mock!(aws_sdk_ec2::Client::create_tags)
            .match_requests(|r| r.resources().len() > 1 || r.resources() == ["vol-2"])
            .then_error(no_volume);
        let one = mock!(aws_sdk_ec2::Client::create_tags)
            .match_requests(|r| r.resources().len() == 1 && r.resources() != ["vol-2"])
            .then_output(|| CreateTagsOutput::builder().build());
        let remove = mock!(aws_sdk_ec2::Client::delete_tags)
            .match_requests(|r| r.tags()[0].key() == Some("ec2-guardrails:told-stale"))
            .then_output(|| DeleteTagsOutput::builder().build());
        let findings: Vec<_> = (1..=3).map(finding).collect();
        let told = told(9);
        let mut news: Vec<_> = findings.iter().map(News::Stands).collect();
        news.push(News::Cured(&told));
        teller(&sns, &events, &[&some, &one, &remove])
            .tell("snapshot-volumes", &place(), at(), &news)
            .await
            .unwrap();
        assert_eq!(
            (sns.num_calls(), events.num_calls(), remove.num_calls()),
            (1, 1, 1)
        );
        assert_eq!((some.num_calls(), one.num_calls()), (2, 2));
    }

    #[tokio::test]
    async fn what_is_gone_needs_no_tag_removed() {
        let (sns, events) = (published(), put());
        let gone = Told {
            gone: true,
            ..told(1)
        };
        teller(&sns, &events, &[])
            .tell("snapshot-volumes", &place(), at(), &[News::Cured(&gone)])
            .await
            .unwrap();
        assert_eq!((sns.num_calls(), events.num_calls()), (1, 1));
    }

    #[tokio::test]
    async fn what_could_not_be_told_is_not_remembered_as_told() {
        let sns = mock!(aws_sdk_sns::Client::publish).then_error(|| {
            aws_sdk_sns::operation::publish::PublishError::generic(
                aws_sdk_sns::error::ErrorMetadata::builder()
                    .code("AuthorizationError")
                    .build(),
            )
        });
        let events = put();
        let tag = mock!(aws_sdk_ec2::Client::create_tags)
            .then_output(|| CreateTagsOutput::builder().build());
        let finding = finding(1);
        let error = teller(&sns, &events, &[&tag])
            .tell(
                "snapshot-volumes",
                &place(),
                at(),
                &[News::Stands(&finding)],
            )
            .await
            .unwrap_err();
        assert_eq!(
            (error.operation, error.kind),
            ("sns:Publish", ErrorKind::Denied)
        );
        assert_eq!((events.num_calls(), tag.num_calls()), (0, 0));
    }

    #[tokio::test]
    async fn an_event_that_the_bus_refuses_is_an_error() {
        let sns = published();
        let events = mock!(aws_sdk_eventbridge::Client::put_events).then_output(|| {
            PutEventsOutput::builder()
                .failed_entry_count(1)
                .entries(
                    PutEventsResultEntry::builder()
                        .error_code("ThrottlingException")
                        .build(),
                )
                .build()
        });
        let finding = finding(1);
        let error = teller(&sns, &events, &[])
            .tell(
                "snapshot-volumes",
                &place(),
                at(),
                &[News::Stands(&finding)],
            )
            .await
            .unwrap_err();
        assert_eq!(error.code, "ThrottlingException");
    }
}
