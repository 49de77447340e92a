//! What in the section is hardly meant, and what it takes of the stack. Only what is certain from
//! the section alone.

use guardrails::policy::{Mode, Remark, Section};

use super::breadth;
use super::{Policy, Selector, Which};

impl Section for Policy {
    fn mode(&self) -> Mode {
        self.mode
    }

    fn warnings(&self) -> Vec<Remark> {
        warnings(self)
    }

    fn requirements(&self) -> Vec<Remark> {
        requirements(self)
    }
}

fn warnings(policy: &Policy) -> Vec<Remark> {
    let mut remarks = breadth::warnings(policy);
    let approving = policy.approve.iter().enumerate();
    let denying = policy.deny.iter().enumerate();
    if policy.approve.is_empty() && (policy.mode == Mode::Enforce || !policy.deny.is_empty()) {
        remarks.push(Remark::new(
            "approve",
            "has no rule, and while it has none nothing is quarantined, whatever `mode` and `deny` say; say what is approved, for example { owner: self }",
        ));
    }
    if !policy.approve.is_empty() && policy.approve.iter().all(|r| r.which == Which::Derived) {
        remarks.push(Remark::new(
            "approve",
            "says only `derived: true`, so it approves no AMI at all: there is no other rule that an AMI could be derived from; add one",
        ));
    }
    let names = approving
        .filter_map(|(index, rule)| match &rule.which {
            Which::Image(selector) => Some((format!("approve[{index}].name"), selector)),
            _ => None,
        })
        .chain(denying.map(|(index, rule)| (format!("deny[{index}].name"), &rule.which)));
    for (path, selector) in names {
        for pattern in selector.name.iter().flatten() {
            if let Some(character) = pattern.chars().find(|c| !may_be_in_a_name(*c)) {
                remarks.push(Remark::new(
                    path.clone(),
                    format!(
                        "\"{pattern}\" matches no AMI: a name can't have \"{character}\" in it. `*` stands for any characters and `?` for one, this is no regular expression"
                    ),
                ));
            }
        }
    }
    if policy.brake.percent == 100 {
        remarks.push(Remark::new(
            "brake.percent",
            "100 takes the brake off: nothing stops a wrong rule from isolating every launch of the last day; the default is 25",
        ));
    }
    for (index, responder) in policy.responders.iter().enumerate() {
        for network in responder.wide() {
            remarks.push(Remark::new(
                format!("responders[{index}].from"),
                format!(
                    "{network} is more than a team's own network: whatever runs there reaches what is in quarantine; name the network or the security group that only responders are in"
                ),
            ));
        }
    }
    for (index, rule) in policy.deny.iter().enumerate() {
        let everything = Selector {
            name: rule.which.name.clone(),
            ..Selector::default()
        };
        let names = rule.which.name.iter().flatten();
        let unscoped = rule.architecture.is_none() && rule.scope.is_any();
        if rule.which == everything && unscoped && names.clone().any(|name| any(name)) {
            remarks.push(Remark::new(
                format!("deny[{index}]"),
                "refuses every AMI, whatever approves it: each launch would be quarantined; name what is to be refused",
            ));
        }
        let owners = rule.which.owner.iter().flatten();
        let foreign = owners.clone().count() > 0 && owners.clone().all(|owner| foreign(owner));
        if rule.which.tag.is_some() && foreign {
            remarks.push(Remark::new(
                format!("deny[{index}]"),
                "goes by the tags of AMIs that aren't the account's own: those can't be seen here, so it never refuses them; go by `name` or `ids`",
            ));
        }
    }
    remarks
}

fn requirements(policy: &Policy) -> Vec<Remark> {
    let mut remarks = Vec::new();
    for (index, rule) in policy.approve.iter().enumerate() {
        // AWS's public parameters can be read by everybody.
        if let Which::Parameter { name, .. } = &rule.which
            && !name.starts_with("/aws/")
        {
            remarks.push(Remark::new(
                format!("approve[{index}].ssm-parameter"),
                format!(
                    "takes the ARN of {name} in the stack's parameter ImageParameterArns: without it the function can't read it, and launches can't be judged"
                ),
            ));
        }
    }
    if policy.mode == Mode::Enforce {
        for (asked, key, parameter, done) in [
            (
                policy.steps.dissociate_profile,
                "dissociate-profile",
                "QuarantineTakesProfiles",
                "take no instance profile away",
            ),
            (policy.steps.stop, "stop", "QuarantineStops", "stop nothing"),
        ] {
            if asked {
                remarks.push(Remark::new(
                    format!("steps.{key}"),
                    format!(
                        "takes the stack's parameter {parameter}=true as well: without it the function may {done}"
                    ),
                ));
            }
        }
    }
    remarks
}

