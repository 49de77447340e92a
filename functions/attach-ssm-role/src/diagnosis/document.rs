//! Reads policy documents as far as a diagnosis needs: what is plainly allowed or denied, and
//! "cannot tell" for everything that hangs on a condition.

use serde_json::Value;
use wildmatch::WildMatch;

/// What a policy document says about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Allowed,
    Denied,
    /// It hangs on a condition, or on what isn't read here.
    Unclear,
}

/// What `document` says about `action` by a principal for which `principal` holds of its
/// `Principal` element.
pub(super) fn evaluate(
    document: &str,
    action: &str,
    principal: impl Fn(&Value) -> bool,
) -> Verdict {
    let Ok(document) = serde_json::from_str::<Value>(document) else {
        return Verdict::Unclear;
    };
    let (mut allowed, mut unclear) = (false, false);
    for statement in items(&document["Statement"]) {
        let by_exception = ["NotAction", "NotPrincipal", "NotResource"]
            .iter()
            .any(|key| !statement[*key].is_null());
        let named = items(&statement["Action"])
            .filter_map(Value::as_str)
            .any(|pattern| matches(pattern, action));
        let applies = named && principal(&statement["Principal"]);
        // A narrower resource than everything: which one is asked for isn't known here.
        let narrowed = !statement["Resource"].is_null()
            && !items(&statement["Resource"]).any(|resource| resource.as_str() == Some("*"));
        let hangs = by_exception || !statement["Condition"].is_null() || narrowed;
        if !(applies || by_exception) {
            continue;
        }
        match (statement["Effect"].as_str(), hangs) {
            (Some("Deny"), false) => return Verdict::Denied,
            (Some("Allow"), false) => allowed = true,
            _ => unclear = true,
        }
    }
    match (allowed, unclear) {
        (true, false) => Verdict::Allowed,
        (false, false) => Verdict::Denied,
        (_, true) => Verdict::Unclear,
    }
}

/// An element that may be one or a list.
pub(super) fn items(value: &Value) -> impl Iterator<Item = &Value> {
    let (list, one) = match value {
        Value::Array(list) => (list.as_slice(), None),
        Value::Null => (&[][..], None),
        one => (&[][..], Some(one)),
    };
    list.iter().chain(one)
}

/// Whether `pattern`, with `*` and `?`, matches `action`; letters in either case, as IAM takes them.
fn matches(pattern: &str, action: &str) -> bool {
    WildMatch::new_case_insensitive(pattern).matches(action)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn anybody(principal: &Value) -> bool {
        principal == "*"
    }

    #[test]
    fn reads_what_is_plain_and_leaves_the_rest_open() {
        let allow = json!({"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"});
        let some = json!({"Effect": "Allow", "Principal": "*", "Action": ["ssm:Get*", "SSM:Update*"], "Resource": "*"});
        let none = json!({"Effect": "Allow", "Principal": "*", "Action": "ssm:PutParameter", "Resource": "*"});
        let other = json!({"Effect": "Allow", "Principal": {"AWS": "arn:x"}, "Action": "*", "Resource": "*"});
        let deny = json!({"Effect": "Deny", "Principal": "*", "Action": "ssm:*", "Resource": "*"});
        let conditional = json!({"Effect": "Deny", "Principal": "*", "Action": "*", "Resource": "*",
            "Condition": {"StringNotEquals": {"aws:PrincipalOrgID": "o-1"}}});
        let except =
            json!({"Effect": "Deny", "Principal": "*", "NotAction": "ssm:*", "Resource": "*"});
        let narrow = json!({"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "arn:aws:ssm:*:*:document/x"});
        for (statements, verdict) in [
            (json!([allow]), Verdict::Allowed),
            (allow.clone(), Verdict::Allowed),
            (json!([some]), Verdict::Allowed),
            (json!([none]), Verdict::Denied),
            (json!([other]), Verdict::Denied),
            (json!([]), Verdict::Denied),
            (json!([allow, deny]), Verdict::Denied),
            (json!([allow, conditional]), Verdict::Unclear),
            (json!([allow, except]), Verdict::Unclear),
            (json!([narrow]), Verdict::Unclear),
        ] {
            let document = json!({"Version": "2012-10-17", "Statement": statements}).to_string();
            assert_eq!(
                evaluate(&document, "ssm:UpdateInstanceInformation", anybody),
                verdict,
                "{document}"
            );
        }
        assert_eq!(evaluate("no JSON", "a:b", anybody), Verdict::Unclear);
    }

    #[test]
    fn patterns_match_as_iam_does() {
        for (pattern, action, matching) in [
            ("*", "ssm:GetParameter", true),
            ("ssm:*", "ssm:GetParameter", true),
            ("SSM:get?arameter", "ssm:GetParameter", true),
            ("ssm:Get*r", "ssm:GetParameter", true),
            ("ssm:Get", "ssm:GetParameter", false),
            ("ssmmessages:*", "ssm:GetParameter", false),
            ("ssm:GetParameter?", "ssm:GetParameter", false),
        ] {
            assert_eq!(matches(pattern, action), matching, "{pattern} {action}");
        }
    }

    /// Whoever writes an endpoint policy chooses the pattern; a matcher that tries each way takes 20
    /// million steps for this one.
    #[test]
    fn no_pattern_takes_long() {
        let started = std::time::Instant::now();
        for (end, matching) in [("", true), ("!", false)] {
            let pattern = format!("{}{end}", "*?".repeat(8));
            assert_eq!(matches(&pattern, "ssm:UpdateInstanceInformation"), matching);
        }
        assert!(
            started.elapsed().as_millis() < 50,
            "{:?}",
            started.elapsed()
        );
    }
}
