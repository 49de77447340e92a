//! The SDK's configuration and its errors.

use std::error::Error as StdError;
use std::time::Duration;

use aws_config::BehaviorVersion;
pub use aws_config::SdkConfig;
use aws_config::environment::{
    EnvironmentVariableCredentialsProvider, EnvironmentVariableRegionProvider,
};
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_runtime::retries::classifiers::{THROTTLING_ERRORS, TRANSIENT_ERRORS};
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_http_client::{Connector, ConnectorBuilder};
use aws_smithy_runtime_api::client::http::{
    HttpConnectorSettings, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::DateTime;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use jiff::Timestamp;

use crate::text::clip;

/// Longest until a connection stands.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Configuration for reads and idempotent writes: the SDK's standard retry.
///
/// Region and credentials come from the environment alone, where Lambda puts them. The SDK's own
/// chain would set up files, containers and the metadata service as well, and ask them for seconds
/// before it says that something is missing. Endpoints, FIPS, dual-stack and proxies by environment
/// variable work as in any SDK.
pub async fn config() -> SdkConfig {
    let config = aws_config::defaults(BehaviorVersion::latest())
        .region(EnvironmentVariableRegionProvider::new())
        .credentials_provider(EnvironmentVariableCredentialsProvider::new())
        .retry_config(RetryConfig::standard().with_max_attempts(6))
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(CONNECT_TIMEOUT)
                .operation_attempt_timeout(Duration::from_mins(1))
                .build(),
        )
        .load()
        .await;
    let client = http_client(&config);
    config.into_builder().http_client(client).build()
}

/// The HTTPS client of all services: one set of root certificates, one pool of connections.
///
/// It is what the SDK makes by default, but once. By default each service's client reads the
/// certificates into a TLS configuration of its own, twice. And it is made now, not with the first
/// call: at init Lambda gives a whole processor, later the share that goes with the memory.
fn http_client(config: &SdkConfig) -> SharedHttpClient {
    let mut connector: ConnectorBuilder<_> = Connector::builder()
        // All our timeouts agree in this one (see `once`), so one connector serves every call.
        .connector_settings(
            HttpConnectorSettings::builder()
                .connect_timeout(CONNECT_TIMEOUT)
                .build(),
        )
        .proxy_config(ProxyConfig::from_env())
        .tls_provider(Provider::Rustls(CryptoMode::AwsLc));
    connector.set_sleep_impl(config.sleep_impl());
    let connector = SharedHttpConnector::new(connector.build());
    http_client_fn(move |_, _| connector.clone())
}

/// What a creation without a client token is sent with: exactly once.
///
/// An `InternalError` or a timeout may have succeeded, and a repeat would make a second snapshot
/// (EBS-1), so the SDK never repeats one. A throttled creation goes back into the runner's queue,
/// which looks again before it tries again (see [`crate::runner`]).
#[must_use]
pub fn once() -> aws_sdk_ec2::config::Builder {
    aws_sdk_ec2::config::Builder::new()
        .retry_config(never_again())
        .timeout_config(creation_timeouts())
}

/// No retry by the SDK: for what must be sent exactly once. See [`once`].
#[must_use]
pub fn never_again() -> RetryConfig {
    RetryConfig::disabled()
}

/// How long what is sent exactly once may take before its outcome counts as unknown.
#[must_use]
pub fn creation_timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_timeout(Duration::from_secs(20))
        .build()
}

/// A filter of EC2's Describe calls; at most 200 values (EBS-7).
#[must_use]
pub fn filter(name: &str, values: Vec<String>) -> aws_sdk_ec2::types::Filter {
    aws_sdk_ec2::types::Filter::builder()
        .name(name)
        .set_values(Some(values))
        .build()
}

/// A time as AWS gives it, to the second; none where there is none, or it is out of range.
#[must_use]
pub fn timestamp(at: Option<&DateTime>) -> Option<Timestamp> {
    Timestamp::from_second(at?.secs()).ok()
}

/// What an error says about the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Not carried out, because too many calls came (EBS-6) or another change of the same thing is
    /// under way: try again later.
    Throttled,
    /// Not carried out, because the function's role doesn't allow it.
    Denied,
    /// Not carried out, for the reason that the code names.
    Refused,
    /// No answer, none of AWS's, or a server's failure: it may have been carried out (EBS-1).
    Unknown,
}

