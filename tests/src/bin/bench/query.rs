//! The EC2 query protocol: form parameters in, XML out.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// An error as EC2 answers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// HTTP status.
    pub(crate) status: u16,
    /// `InvalidParameterValue`
    pub(crate) code: &'static str,
    /// For people.
    pub(crate) message: String,
}

impl Refusal {
    /// The caller's mistake.
    pub(crate) fn of(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status: 400,
            code,
            message: message.into(),
        }
    }

    /// A call that nobody taught the synthetic account.
    pub(crate) fn unknown(action: &str) -> Self {
        Self::of(
            "InvalidAction",
            format!("The action {action} is not valid for this web service."),
        )
    }

    /// A filter that the call doesn't have.
    pub(crate) fn filter(name: &str) -> Self {
        Self::of(
            "InvalidParameterValue",
            format!("The filter '{name}' is invalid"),
        )
    }

    /// EBS-6; Auto Scaling and CloudTrail have words of their own.
    pub(crate) fn throttled(service: &str) -> Self {
        match service {
            "ec2" => Self {
                status: 503,
                ..Self::of("RequestLimitExceeded", "Request limit exceeded.")
            },
            "cloudtrail" => Self::of("ThrottlingException", "Rate exceeded"),
            _ => Self::of("Throttling", "Rate exceeded"),
        }
    }

    /// The answer's body as the JSON protocol has it.
    pub(crate) fn json(&self) -> String {
        serde_json::json!({ "__type": self.code, "message": self.message }).to_string()
    }

    /// The answer's body as IAM, SNS and Auto Scaling write it.
    pub(crate) fn query(&self) -> String {
        let (code, message) = (self.code, escaped(&self.message));
        format!(
            "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error><RequestId>{REQUEST_ID}</RequestId></ErrorResponse>"
        )
    }

    /// The answer's body as EC2 writes it.
    pub(crate) fn body(&self) -> String {
        let (code, message) = (self.code, escaped(&self.message));
        format!(
            "<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors><RequestID>{REQUEST_ID}</RequestID></Response>"
        )
    }
}

/// Parameters of a paged Describe call with filters.
pub(crate) const PAGED: [&str; 3] = ["Filter", "MaxResults", "NextToken"];

/// Nobody looks it up, so one will do.
pub(crate) const REQUEST_ID: &str = "59dbff89-35bd-4eac-99ed-be587EXAMPLE";

/// A request's parameters, in the order of their names.
#[derive(Debug)]
pub(crate) struct Query(BTreeMap<String, String>);

impl Query {
    /// Reads a form body.
    pub(crate) fn parse(body: &[u8]) -> Self {
        Self(form_urlencoded::parse(body).into_owned().collect())
    }

    /// One parameter.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The parameters' values.
    pub(crate) fn values(&self) -> impl Iterator<Item = &str> {
        self.0.values().map(String::as_str)
    }

    /// One parameter that must be there.
    pub(crate) fn need(&self, name: &str) -> Result<&str, Refusal> {
        self.get(name).ok_or_else(|| {
            Refusal::of(
                "MissingParameter",
                format!("The request must contain the parameter {name}"),
            )
        })
    }

    /// A flag, false when left out.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.get(name) == Some("true")
    }

    /// `Prefix.1`, `Prefix.2` …
    pub(crate) fn list(&self, prefix: &str) -> Vec<&str> {
        (1..)
            .map_while(|n| self.get(&format!("{prefix}.{n}")))
            .collect()
    }

    /// `Prefix.N.Key` and `Prefix.N.Value`; a missing value is none.
    pub(crate) fn tags(&self, prefix: &str) -> Vec<(&str, Option<&str>)> {
        (1..)
            .map_while(|n| {
                let key = self.get(&format!("{prefix}.{n}.Key"))?;
                Some((key, self.get(&format!("{prefix}.{n}.Value"))))
            })
            .collect()
    }

    /// `Filter.N.Name` and its values.
    pub(crate) fn filters(&self) -> Result<Vec<(&str, Vec<&str>)>, Refusal> {
        let filters: Vec<_> = (1..)
            .map_while(|n| {
                let name = self.get(&format!("Filter.{n}.Name"))?;
                Some((name, self.list(&format!("Filter.{n}.Value"))))
            })
            .collect();
        // EBS-7
        match filters
            .iter()
            .find(|(_, values)| values.is_empty() || values.len() > 200)
        {
            Some((name, values)) => Err(Refusal::of(
                "FilterLimitExceeded",
                format!("The filter {name} has {} values", values.len()),
            )),
            None => Ok(filters),
        }
    }

    /// Refuses what isn't in `known`, so that nothing that the function asks for goes unheeded.
    pub(crate) fn only(&self, known: &[&str]) -> Result<(), Refusal> {
        let strange = self.0.keys().find(|name| {
            let base = name.split('.').next().unwrap_or(name);
            base != "Action" && base != "Version" && !known.contains(&base)
        });
        match strange {
            Some(name) => Err(Refusal::of(
                "UnknownParameter",
                format!("The parameter {name} is not recognized"),
            )),
            None => Ok(()),
        }
    }

    /// `MaxResults` within its bounds, and where the page starts.
    pub(crate) fn page(&self, most: usize) -> Result<(usize, usize), Refusal> {
        self.page_by("MaxResults", most)
    }

    /// The same where the size has another name.
    pub(crate) fn page_by(&self, size_name: &str, most: usize) -> Result<(usize, usize), Refusal> {
        let size: usize = self
            .need(size_name)?
            .parse()
            .ok()
            .filter(|size| (5..=most).contains(size))
            .ok_or_else(|| {
                Refusal::of(
                    "InvalidParameterValue",
                    format!("{size_name} must be between 5 and {most}"),
                )
            })?;
        let start = match self.get("NextToken") {
            None => 0,
            Some(token) => token
                .strip_prefix(TOKEN)
                .and_then(|at| at.parse().ok())
                .ok_or_else(|| {
                    Refusal::of("InvalidNextToken", format!("{token} isn't of this account"))
                })?,
        };
        Ok((size, start))
    }
}

