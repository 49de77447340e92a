//! The presigned request of a copy (EBS-17): EC2 over there asks EC2 here by it, as us, for the
//! source. The SDK for Rust doesn't make it.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};
use aws_sigv4::http_request::{
    SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign,
};
use aws_sigv4::sign::v4;
use guardrails::aws::{ApiError, ErrorKind};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// How long EC2 over there may take to use it.
const EXPIRES: Duration = Duration::from_hours(1);
/// What a query holds as it is: RFC 3986's unreserved characters.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Signs requests to EC2 in the stack's own Region.
#[derive(Debug)]
pub(super) struct Presigner {
    host: String,
    region: String,
    credentials: SharedCredentialsProvider,
}

impl Presigner {
    pub(super) fn new(
        host: String,
        region: String,
        credentials: SharedCredentialsProvider,
    ) -> Self {
        Self {
            host,
            region,
            credentials,
        }
    }

    /// `CopySnapshot` of `source` to the Region `destination`.
    pub(super) async fn copy(&self, source: &str, destination: &str) -> Result<String, ApiError> {
        let credentials = self.credentials.provide_credentials().await;
        let credentials = credentials.map_err(|error| unsigned(&error))?;
        let url = format!(
            "https://{}/?Action=CopySnapshot&DestinationRegion={destination}&SourceRegion={}&SourceSnapshotId={source}&Version=2016-11-15",
            self.host, self.region
        );
        self.signed(&url, credentials, SystemTime::now())
            .map_err(|error| unsigned(&*error))
    }

    fn signed(
        &self,
        url: &str,
        credentials: Credentials,
        now: SystemTime,
    ) -> Result<String, Box<dyn std::error::Error>> {
        let mut settings = SigningSettings::default();
        settings.signature_location = SignatureLocation::QueryParams;
        settings.expires_in = Some(EXPIRES);
        let identity = credentials.into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name("ec2")
            .time(now)
            .settings(settings)
            .build()?
            .into();
        let request = SignableRequest::new("GET", url, std::iter::empty(), SignableBody::empty())?;
        let (instructions, _) = sign(request, &parameters)?.into_parts();
        let (_, query) = instructions.into_parts();
        let query = query.into_iter();
        Ok(query.fold(url.to_owned(), |url, (name, value)| {
            format!("{url}&{name}={}", utf8_percent_encode(&value, ENCODED))
        }))
    }
}

fn unsigned(error: &(impl std::fmt::Display + ?Sized)) -> ApiError {
    ApiError {
        operation: "ec2:CopySnapshot",
        code: "NotSigned".to_owned(),
        message: error.to_string(),
        kind: ErrorKind::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As botocore 1.43.127 signs it (`SigV4QueryAuth`), for the same moment and credentials.
    #[test]
    fn it_is_signed_as_the_sdk_for_python_signs_it() {
        let credentials = Credentials::new(
            "AKIDEXAMPLE",
            "secret",
            Some("tok+en/=".to_owned()),
            None,
            "test",
        );
        let presigner = Presigner::new(
            "ec2.eu-central-1.amazonaws.com".to_owned(),
            "eu-central-1".to_owned(),
            SharedCredentialsProvider::new(credentials.clone()),
        );
        let url = "https://ec2.eu-central-1.amazonaws.com/?Action=CopySnapshot&DestinationRegion=us-east-1&SourceRegion=eu-central-1&SourceSnapshotId=snap-0123456789abcdef0&Version=2016-11-15";
        let now = SystemTime::UNIX_EPOCH + Duration::from_mins(29_921_000);
        let signed = presigner.signed(url, credentials, now).unwrap();
        let signature = signed.split("X-Amz-Signature=").nth(1).unwrap();
        let (signature, token) = signature.split_once('&').unwrap();
        assert_eq!(
            signature,
            "ed4ab8874815054c2b95140393771803670b6a13fc25d6fb7e78bd71fe2a83fd"
        );
        assert_eq!(token, "X-Amz-Security-Token=tok%2Ben%2F%3D");
    }
}