impl ErrorKind {
    fn of_code(code: &str) -> Self {
        if (THROTTLING_ERRORS.contains(&code) && code != QUOTA) || BUSY.contains(&code) {
            Self::Throttled
        } else if DENIED.contains(&code) {
            Self::Denied
        } else if FAILED.contains(&code) || TRANSIENT_ERRORS.contains(&code) {
            Self::Unknown
        } else {
            Self::Refused
        }
    }
}

/// An AWS call that went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// The call as IAM writes it, e.g. `ec2:CreateSnapshots`.
    pub operation: &'static str,
    /// AWS's error code, or a word for what kept the answer from coming.
    pub code: String,
    /// AWS's message.
    pub message: String,
    /// What it says about the call.
    pub kind: ErrorKind,
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            operation,
            code,
            message,
            kind,
        } = self;
        write!(f, "{operation} failed with {code}: {message}")?;
        match kind {
            ErrorKind::Throttled => f.write_str(" (throttled; the next sweep goes on)"),
            ErrorKind::Denied => write!(
                f,
                " (allow {operation} in the function's role; template.yaml does, unless a service control policy or a permissions boundary denies it)"
            ),
            ErrorKind::Refused => Ok(()),
            ErrorKind::Unknown if self.is_read() => {
                f.write_str(" (nothing was changed by it; the next sweep reads again)")
            }
            ErrorKind::Unknown => f.write_str(
                " (it may have been carried out all the same; the next sweep looks before it acts)",
            ),
        }
    }
}

impl StdError for ApiError {}

/// What the SDK takes for throttling, and isn't: a quota. It doesn't pass by itself.
const QUOTA: &str = "LimitExceededException";

/// Codes that are worth another try, and that the SDK's list of throttling codes lacks.
const BUSY: &[&str] = &[
    // SNS, and KMS behind it.
    "Throttled",
    "KMSThrottling",
    "KMSThrottlingException",
    // Auto Scaling: "already a pending update to a resource", "the resource is in use". The calls
    // that answer so about what doesn't pass (a group or launch configuration to be deleted) aren't
    // used here.
    "ResourceContention",
    "ResourceInUse",
    // DynamoDB: another transaction holds the item.
    "TransactionConflictException",
    // IAM: somebody else changes it just now.
    "ConcurrentModification",
    "EntityTemporarilyUnmodifiable",
];

/// Codes that mean "not allowed".
const DENIED: &[&str] = &[
    "UnauthorizedOperation",
    "AccessDenied",
    "AccessDeniedException",
    "AuthorizationError",
    "AuthFailure",
];

/// Codes of AWS's own failures, which come without a status of HTTP where one answer is about many
/// entries.
const FAILED: &[&str] = &[
    "InternalError",
    "InternalException",
    "InternalFailure",
    "InternalServerError",
    "ServiceUnavailable",
    "Unavailable",
];

/// Verbs of the calls that change nothing.
const READS: &[&str] = &[
    "BatchGet", "Describe", "Get", "List", "Lookup", "Query", "Scan", "Simulate",
];

/// Most characters of a message of AWS's. A refusal names principal, resource and policy in it.
const AWS_SAYS: usize = 600;
/// Most characters about what is no answer of AWS's.
const OTHERS_SAY: usize = 300;

impl ApiError {
    /// An error in our own words.
    #[must_use]
    pub fn new(
        operation: &'static str,
        code: &str,
        message: impl Into<String>,
        kind: ErrorKind,
    ) -> Self {
        Self {
            operation,
            code: code.to_owned(),
            message: message.into(),
            kind,
        }
    }

    /// An answer that leaves `what` out: it doesn't say "no".
    #[must_use]
    pub fn incomplete(operation: &'static str, what: &str) -> Self {
        let message = format!("the answer lacks {what}");
        Self::new(operation, "IncompleteAnswer", message, ErrorKind::Unknown)
    }

    /// What AWS's code says about a call, or about one entry of a call that has several
    /// (`PutEvents`).
    #[must_use]
    pub fn coded(operation: &'static str, code: &str, message: Option<&str>) -> Self {
        let message = clip(message.unwrap_or("no message"), AWS_SAYS);
        let kind = ErrorKind::of_code(code);
        Self::new(operation, &clip(code, 100), message, kind)
    }

