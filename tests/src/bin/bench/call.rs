//! A request to AWS, of the query protocol or of the JSON one, and how it is answered.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// AWS's code for why there is no answer, and more about it.
pub(crate) type Refusal = (&'static str, String);
/// An answer's content.
pub(crate) type Answer = Result<String, Refusal>;

/// Refuses what nobody taught the synthetic account, or what shouldn't be asked.
pub(crate) fn refuse(why: impl Into<String>) -> Answer {
    Err(("UnexpectedCall", why.into()))
}

/// One call.
#[derive(Debug, Default)]
pub(crate) struct Call {
    /// As far as it matters for the form of the answer and for the rates: `ec2`, `autoscaling`,
    /// `query`, `json`.
    pub(crate) service: &'static str,
    pub(crate) action: String,
    form: BTreeMap<String, String>,
    pub(crate) json: Value,
}

impl Call {
    /// Reads a request by the header `x-amz-target`, or else by the form in its body.
    pub(crate) fn read(target: Option<&str>, body: &[u8]) -> Self {
        if let Some(target) = target {
            return Self {
                service: "json",
                action: target.rsplit('.').next().unwrap_or_default().into(),
                json: serde_json::from_slice(body).unwrap_or_default(),
                ..Self::default()
            };
        }
        let form: BTreeMap<String, String> = form_urlencoded::parse(body).into_owned().collect();
        Self {
            service: match form.get("Version").map(String::as_str) {
                Some("2016-11-15") => "ec2",
                Some("2011-01-01") => "autoscaling",
                _ => "query",
            },
            action: form.get("Action").cloned().unwrap_or_default(),
            form,
            json: Value::Null,
        }
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
        let [filter, values, list, _] = self.words();
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
        let size = match &*(text("MaxResults") + &text("MaxRecords")) {
            "" => most,
            size => size.parse().ok()?,
        };
        let start = format!("0{}", text("NextToken")).parse().ok()?;
        (1..=most).contains(&size).then_some((size, start))
    }

    /// The action, what it changes and, where it changes one of several attributes, which.
    pub(crate) fn target(&self) -> String {
        let names = "InstanceSpecification.InstanceId NetworkInterfaceId SnapshotId InstanceId \
            InstanceIds.member.1 AutoScalingGroupName";
        let target = names.split(' ').find_map(|name| self.form.get(name));
        let mut attributes = ["DisableApiTermination", "BlockDeviceMapping"].into_iter();
        let attribute = attributes.find(|name| self.form.keys().any(|key| key.starts_with(name)));
        let words = [Some(&*self.action), target.map(|id| &**id), attribute];
        words.into_iter().flatten().collect::<Vec<_>>().join(" ")
    }

    /// What the query protocols call a filter, its values, a list's items and the next page.
    fn words(&self) -> [&'static str; 4] {
        match self.service {
            "ec2" => ["Filter", "Value", "", "nextToken"],
            _ => ["Filters.member", "Values.member", ".member", "NextToken"],
        }
    }

    fn is_json(&self) -> bool {
        self.service == "json"
    }

    /// A page of `items`, in the element `set`.
    pub(crate) fn listed(&self, set: &str, items: &[&str], next: Option<usize>) -> String {
        if self.is_json() {
            let next = next.map_or(String::new(), |at| format!(r#","NextToken":"{at}""#));
            return format!(r#"{{"{set}":[{}]{next}}}"#, items.join(","));
        }
        let [.., token] = self.words();
        let next = next.map_or(String::new(), |at| format!("<{token}>{at}</{token}>"));
        format!("<{set}>{}</{set}>{next}", items.concat())
    }

    /// Status, content type and body of an answer.
    pub(crate) fn reply(&self, answer: Answer) -> (u16, &'static str, String) {
        let action = &self.action;
        if self.is_json() {
            let (status, body) = match answer {
                Ok(content) => (200, content),
                Err((code, why)) => (400, json!({"__type": code, "message": why}).to_string()),
            };
            return (status, "application/x-amz-json-1.1", body);
        }
        let answer = answer.map_err(|(code, why)| {
            format!("<Error><Code>{code}</Code><Message>{why}</Message></Error>")
        });
        let (status, body) = match (answer, self.service) {
            (Ok(content), "ec2") => (
                200,
                format!("<{action}Response>{content}</{action}Response>"),
            ),
            (Ok(content), _) => {
                let result = format!("<{action}Result>{content}</{action}Result>");
                (
                    200,
                    format!("<{action}Response>{result}</{action}Response>"),
                )
            }
            (Err(error), "ec2") => (
                503,
                format!("<Response><Errors>{error}</Errors></Response>"),
            ),
            (Err(error), _) => (400, format!("<ErrorResponse>{error}</ErrorResponse>")),
        };
        (status, "text/xml", body)
    }
}
