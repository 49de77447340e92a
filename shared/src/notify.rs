//! Telling people: one notice (SNS) for all that is new in a run, the same findings on the
//! default event bus, and tags that remember what was told.

mod chat;
mod notice;
mod place;
mod subject;
mod text;

use std::collections::BTreeMap;

use aws_config::SdkConfig;
use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use serde_json::json;

use crate::aws::{ApiError, ErrorKind};
use crate::finding::News;

pub use crate::finding::{AUTO_SCALING_GROUP, PARAMETER};
pub use notice::{Notice, Origin, compose, examples};
pub use place::Place;

/// `source` of the findings on the event bus.
pub const EVENT_SOURCE: &str = "ec2-guardrails";
/// `detail-type` of the findings on the event bus.
pub const EVENT_DETAIL_TYPE: &str = "EC2 Guardrails Finding";

/// Most resources per `CreateTags` (AWS takes 1,000) and events per `PutEvents` (AWS takes 10).
const TAGGED_AT_ONCE: usize = 200;
const EVENTS_AT_ONCE: usize = 10;

/// Whether `resource` is one that EC2's `CreateTags` takes: an id such as `vol-0a1b`. Others are
/// written `type/name`.
#[must_use]
pub fn is_ec2(resource: &str) -> bool {
    !resource.contains('/')
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
    pub async fn tell(&self, origin: &Origin<'_>, news: &[News<'_>]) -> Result<(), ApiError> {
        let Some(notice) = compose(origin, news) else {
            return Ok(());
        };
        self.publish(notice).await?;
        self.put_events(origin, news).await?;
        self.remember(news).await
    }

    async fn publish(&self, notice: Notice) -> Result<(), ApiError> {
        self.sns
            .publish()
            .topic_arn(&self.topic_arn)
            .message_structure("json")
            .message(notice.message())
            .subject(notice.subject)
            .send()
            .await
            .map_err(|error| ApiError::of("sns:Publish", &error))?;
        Ok(())
    }

    async fn put_events(&self, origin: &Origin<'_>, news: &[News<'_>]) -> Result<(), ApiError> {
        for some in news.chunks(EVENTS_AT_ONCE) {
            let entries = some
                .iter()
                .map(|item| {
                    let stands = matches!(item, News::Stands(_));
                    let detail = json!({
                        "guardrail": origin.guardrail,
                        "account": origin.place.account,
                        "region": origin.place.region,
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

    async fn tell(teller: &Teller, news: &[News<'_>]) -> Result<(), ApiError> {
        let place = Place::of_function("arn:aws:lambda:eu-central-1:123456789012:function:f");
        let origin = Origin {
            guardrail: "snapshot-volumes",
            place: &place,
            request: "run-1",
            now: "2026-11-21T03:15:00Z".parse().unwrap(),
        };
        teller.tell(&origin, news).await
    }

    fn teller(sns: &Rule, events: &Rule, ec2: &[&Rule]) -> Teller {
        Teller {
            ec2: mock_client!(aws_sdk_ec2, RuleMode::MatchAny, ec2),
            events: mock_client!(aws_sdk_eventbridge, RuleMode::MatchAny, [events]),
            sns: mock_client!(aws_sdk_sns, RuleMode::MatchAny, [sns]),
            topic_arn: "arn:aws:sns:eu-central-1:1:t".to_owned(),
        }
    }

    /// SNS as it takes what has a form for each protocol.
    fn published() -> Rule {
        mock!(aws_sdk_sns::Client::publish)
            .match_requests(|r| {
                let message = r.message().unwrap_or_default();
                let forms: serde_json::Value = serde_json::from_str(message).unwrap();
                r.message_structure() == Some("json")
                    && r.subject().is_some()
                    && ["default", "https", "sms"].map(|form| forms[form].is_string()) == [true; 3]
            })
            .then_output(|| PublishOutput::builder().build())
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
        tell(&teller(&sns, &events, &[&some, &one, &remove]), &news)
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
        tell(&teller(&sns, &events, &[]), &[News::Cured(&gone)])
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
        let error = tell(&teller(&sns, &events, &[&tag]), &[News::Stands(&finding)])
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
        let error = tell(&teller(&sns, &events, &[]), &[News::Stands(&finding)])
            .await
            .unwrap_err();
        assert_eq!(error.code, "ThrottlingException");
    }
}