    /// Reads the SDK's error of `operation`.
    pub fn of<E>(operation: &'static str, error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + StdError + 'static,
    {
        let unknown =
            |code: &str, message: String| Self::new(operation, code, message, ErrorKind::Unknown);
        match error {
            SdkError::ServiceError(service) => {
                let status = service.raw().status().as_u16();
                match service.err().code() {
                    Some(code) if status >= 400 => {
                        let mut error = Self::coded(operation, code, service.err().message());
                        if status >= 500 && error.kind != ErrorKind::Throttled {
                            error.kind = ErrorKind::Unknown;
                        }
                        error
                    }
                    _ => Self::unreadable(operation, service.raw()),
                }
            }
            SdkError::ResponseError(response) => Self::unreadable(operation, response.raw()),
            SdkError::ConstructionFailure(_) => Self::new(
                operation,
                "InvalidRequest",
                causes(error),
                ErrorKind::Refused,
            ),
            SdkError::TimeoutError(_) => unknown("Timeout", "no answer in time".to_owned()),
            _ => unknown("NoAnswer", causes(error)),
        }
    }

    /// What came can't be read as an answer of AWS's: a proxy's page, or one that was cut off. Only
    /// a "no" that AWS itself says is one, so whether it was carried out is open, whatever the
    /// status.
    fn unreadable(operation: &'static str, answer: &HttpResponse) -> Self {
        let status = answer.status().as_u16();
        let form = answer.headers().get("content-type").unwrap_or("no type");
        let size = answer
            .body()
            .bytes()
            .map_or_else(String::new, |body| format!(", {} bytes", body.len()));
        let message = format!(
            "HTTP {status} ({}{size}) can't be read as an answer of AWS; if it comes again, look for a proxy or an endpoint that isn't AWS's",
            clip(form, 60)
        );
        let kind = match status {
            429 => ErrorKind::Throttled,
            _ => ErrorKind::Unknown,
        };
        Self::new(operation, "UnreadableAnswer", message, kind)
    }

    /// Whether the call changes nothing, whatever became of it.
    #[must_use]
    pub fn is_read(&self) -> bool {
        let (_, call) = self.operation.split_once(':').unwrap_or_default();
        READS.iter().any(|verb| call.starts_with(verb))
    }

    /// Whether the thing that the call named isn't there (any more): `Invalid….NotFound`.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.code.ends_with(".NotFound")
    }
}

