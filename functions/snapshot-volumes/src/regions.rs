//! EC2 here and in the Regions that the stack's parameters let plans copy to.

mod presign;

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::config::Region;
use guardrails::aws::{ApiError, ErrorKind, SdkConfig};
use guardrails::configuration::{ConfigurationError, Environment};
use guardrails::resource::Arn;
use tokio::time::timeout;

use crate::policy::{Copying, Plan};
use crate::regions::presign::Presigner;

/// Longest that is waited for another Region: what is here goes on without it.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);
const COPY: &str = "ec2:CopySnapshot";

/// The clients, and what may be copied where.
#[derive(Debug)]
pub(crate) struct Regions {
    /// Of the stack's own Region.
    pub(crate) here: Client,
    home: String,
    there: BTreeMap<String, Client>,
    /// What reads blocks of snapshots, by Region: where the stack lets drills be done.
    ebs: BTreeMap<String, aws_sdk_ebs::Client>,
    /// ARNs of the keys that copies may use.
    keys: Vec<String>,
    presigner: Option<Presigner>,
}

impl Regions {
    /// Reads `COPY_REGIONS` and `COPY_KEY_ARNS`, lists with commas, `EC2_HOST` where there are
    /// Regions, and `RESTORE_DRILLS`.
    pub(crate) fn new(
        config: &SdkConfig,
        environment: &Environment,
    ) -> Result<Self, ConfigurationError> {
        let list = |name| -> Vec<String> {
            let text = environment.optional(name).unwrap_or_default();
            let items = text.split(',').map(str::trim);
            items
                .filter(|item| !item.is_empty())
                .map(str::to_owned)
                .collect()
        };
        let client = |region: String| {
            let there = aws_sdk_ec2::config::Builder::from(config)
                .region(Region::new(region.clone()))
                .build();
            (region, Client::from_conf(there))
        };
        let there: BTreeMap<_, _> = list("COPY_REGIONS").into_iter().map(client).collect();
        let home = config.region().map(ToString::to_string).unwrap_or_default();
        let presigner = if there.is_empty() {
            None
        } else {
            let host = environment.required("EC2_HOST", "EC2's host name in this Region")?;
            let credentials = config.credentials_provider();
            credentials.map(|credentials| Presigner::new(host, home.clone(), credentials))
        };
        let ebs = |region: &String| {
            let client = aws_sdk_ebs::config::Builder::from(config)
                .region(aws_sdk_ebs::config::Region::new(region.clone()))
                .build();
            (region.clone(), aws_sdk_ebs::Client::from_conf(client))
        };
        let drills = environment.optional("RESTORE_DRILLS").as_deref() == Some("true");
        let regions = there.keys().chain([&home]).filter(|_| drills);
        Ok(Self {
            ebs: regions.map(ebs).collect(),
            here: Client::new(config),
            home,
            there,
            keys: list("COPY_KEY_ARNS"),
            presigner,
        })
    }

    /// The stack's own Region.
    pub(crate) fn home(&self) -> &str {
        &self.home
    }

    /// The Regions that may be copied to, with their clients.
    pub(crate) fn there(&self) -> impl Iterator<Item = (&str, &Client)> {
        let there = self.there.iter();
        there.map(|(region, client)| (region.as_str(), client))
    }

    /// The client of a Region; none: of the stack's own.
    pub(crate) fn client(&self, region: Option<&str>) -> Result<&Client, ApiError> {
        match region {
            None => Ok(&self.here),
            Some(region) => self.there.get(region).ok_or_else(|| self.not_named(region)),
        }
    }

    /// The client of a Region by its name.
    pub(crate) fn client_in(&self, region: &str) -> Result<&Client, ApiError> {
        self.client((region != self.home).then_some(region))
    }

    /// What reads blocks in a Region.
    pub(crate) fn ebs(&self, region: &str) -> Result<&aws_sdk_ebs::Client, ApiError> {
        let client = self.ebs.get(region);
        client.ok_or_else(|| self.no_drills().unwrap_or_else(|| self.not_named(region)))
    }

    /// Why no drill may be done, if none may.
    pub(crate) fn no_drills(&self) -> Option<ApiError> {
        self.ebs.is_empty().then(|| ApiError {
            operation: "ebs:GetSnapshotBlock",
            code: "DrillsNotAllowed".to_owned(),
            message: "the policy has drills, and the stack's parameter RestoreDrills is false; set it to true, or take `drills` out of the policy".to_owned(),
            kind: ErrorKind::Refused,
        })
    }

    /// What a Region is that the stack doesn't name.
    pub(crate) fn not_named(&self, region: &str) -> ApiError {
        if region == self.home {
            return not_allowed(
                "OwnRegion",
                format!(
                    "the policy asks for copies in {region}, which is the stack's own Region; take it out of the plan's `copies`"
                ),
            );
        }
        not_allowed(
            "RegionNotNamed",
            format!(
                "the policy asks for copies in {region}, and the stack's parameter CopyRegions doesn't name it; add it there, or take it out of the policy's `copies` and `drills`"
            ),
        )
    }

