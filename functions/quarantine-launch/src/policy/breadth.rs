//! Rules of the policy that approve more than they seem to, with examples of what slips in. Pure.
//!
//! Incident 3: `amazon` and `al2023-ami-*-x86_64` also approve
//! `al2023-ami-ecs-neuron-hvm-2023.0.20251209-kernel-6.1-x86_64` (AMI-4).

use guardrails::policy::Remark;
use wildmatch::WildMatch;

use super::{Approve, Policy, Which};

/// AMIs of well-known publishers by family: the plain image first, then variants that a pattern
/// for the plain one shouldn't match. Names as AWS and Canonical publish them.
const FAMILIES: &[Family] = &[
    Family {
        plain: &[
            "al2023-ami-2023.9.20251208.0-kernel-6.1-x86_64",
            "al2023-ami-2023.9.20251208.0-kernel-6.1-arm64",
            "al2023-ami-2023.9.20251208.0-kernel-6.12-x86_64",
        ],
        variants: &[
            (
                "ecs",
                &[
                    "al2023-ami-ecs-hvm-2023.0.20251209-kernel-6.1-x86_64",
                    "al2023-ami-ecs-hvm-2023.0.20251209-kernel-6.1-arm64",
                ],
            ),
            (
                "ecs-neuron",
                &["al2023-ami-ecs-neuron-hvm-2023.0.20251209-kernel-6.1-x86_64"],
            ),
            (
                "ecs-gpu",
                &["al2023-ami-ecs-gpu-hvm-2023.0.20251209-kernel-6.1-x86_64-ebs"],
            ),
            (
                "minimal",
                &[
                    "al2023-ami-minimal-2023.9.20251208.0-kernel-6.1-x86_64",
                    "al2023-ami-minimal-2023.9.20251208.0-kernel-6.1-arm64",
                ],
            ),
        ],
    },
    Family {
        plain: &[
            "amzn2-ami-hvm-2.0.20251121.0-x86_64-gp2",
            "amzn2-ami-kernel-5.10-hvm-2.0.20251121.0-x86_64-gp2",
        ],
        variants: &[
            ("ecs", &["amzn2-ami-ecs-hvm-2.0.20251209-x86_64-ebs"]),
            (
                "ecs-gpu",
                &["amzn2-ami-ecs-gpu-hvm-2.0.20251209-x86_64-ebs"],
            ),
            (
                "ecs-inf",
                &["amzn2-ami-ecs-inf-hvm-2.0.20251209-x86_64-ebs"],
            ),
            (
                "minimal",
                &["amzn2-ami-minimal-hvm-2.0.20251121.0-x86_64-ebs"],
            ),
        ],
    },
    Family {
        plain: &["ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-20251022"],
        variants: &[
            (
                "minimal",
                &["ubuntu-minimal/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-minimal-20251022"],
            ),
            (
                "pro",
                &[
                    "ubuntu-pro-server/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-pro-server-20251022",
                ],
            ),
            (
                "eks",
                &[
                    "ubuntu-eks/k8s_1.31/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-20251022",
                ],
            ),
        ],
    },
];

struct Family {
    plain: &'static [&'static str],
    variants: &'static [(&'static str, &'static [&'static str])],
}

/// What is too broad about the policy's approve rules: one text per rule and cause.
pub(crate) fn warnings(policy: &Policy) -> Vec<Remark> {
    let rules = policy.approve.iter().enumerate();
    rules
        .flat_map(|(index, rule)| {
            let texts = of_rule(rule).into_iter();
            texts.map(move |text| Remark::new(format!("approve[{index}]"), text))
        })
        .collect()
}

fn of_rule(rule: &Approve) -> Vec<String> {
    let Which::Image(selector) = &rule.which else {
        return Vec::new();
    };
    // Ids leave nothing open, nor do product codes, which AWS gives.
    if selector.ids.is_some() || selector.product_code.is_some() {
        return Vec::new();
    }
    let mut warnings = Vec::new();
    let names = selector.name.as_deref();
    let foreign: Vec<&str> = selector
        .owner
        .iter()
        .flatten()
        .map(String::as_str)
        .filter(|owner| *owner != "self")
        .collect();
    let mut warn = |text: String| {
        warnings.push(format!("approve rule \"{}\" {text}", rule.text));
    };
    match (&selector.owner, names) {
        (Some(_), None) if !foreign.is_empty() => {
            warn(format!(
                "approves everything that {} publishes or shares, for example {}; add `name`",
                foreign.join(" or "),
                FAMILIES[0].variants[1].1[0]
            ));
        }
        (None, Some(names)) => warn(format!(
            "names no owner: anybody can publish a public AMI called, for example, {} (CVE-2018-15869); add `owner`",
            example(&names[0])
        )),
        _ => {}
    }
    if selector.tag.is_some() && (selector.owner.is_none() || !foreign.is_empty()) {
        warn(
            "goes by the tags of AMIs that may not be the account's own: those can't be seen here, so it never approves them; add `owner: self`"
                .to_owned(),
        );
    }
    if let Some(names) = names {
        for pattern in names {
            let slips = variants(pattern);
            if !slips.is_empty() {
                let list: Vec<String> = slips
                    .iter()
                    .map(|(variant, example)| format!("{variant} ({example})"))
                    .collect();
                let narrow = narrower(pattern)
                    .map(|narrow| format!("; \"{narrow}\" lets in the plain image only"))
                    .unwrap_or_default();
                warn(format!(
                    "also lets in other variants by \"{pattern}\": {}{narrow}",
                    list.join(", ")
                ));
            }
        }
    }
    warnings
}