/// An error and what caused it, without the request or the answer that the SDK would add.
fn causes(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        next = cause.source();
    }
    clip(&text, OTHERS_SAY)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;
    use aws_sdk_ec2::Client;
    use aws_smithy_mocks::{MockResponseInterceptor, RuleMode, mock, mock_client};
    use aws_smithy_runtime_api::http::StatusCode;
    use aws_smithy_types::body::SdkBody;
    use tokio::time::timeout;

    fn http(status: u16, body: impl Into<SdkBody>) -> HttpResponse {
        HttpResponse::new(StatusCode::try_from(status).unwrap(), body.into())
    }

    fn refusal(status: u16, code: &str, message: &str) -> HttpResponse {
        let body = format!(
            "<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors><RequestID>1</RequestID></Response>"
        );
        http(status, body)
    }

    async fn failing(status: u16, code: &'static str) -> ApiError {
        answered(move || refusal(status, code, "says AWS")).await
    }

    async fn answered(answer: impl Fn() -> HttpResponse + Send + Sync + 'static) -> ApiError {
        let rule = mock!(Client::delete_snapshot).then_http_response(answer);
        let ec2 = mock_client!(aws_sdk_ec2, RuleMode::MatchAny, [&rule]);
        let error = ec2.delete_snapshot().snapshot_id("snap-1").send().await;
        ApiError::of("ec2:DeleteSnapshot", &error.unwrap_err())
    }

    #[tokio::test(start_paused = true)]
    async fn tells_throttled_denied_refused_and_unknown_apart() {
        for (status, code, kind) in [
            (503, "RequestLimitExceeded", ErrorKind::Throttled),
            (400, "Throttling", ErrorKind::Throttled),
            (403, "UnauthorizedOperation", ErrorKind::Denied),
            (400, "InvalidSnapshot.InUse", ErrorKind::Refused),
            (500, "InternalError", ErrorKind::Unknown),
            (503, "Unavailable", ErrorKind::Unknown),
            (500, "UnauthorizedOperation", ErrorKind::Unknown),
            (500, "ResourceContention", ErrorKind::Throttled),
        ] {
            let error = failing(status, code).await;
            assert_eq!((error.code.as_str(), error.kind), (code, kind));
        }
        let gone = failing(400, "InvalidSnapshot.NotFound").await;
        assert!(gone.is_not_found());
    }

    #[tokio::test]
    async fn an_error_names_the_call_the_cause_and_the_next_step() {
        let text = failing(403, "UnauthorizedOperation").await.to_string();
        assert!(
            text.starts_with(
                "ec2:DeleteSnapshot failed with UnauthorizedOperation: says AWS (allow"
            ),
            "{text}"
        );
    }

    #[test]
    fn a_code_alone_says_whether_another_try_is_worth_it() {
        for (kind, codes) in [
            (
                ErrorKind::Throttled,
                &[
                    "Throttling",
                    "ThrottlingException",
                    "Throttled",
                    "KMSThrottling",
                    "ResourceInUse",
                    "ResourceContention",
                    "ProvisionedThroughputExceededException",
                    "RequestLimitExceeded",
                    "TransactionInProgressException",
                    "TransactionConflictException",
                    "SlowDown",
                ][..],
            ),
            (
                ErrorKind::Denied,
                &["AccessDenied", "UnauthorizedOperation"],
            ),
            (
                ErrorKind::Unknown,
                &["InternalFailure", "InternalError", "RequestTimeout"],
            ),
            (
                ErrorKind::Refused,
                &[
                    "LimitExceededException",
                    "LimitExceeded",
                    "ConditionalCheckFailedException",
                    "ResourceInUseException",
                    "MalformedDetail",
                    "",
                ],
            ),
        ] {
            for code in codes {
                assert_eq!(ErrorKind::of_code(code), kind, "{code}");
            }
        }
    }

    /// What isn't AWS's: a proxy's page, half an answer, a megabyte of either.
    #[tokio::test(start_paused = true)]
    async fn what_is_no_answer_of_aws_is_unknown_and_told_in_one_line() {
        let page = format!("<html>{}</html>", "<p>secret</p>\n".repeat(30_000));
        for (status, body, kind) in [
            (502, page.clone(), ErrorKind::Unknown),
            (403, page.clone(), ErrorKind::Unknown),
            (404, String::new(), ErrorKind::Unknown),
            (429, page.clone(), ErrorKind::Throttled),
        ] {
            let error = answered(move || {
                let mut answer = http(status, body.clone());
                answer.headers_mut().insert("content-type", "text/html");
                answer.headers_mut().insert("x-token", "secret");
                answer
            })
            .await;
            let text = error.to_string();
            assert_eq!(
                (error.code.as_str(), error.kind),
                ("UnreadableAnswer", kind)
            );
            assert!(
                text.starts_with(&format!(
                    "ec2:DeleteSnapshot failed with UnreadableAnswer: HTTP {status} (text/html"
                )) && !text.contains("secret")
                    && !text.contains('\n')
                    && text.len() < 300,
                "{text}"
            );
        }
    }

    /// The snapshot may well be there (EBS-1).
    #[tokio::test(start_paused = true)]
    async fn a_success_that_cant_be_read_after_a_creation_is_unknown() {
        for body in ["<html>", "", "<Create"] {
            let create = mock!(Client::create_snapshot).then_http_response(move || http(200, body));
            let ec2 = mock_client!(aws_sdk_ec2, RuleMode::MatchAny, [&create]);
            let error = ec2.create_snapshot().volume_id("vol-1").send().await;
            let error = ApiError::of("ec2:CreateSnapshot", &error.expect_err(body));
            assert_eq!(error.kind, ErrorKind::Unknown, "{body}: {error}");
            assert!(error.message.starts_with("HTTP 200 ("), "{body}: {error}");
            assert!(
                error.to_string().contains("may have been carried out"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_read_is_never_said_to_have_been_carried_out() {
        for (operation, read) in [
            ("ec2:DescribeVolumes", true),
            ("ssm:GetParameter", true),
            ("dynamodb:Query", true),
            ("ecr:BatchGetImage", true),
            ("iam:SimulatePrincipalPolicy", true),
            ("cloudtrail:LookupEvents", true),
            ("ec2:CreateSnapshots", false),
            ("sns:Publish", false),
            ("dynamodb:PutItem", false),
        ] {
            let text = ApiError::new(operation, "Timeout", "-", ErrorKind::Unknown).to_string();
            assert_eq!(text.contains("nothing was changed"), read, "{text}");
            assert_eq!(text.contains("may have been carried out"), !read, "{text}");
        }
    }

    #[tokio::test]
    async fn a_long_message_of_aws_is_cut() {
        let message = "x ".repeat(1_000_000) + "\n";
        let error = answered(move || refusal(400, "Invalid", &message)).await;
        assert_eq!(error.code, "Invalid");
        assert!(error.to_string().len() < 700, "{}", error.to_string().len());
    }

    /// By default each service's client makes connections of its own, with a TLS handshake for each.
    #[tokio::test]
    async fn all_services_share_their_connections() {
        let aws = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", aws.local_addr().unwrap());
        let answering = std::thread::spawn(move || {
            let (mut connection, _) = aws.accept().unwrap();
            let limit = Some(Duration::from_secs(10));
            connection.set_read_timeout(limit).unwrap();
            // Both calls have to come over this one connection; nobody accepts a second.
            let mut hosts = Vec::new();
            for _ in 0..2 {
                let mut request = Vec::new();
                let mut part = [0; 4_096];
                while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                    let read = connection.read(&mut part).unwrap();
                    assert!(read > 0, "the connection was closed");
                    request.extend_from_slice(&part[..read]);
                }
                hosts.push(String::from_utf8_lossy(&request).into_owned());
                connection
                    .write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")
                    .unwrap();
            }
            hosts
        });
        let config = config()
            .await
            .into_builder()
            .endpoint_url(endpoint)
            .region(aws_sdk_ec2::config::Region::from_static("eu-central-1"))
            .credentials_provider(aws_sdk_ec2::config::SharedCredentialsProvider::new(
                aws_sdk_ec2::config::Credentials::for_tests(),
            ))
            .build();
        let topics = aws_sdk_sns::Client::new(&config);
        let subscribed = topics.list_subscriptions().send();
        timeout(Duration::from_secs(10), subscribed)
            .await
            .unwrap()
            .unwrap_err();
        // The connection goes back into the pool in a task of its own.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let parameters = aws_sdk_ssm::Client::new(&config);
        let policy = parameters.describe_parameters().send();
        timeout(Duration::from_secs(10), policy)
            .await
            .expect("a second connection was made")
            .unwrap_err();
        let requests = answering.join().unwrap();
        assert!(requests[0].contains("/sns/"), "{}", requests[0]);
        assert!(requests[1].contains("/ssm/"), "{}", requests[1]);
    }

    /// A creation is sent once whatever AWS answers, a read is tried again: the difference that
    /// keeps one night from making 4,000 snapshots of 1,000 volumes (EBS-1).
    #[tokio::test(start_paused = true)]
    async fn a_creation_is_never_repeated_by_the_sdk() {
        for (status, code) in [(500, "InternalError"), (503, "RequestLimitExceeded")] {
            let refused = move || refusal(status, code, "says AWS");
            let create = mock!(Client::create_snapshot).then_http_response(refused);
            let read = mock!(Client::describe_volumes).then_http_response(refused);
            let interceptor = MockResponseInterceptor::new()
                .rule_mode(RuleMode::MatchAny)
                .with_rule(&create)
                .with_rule(&read);
            let ec2 = Client::from_conf(
                aws_sdk_ec2::Config::builder()
                    .with_test_defaults()
                    .region(aws_sdk_ec2::config::Region::from_static("eu-central-1"))
                    .retry_config(RetryConfig::standard().with_max_attempts(4))
                    .http_client(aws_smithy_mocks::create_mock_http_client())
                    .interceptor(interceptor)
                    .build(),
            );
            ec2.create_snapshot()
                .volume_id("vol-1")
                .customize()
                .config_override(once())
                .send()
                .await
                .unwrap_err();
            assert_eq!(create.num_calls(), 1, "{code}");
            ec2.describe_volumes().send().await.unwrap_err();
            assert_eq!(read.num_calls(), 4, "{code}");
        }
    }
}