const TOKEN: &str = "at-";

/// The answer of a Describe call: items of `set`, from `start` on, `size` at most.
pub(crate) fn answer_page<'a>(
    action: &str,
    set: &str,
    (size, start): (usize, usize),
    items: impl Iterator<Item = (usize, &'a str)>,
) -> String {
    let mut items = items.skip_while(|(at, _)| *at < start);
    let page: Vec<&str> = items.by_ref().take(size).map(|(_, item)| item).collect();
    let next = items.next();
    let length: usize = page.iter().map(|item| item.len()).sum();
    let mut body = String::with_capacity(length + 512);
    let _ = write!(
        body,
        "<{action}Response xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><requestId>{REQUEST_ID}</requestId><{set}>"
    );
    for item in page {
        body.push_str(item);
    }
    let _ = write!(body, "</{set}>");
    if let Some((at, _)) = next {
        let _ = write!(body, "<nextToken>{TOKEN}{at}</nextToken>");
    }
    let _ = write!(body, "</{action}Response>");
    body
}

/// The answer of another call.
pub(crate) fn answer(action: &str, content: &str) -> String {
    format!(
        "<{action}Response xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><requestId>{REQUEST_ID}</requestId>{content}</{action}Response>"
    )
}

/// The answer of a call of IAM, Auto Scaling or `CloudFormation`.
pub(crate) fn wrapped(action: &str, result: &str) -> String {
    format!(
        "<{action}Response><{action}Result>{result}</{action}Result><ResponseMetadata><RequestId>{REQUEST_ID}</RequestId></ResponseMetadata></{action}Response>"
    )
}

/// A tag set.
pub(crate) fn tag_set<'a>(xml: &mut String, tags: impl Iterator<Item = &'a (String, String)>) {
    xml.push_str("<tagSet>");
    for (key, value) in tags {
        xml.push_str("<item><key>");
        xml.push_str(&escaped(key));
        xml.push_str("</key><value>");
        xml.push_str(&escaped(value));
        xml.push_str("</value></item>");
    }
    xml.push_str("</tagSet>");
}

/// Text as XML holds it.
pub(crate) fn escaped(text: &str) -> std::borrow::Cow<'_, str> {
    if !text.contains(['<', '>', '&']) {
        return text.into();
    }
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_lists_filters_and_tags() {
        let query = Query::parse(
            b"Action=A&Filter.1.Name=tag%3Ax&Filter.1.Value.1=1&Filter.1.Value.2=2&Tag.1.Key=k&Tag.1.Value=v&Tag.2.Key=l",
        );
        assert_eq!(query.filters(), Ok(vec![("tag:x", vec!["1", "2"])]));
        assert_eq!(query.tags("Tag"), [("k", Some("v")), ("l", None)]);
        assert!(query.only(&["Filter", "Tag"]).is_ok());
        assert_eq!(query.only(&["Tag"]).unwrap_err().code, "UnknownParameter");
    }

    #[test]
    fn pages_meet_every_item_once() {
        let items: Vec<String> = (0..23).map(|n| format!("<i>{n}</i>")).collect();
        let mut query = Query::parse(b"MaxResults=5");
        let mut met = String::new();
        let mut pages = 0;
        loop {
            let page = query.page(1_000).unwrap();
            // Every second item doesn't match a filter.
            let matching = items.iter().map(String::as_str).enumerate().step_by(2);
            let body = answer_page("D", "set", page, matching);
            pages += 1;
            met.push_str(&body[body.find("<set>").unwrap() + 5..body.find("</set>").unwrap()]);
            match body.split("<nextToken>").nth(1) {
                None => break,
                Some(rest) => {
                    let token = rest.split('<').next().unwrap();
                    query = Query::parse(format!("MaxResults=5&NextToken={token}").as_bytes());
                }
            }
        }
        assert_eq!(pages, 3);
        let expected: Vec<&str> = items.iter().map(String::as_str).step_by(2).collect();
        assert_eq!(met, expected.concat());
    }
}
