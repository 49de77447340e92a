//! A request to AWS, of the query protocol or of the JSON one, and how it is answered.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// An answer's content, or AWS's code for why there is none and more about it.
pub(crate) type Answer = Result<String, (&'static str, String)>;

/// Refuses what nobody taught the synthetic account, or what shouldn't be asked.
pub(crate) fn refuse(why: impl Into<String>) -> Answer {
    Err(("UnexpectedCall", why.into()))
}

/// One call.
#[derive(Debug, Default)]
pub(crate) struct Call {
    /// As far as it matters for the form of the answer and for the rates: `ec2`, `autoscaling`,
    /// `query`, `cloudtrail`, `json`.
    pub(crate) service: &'static str,
    pub(crate) action: String,
    form: BTreeMap<String, String>,
    pub(crate) json: Value,
}

impl Call {
    /// Reads a request by the header `x-amz-target`, or else by the form in its body.
    pub(crate) fn read(target: Option<&str>, body: &[u8]) -> Self {
        let mut call = Self::default();
        if let Some(target) = target {
            let cloudtrail = target.contains("cloudtrail");
            call.service = if cloudtrail { "cloudtrail" } else { "json" };
            target
                .rsplit('.')
                .next()
                .unwrap_or_default()
                .clone_into(&mut call.action);
            call.json = serde_json::from_slice(body).unwrap_or_default();
            return call;
        }
        call.form = form_urlencoded::parse(body).into_owned().collect();
        call.action = call.get("Action").to_owned();
        call.service = match call.get("Version") {
            "2016-11-15" => "ec2",
            "2011-01-01" => "autoscaling",
            _ => "query",
        };
        call
    }

    /// A parameter; empty where it is left out.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.form.get(name).map_or("", String::as_str)
    }

    /// `Prefix.1`, `Prefix.2` …
    pub(crate) fn list(&self, prefix: &str) -> Vec<&str> {
        let at = |n| self.form.get(&format!("{prefix}.{n}"));
        (1..).map_while(at).map(String::as_str).collect()
    }

    /// `Prefix.N.Key` and `Prefix.N.Value`.
    pub(crate) fn tags(&self, prefix: &str) -> Vec<(&str, &str)> {
        let key = |n| self.form.get(&format!("{prefix}.{n}.Key"));
        let tag = |n| Some((&**key(n)?, self.get(&format!("{prefix}.{n}.Value"))));
        (1..).map_while(tag).collect()
    }

    /// Its filters, as each protocol writes them, and those of the parameters `named` that are set.
    pub(crate) fn filters<'a>(
        &'a self,
        named: impl Iterator<Item = &'a String>,
    ) -> Vec<(&'a str, Vec<&'a str>)> {
        let ec2 = ("Filter", "Value", "");
        let others = ("Filters.member", "Values.member", ".member");
        let (filter, values, list) = if self.service == "ec2" { ec2 } else { others };
        let of_form = (1..).map_while(|n| {
            let name = self.form.get(&format!("{filter}.{n}.Name"))?;
            Some((&**name, self.list(&format!("{filter}.{n}.{values}"))))
        });
        let of_json = self.json["Filters"].as_array().into_iter().flatten();
        let of_json = of_json.map(|filter| {
            let values = filter["Values"].as_array().into_iter().flatten();
            let name = filter["Key"].as_str().unwrap_or_default();
            (name, values.filter_map(Value::as_str).collect())
        });
        let named = named.map(|name| match self.get(name) {
            "" => (&**name, self.list(&format!("{name}{list}"))),
            value => (&**name, vec![value]),
        });
        let named = named.filter(|(_, values)| !values.is_empty());
        of_form.chain(of_json).chain(named).collect()
    }

    /// How many a page may hold, and where it begins.
    pub(crate) fn page(&self, most: usize) -> Option<(usize, usize)> {
        let text = |name: &str| match &self.json[name] {
            Value::Null => self.get(name).to_owned(),
            value => value.to_string().replace('"', ""),
        };
        let size = text("MaxResults") + &text("MaxRecords");
        let size = if size.is_empty() {
            most
        } else {
            size.parse().ok()?
        };
        let start = format!("0{}", text("NextToken")).parse().ok()?;
        (1..=most).contains(&size).then_some((size, start))
    }

    /// The action, what it changes and, where it changes one of several attributes, which.
    pub(crate) fn target(&self) -> String {
        let instances = [
            "InstanceSpecification.InstanceId",
            "InstanceIds.member.1",
            "InstanceId",
        ];
        let others = ["NetworkInterfaceId", "SnapshotId", "AutoScalingGroupName"];
        let mut names = instances.into_iter().chain(others);
        let target = names.find_map(|name| self.form.get(name));
        let mut attributes = ["DisableApiTermination", "BlockDeviceMapping"].into_iter();
        let attribute = attributes.find(|name| self.form.keys().any(|key| key.starts_with(name)));
        let words = [Some(&*self.action), target.map(|id| &**id), attribute];
        words.into_iter().flatten().collect::<Vec<_>>().join(" ")
    }

    fn is_json(&self) -> bool {
        matches!(self.service, "json" | "cloudtrail")
    }

    /// A page of `items`, in the element `set`.
    pub(crate) fn listed(&self, set: &str, items: &[&str], next: Option<usize>) -> String {
        if self.is_json() {
            let next = next
                .map(|at| format!(r#","NextToken":"{at}""#))
                .unwrap_or_default();
            return format!(r#"{{"{set}":[{}]{next}}}"#, items.join(","));
        }
        let token = if self.service == "ec2" {
            "nextToken"
        } else {
            "NextToken"
        };
        let next = next
            .map(|at| format!("<{token}>{at}</{token}>"))
            .unwrap_or_default();
        format!("<{set}>{}</{set}>{next}", items.concat())
    }

    /// Status, content type and body of an answer.
    pub(crate) fn reply(&self, answer: Answer) -> (u16, &'static str, String) {
        let (action, ec2) = (&self.action, self.service == "ec2");
        let kind = if self.is_json() {
            "application/x-amz-json-1.1"
        } else {
            "text/xml"
        };
        let (status, content) = match answer {
            Ok(content) if self.is_json() => (200, content),
            Ok(content) if ec2 => (200, format!("<requestId>r</requestId>{content}")),
            Ok(content) => (200, format!("<{action}Result>{content}</{action}Result>")),
            Err((code, why)) if self.is_json() => {
                (400, json!({ "__type": code, "message": why }).to_string())
            }
            Err((code, why)) => {
                let error = format!("<Error><Code>{code}</Code><Message>{why}</Message></Error>");
                (
                    400,
                    if ec2 {
                        format!("<Errors>{error}</Errors>")
                    } else {
                        error
                    },
                )
            }
        };
        let root = match status {
            _ if self.is_json() => return (status, kind, content),
            200 => format!("{action}Response"),
            _ if ec2 => "Response".to_owned(),
            _ => "ErrorResponse".to_owned(),
        };
        (status, kind, format!("<{root}>{content}</{root}>"))
    }
}