/// What EC2 takes in an AMI's name (`CreateImage`), and the wildcards. Letters of any script: the
/// rule says "alphanumeric", and a warning must be certain.
fn may_be_in_a_name(character: char) -> bool {
    character.is_alphanumeric() || " ()[]./-'@_*?".contains(character)
}

fn any(pattern: &str) -> bool {
    pattern.chars().all(|c| c == '*')
}

/// Surely not this account. An account's id may be its own.
fn foreign(owner: &str) -> bool {
    owner != "self" && !owner.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use crate::policy::tests::parse;
    use guardrails::policy::Section as _;

    fn of(section: &str) -> Vec<String> {
        let remarks = parse(section).unwrap().warnings();
        remarks.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_hardly_meant_is_told_with_its_place() {
        for (section, expected) in [
            ("{mode: enforce}", "approve: has no rule"),
            ("{deny: [{name: 'x-*'}]}", "approve: has no rule"),
            ("{approve: [{derived: true}]}", "approve: says only"),
            (
                "{approve: [{owner: amazon}]}",
                "approve[0]: approve rule \"owner amazon\" approves everything",
            ),
            (
                "{approve: [{owner: self}, {owner: self, name: '^web-.*$'}]}",
                "approve[1].name: \"^web-.*$\" matches no AMI: a name can't have \"^\"",
            ),
            (
                "{approve: [{owner: self}], deny: [{name: [web, 'a|b']}]}",
                "deny[0].name: \"a|b\" matches no AMI",
            ),
            (
                "{approve: [{owner: self}], brake: {percent: 100}}",
                "brake.percent: 100 takes the brake off",
            ),
            (
                "{approve: [{owner: self}], responders: [{from: [10.1.0.0/16, 10.0.0.0/8]}]}",
                "responders[0].from: 10.0.0.0/8 is more than a team's own network",
            ),
            (
                "{approve: [{owner: self}], deny: [{name: '*'}]}",
                "deny[0]: refuses every AMI",
            ),
            (
                "{approve: [{owner: self}], deny: [{owner: amazon, tag: Bad}]}",
                "deny[0]: goes by the tags",
            ),
        ] {
            let remarks = of(section);
            assert!(
                matches!(remarks.as_slice(), [one] if one.starts_with(expected)),
                "{section}: {remarks:?}"
            );
        }
    }

    #[test]
    fn what_may_be_meant_is_not_told() {
        for section in [
            "{}",
            "{mode: enforce, approve: [{owner: self}]}",
            "{approve: [{owner: self}, {derived: true}]}",
            "{approve: [{owner: self, name: \"Joe's image (v1.2) [a/b]@x_y-*?\"}]}",
            "{approve: [{owner: self}], deny: [{name: '*', scope: {vpc: vpc-1}}]}",
            "{approve: [{owner: self}], deny: [{name: '*', architecture: arm64}]}",
            "{approve: [{owner: self}], deny: [{name: '*', owner: amazon}]}",
            "{approve: [{owner: self}], responders: [{from: [10.1.0.0/16, 'fd00:1:2::/48', sg-1]}]}",
            "{approve: [{owner: self}], deny: [{tag: Bad}, {owner: '123456789012', tag: Bad}]}",
        ] {
            assert_eq!(of(section), [""; 0], "{section}");
        }
    }

    #[test]
    fn what_the_stack_must_allow_is_named() {
        let told = |section: &str| {
            let remarks = parse(section).unwrap().requirements();
            remarks.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        for (section, expected) in [
            (
                "{mode: enforce, steps: {stop: true}}",
                "steps.stop: takes the stack's parameter QuarantineStops=true",
            ),
            (
                "{mode: enforce, steps: {dissociate-profile: true}}",
                "steps.dissociate-profile: takes the stack's parameter QuarantineTakesProfiles=true",
            ),
            (
                "{approve: [{ssm-parameter: /golden/web}]}",
                "approve[0].ssm-parameter: takes the ARN of /golden/web in the stack's parameter ImageParameterArns",
            ),
        ] {
            let remarks = told(section);
            assert!(
                matches!(remarks.as_slice(), [one] if one.starts_with(expected)),
                "{section}: {remarks:?}"
            );
        }
        for section in [
            "{}",
            "{steps: {stop: true, dissociate-profile: true}}",
            "{approve: [{ssm-parameter: /aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64}]}",
        ] {
            assert_eq!(told(section), [""; 0], "{section}");
        }
    }
}
