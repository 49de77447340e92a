//! An AMI as it is known: plain data, also in the memory of a launch.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How much is known of an AMI (AMI-2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Known {
    /// Described.
    Described,
    /// Gone or not visible any more; what its instance's metadata tells.
    Metadata,
    /// An ancestor that can't be described; what the ancestry tells: AWS's word for its owner, and
    /// when it was created.
    Ancestry,
    /// Nothing but its id.
    Unknown,
}

/// An AMI.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Image {
    /// `ami-…`
    pub id: String,
    /// How much is known of it.
    pub known: Known,
    /// Its name.
    pub name: Option<String>,
    /// The account that owns it.
    pub owner: Option<String>,
    /// AWS's word for the owner: `amazon`, `aws-marketplace`.
    pub owner_alias: Option<String>,
    /// When it was created.
    pub created: Option<Timestamp>,
    /// From when on it is deprecated.
    pub deprecated: Option<Timestamp>,
    /// Its architecture.
    pub architecture: Option<String>,
    /// Its tags: the account's own.
    pub tags: Vec<(String, String)>,
    /// Its product codes in AWS Marketplace.
    #[serde(default)]
    pub product_codes: Vec<String>,
    /// The AMI that it was made from.
    pub source: Option<String>,
}

impl Image {
    /// An AMI of which nothing is known but its id.
    pub fn unknown(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            known: Known::Unknown,
            name: None,
            owner: None,
            owner_alias: None,
            created: None,
            deprecated: None,
            architecture: None,
            tags: Vec::new(),
            product_codes: Vec::new(),
            source: None,
        }
    }

    /// Whether `owner` (an account's id, `self` or an alias) owns it; none where that isn't known.
    pub fn is_owned_by(&self, owner: &str, account: Option<&str>) -> Option<bool> {
        let is_account = |account: &str| match (&self.owner, &self.owner_alias) {
            (Some(owner), _) => Some(owner == account),
            (None, _) => None,
        };
        match owner {
            // What has an alias belongs to Amazon or to a seller.
            "self" => match &self.owner_alias {
                Some(_) if self.owner.is_none() => Some(false),
                _ => is_account(account?),
            },
            _ if owner.bytes().all(|byte| byte.is_ascii_digit()) => is_account(owner),
            _ => match &self.owner_alias {
                Some(alias) => Some(alias == owner),
                None if self.known == Known::Unknown => None,
                None => Some(false),
            },
        }
    }

    /// For people: its id and name.
    pub fn label(&self) -> String {
        match &self.name {
            Some(name) => format!("{} ({name})", self.id),
            None => format!("{} (of no known name)", self.id),
        }
    }
}