    /// Why a plan's copies may not be made: the key isn't among those that the stack names.
    pub(crate) fn forbidden(&self, plan: &Plan, copying: &Copying) -> Option<ApiError> {
        let key = copying.key.as_ref()?;
        let is_key = Arn::read(key).is_some_and(|arn| arn.resource.starts_with("key/"));
        // Which key an alias is, KMS knows, and lets it be used only where it is named as well.
        let in_region = |arn: &String| Arn::read(arn).is_some_and(|a| a.region == copying.region);
        let named = if is_key {
            self.keys.contains(key)
        } else {
            self.keys.iter().any(in_region)
        };
        (!named).then(|| {
            let missing = if is_key { "it" } else { "a key there" };
            not_allowed(
                "KeyNotNamed",
                format!(
                    "plan {} copies to {} with the key {key}, and the stack's parameter CopyKeyArns doesn't name {missing}; add its ARN there, or take `key` out of the plan's `copies`",
                    plan.name, copying.region
                ),
            )
        })
    }

    /// The request at the source that a copy hands on.
    pub(crate) async fn presigned(
        &self,
        source: &str,
        destination: &str,
    ) -> Result<Option<String>, ApiError> {
        match &self.presigner {
            Some(presigner) => presigner.copy(source, destination).await.map(Some),
            None => Ok(None),
        }
    }

    #[cfg(test)]
    pub(crate) fn of(here: &Client, there: &[(&str, &Client)], keys: &[&str]) -> Self {
        let there = there.iter();
        Self {
            here: here.clone(),
            home: "eu-central-1".to_owned(),
            there: there
                .map(|(region, client)| ((*region).to_owned(), (*client).clone()))
                .collect(),
            ebs: BTreeMap::new(),
            keys: keys.iter().map(|key| (*key).to_owned()).collect(),
            presigner: None,
        }
    }

    /// With what reads blocks here.
    #[cfg(test)]
    pub(crate) fn with_ebs(mut self, ebs: &aws_sdk_ebs::Client) -> Self {
        self.ebs.insert(self.home.clone(), ebs.clone());
        self
    }
}

/// What a look at a Region says, if it does within `patience`.
pub(crate) async fn within<T>(
    patience: Duration,
    region: &str,
    operation: &'static str,
    look: impl Future<Output = Result<T, ApiError>>,
) -> Result<T, ApiError> {
    let looked = timeout(patience, look).await;
    let looked = looked.unwrap_or_else(|_elapsed| {
        Err(ApiError {
            operation,
            code: "Timeout".to_owned(),
            message: format!("no answer within {} s", patience.as_secs()),
            kind: ErrorKind::Unknown,
        })
    });
    looked.map_err(|error| in_region(region, error))
}

/// An error with the Region that it came from: people look here first.
pub(crate) fn in_region(region: &str, error: ApiError) -> ApiError {
    ApiError {
        message: format!("in {region}: {}", error.message),
        ..error
    }
}

fn not_allowed(code: &str, message: String) -> ApiError {
    ApiError {
        operation: COPY,
        code: code.to_owned(),
        message,
        kind: ErrorKind::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::tests::parse;

    fn regions<const N: usize>(
        variables: [(&str, &str); N],
    ) -> Result<Regions, ConfigurationError> {
        let config = SdkConfig::builder()
            .region(Region::new("eu-central-1"))
            .behavior_version(aws_sdk_ec2::config::BehaviorVersion::latest())
            .build();
        Regions::new(&config, &Environment::from(variables))
    }

    #[test]
    fn what_the_stack_does_not_name_is_refused_by_the_parameters_name() {
        const KEY: &str = "arn:aws:kms:us-east-1:123456789012:key/1a2b";
        let regions = regions([
            ("COPY_REGIONS", "us-east-1, eu-west-1"),
            ("COPY_KEY_ARNS", KEY),
            ("EC2_HOST", "ec2.eu-central-1.amazonaws.com"),
        ])
        .unwrap();
        assert_eq!(
            regions
                .there()
                .map(|(region, _)| region)
                .collect::<Vec<_>>(),
            ["eu-west-1", "us-east-1"]
        );
        let other = regions.client(Some("eu-north-1")).unwrap_err().to_string();
        assert!(
            other.contains("CopyRegions") && other.contains("eu-north-1"),
            "{other}"
        );
        let own = regions
            .client(Some("eu-central-1"))
            .unwrap_err()
            .to_string();
        assert!(own.contains("own Region"), "{own}");
        for (copying, allowed) in [
            ("region: us-east-1", true),
            ("region: us-east-1, key: alias/backup", true),
            ("region: eu-west-1, key: alias/backup", false),
            (
                "region: us-east-1, key: \"arn:aws:kms:us-east-1:123456789012:key/1a2b\"",
                true,
            ),
            (
                "region: us-east-1, key: \"arn:aws:kms:us-east-1:123456789012:key/other\"",
                false,
            ),
        ] {
            let policy = parse(&format!(
                "{{name: p, select: {{all: true}}, schedule: \"0 3 * * *\", keep: {{last: 1}}, copies: [{{{copying}, keep: {{last: 1}}}}]}}"
            ))
            .unwrap();
            let plan = &policy.plans.0[0];
            let forbidden = regions.forbidden(plan, &plan.copies[0]);
            assert_eq!(forbidden.is_none(), allowed, "{copying}: {forbidden:?}");
            if let Some(error) = forbidden {
                assert!(error.to_string().contains("CopyKeyArns"), "{error}");
            }
        }
    }

    #[test]
    fn without_regions_nothing_is_needed() {
        let none = regions([]).unwrap();
        assert_eq!(none.there().count(), 0);
        let incomplete = regions([("COPY_REGIONS", "us-east-1")]).unwrap_err();
        assert!(incomplete.to_string().contains("EC2_HOST"), "{incomplete}");
    }
}