/// The known variants that `pattern` lets in, though it is for a plain image: it has a wildcard
/// and doesn't itself name the variant.
fn variants(pattern: &str) -> Vec<(&'static str, &'static str)> {
    if !pattern.contains(['*', '?']) {
        return Vec::new();
    }
    let matching = WildMatch::new(pattern);
    FAMILIES
        .iter()
        .flat_map(|family| family.variants)
        .filter(|(variant, _)| !pattern.contains(variant))
        // A pattern for ECS images means its own variants too, but not those it doesn't name.
        .filter_map(|(variant, names)| {
            names
                .iter()
                .find(|name| matching.matches(name))
                .map(|name| (*variant, *name))
        })
        .collect()
}

/// A pattern as narrow as AMI-4 advises, where one is known that still lets in a plain image which
/// `pattern` lets in.
fn narrower(pattern: &str) -> Option<String> {
    let rest = pattern.strip_prefix("al2023-ami-*")?;
    let narrow = format!("al2023-ami-2023.*{rest}");
    let matching = WildMatch::new(&narrow);
    (variants(&narrow).is_empty() && FAMILIES[0].plain.iter().any(|name| matching.matches(name)))
        .then_some(narrow)
}

/// A name that `pattern` matches.
fn example(pattern: &str) -> String {
    let known = FAMILIES.iter().flat_map(|family| {
        let variants = family.variants.iter().flat_map(|(_, names)| names.iter());
        family.plain.iter().chain(variants)
    });
    let matching = WildMatch::new(pattern);
    let mut known = known.copied().filter(|name| matching.matches(name));
    known.next().map_or_else(
        || pattern.replace('*', "anything").replace('?', "x"),
        str::to_owned,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::tests::parse;

    fn of(section: &str) -> Vec<String> {
        let remarks = warnings(&parse(section).unwrap()).into_iter();
        remarks.map(|remark| remark.text).collect()
    }

    #[test]
    fn the_pattern_of_incident_3_is_told_with_what_slips_in() {
        let warnings = of("{approve: [{owner: amazon, name: 'al2023-ami-*-x86_64'}]}");
        let [warning] = warnings.as_slice() else {
            panic!("{warnings:?}");
        };
        for expected in [
            "al2023-ami-ecs-neuron-hvm-2023.0.20251209-kernel-6.1-x86_64",
            "minimal (al2023-ami-minimal-",
            "\"al2023-ami-2023.*-x86_64\" lets in the plain image only",
        ] {
            assert!(warning.contains(expected), "{warning}");
        }
        assert!(!warning.contains("arm64"), "{warning}");
    }

    #[test]
    fn each_breadth_is_told() {
        for (rule, expected) in [
            ("{owner: amazon}", "everything that amazon publishes"),
            ("{owner: '123456789012'}", "everything that 123456789012"),
            (
                "{owner: aws-marketplace}",
                "everything that aws-marketplace",
            ),
            ("{name: 'al2023-ami-2023.*'}", "CVE-2018-15869"),
            ("{name: 'web-*'}", "web-anything"),
            ("{tag: Approved}", "the tags of AMIs that may not be"),
            (
                "{owner: amazon, name: 'al2023-ami-2023.*', tag: Ok}",
                "the tags of AMIs",
            ),
            ("{owner: amazon, name: '*'}", "ecs-gpu"),
            ("{owner: amazon, name: 'amzn2-ami-*'}", "ecs-inf"),
            ("{owner: amazon, name: 'al2023-ami-ecs-*'}", "ecs-neuron"),
            (
                "{owner: '099720109477', name: 'ubuntu*24.04-amd64*'}",
                "ubuntu-minimal/",
            ),
        ] {
            let warnings = of(&format!("{{approve: [{rule}]}}"));
            assert!(
                warnings.iter().any(|warning| warning.contains(expected)),
                "{rule}: {warnings:?}"
            );
        }
    }

    #[test]
    fn a_narrow_rule_is_not_told() {
        for rule in [
            "{owner: self}",
            "{owner: self, tag: Approved}",
            "{ids: ami-1}",
            "{owner: amazon, name: 'al2023-ami-2023.*-x86_64'}",
            "{owner: amazon, name: 'al2023-ami-ecs-hvm-*'}",
            "{owner: '099720109477', name: 'ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-*'}",
            "{ssm-parameter: /aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64}",
            "{derived: true}",
        ] {
            let warnings = of(&format!("{{approve: [{rule}]}}"));
            assert!(warnings.is_empty(), "{rule}: {warnings:?}");
        }
    }
}
