//! `cargo xtask deps`: what may be in the tree of dependencies, and how often.
//!
//! What counts is what is compiled for some system with some feature of ours, tests included. The lock file
//! holds more: it knows of features that nobody asks for.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};

use crate::cargo;

/// A crate and the reason for its rule.
type Rule = (&'static str, &'static str);

/// Crates of which there is exactly one version.
const ONE_VERSION: &[Rule] = &[
    ("kube", "two of them have two incompatible types for the same client"),
    ("k8s-openapi", "two of them have two incompatible types for the same resource"),
    ("schemars", "a schema of one is not derived by the other"),
    ("rustls", "each has a process-wide provider of cryptography of its own"),
    ("aws-lc-rs", "it is the one provider of cryptography, and minutes of compilation"),
    ("opentelemetry", "a span of one is not seen by the other"),
    ("tokio", "a socket of one does not work on the runtime of the other"),
];

/// Crates that must not be there.
const FORBIDDEN: &[Rule] = &[
    (
        "ring",
        "rustls has aws-lc-rs, and panics at the first handshake when there are two providers",
    ),
    ("openssl-sys", "TLS is rustls', so that images need no system library"),
    ("native-tls", "TLS is rustls', so that images need no system library"),
    ("reqwest", "HTTP is hyper's, over the one configuration of TLS"),
    ("serde_yml", "it is unsound and archived: use the package yaml_serde"),
    ("serde_yaml", "it is archived: use the package yaml_serde, under that name"),
    ("chrono", "time is jiff's, and k8s-openapi's is jiff's too"),
];

/// `cargo xtask deps`.
///
/// # Errors
/// When a rule is broken: all breaches, each with its reason and the command that shows the way to it.
pub(crate) fn check() -> Result<()> {
    let tree = cargo::tree(&["--workspace", "--all-features", "--edges", "normal,build,dev"])?;
    let breaches = breaches(&tree);
    ensure!(
        breaches.is_empty(),
        "rules about dependencies are broken:\n  {}",
        breaches.join("\n  ")
    );
    Ok(())
}

fn breaches(tree: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let versions =
        |name: &str| -> Vec<_> { tree.get(name).into_iter().flatten().cloned().collect() };
    let several = ONE_VERSION.iter().filter_map(|(name, reason)| {
        let found = versions(name);
        (found.len() != 1).then(|| {
            format!("{name}: there must be one version, because {reason}; found {found:?}")
        })
    });
    let forbidden = FORBIDDEN.iter().filter(|(name, _)| tree.contains_key(*name));
    let forbidden = forbidden.map(|(name, reason)| format!("{name} must not be there: {reason}"));
    let way = |breach: String| {
        format!(
            "{breach} (`cargo tree --target all --duplicates` and `--invert NAME` show the way to it)"
        )
    };
    several.chain(forbidden).map(way).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(packages: &[(&str, &str)]) -> BTreeMap<String, BTreeSet<String>> {
        let mut tree: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (name, _) in ONE_VERSION {
            tree.entry((*name).to_owned()).or_default().insert("v1.0.0".to_owned());
        }
        for (name, version) in packages {
            tree.entry((*name).to_owned()).or_default().insert((*version).to_owned());
        }
        tree
    }

    #[test]
    fn one_version_of_each_and_nothing_forbidden_is_as_it_should_be() {
        assert!(breaches(&tree(&[("serde", "v1.0.0"), ("yaml_serde", "v0.10.0")])).is_empty());
    }

    #[test]
    fn a_second_version_and_a_forbidden_crate_are_named_with_the_reason() {
        let breaches = breaches(&tree(&[("kube", "v2.0.0"), ("ring", "v0.17.0")]));
        assert_eq!(breaches.len(), 2, "{breaches:?}");
        assert!(breaches[0].contains("two incompatible types"), "{breaches:?}");
        assert!(
            breaches[1].starts_with("ring must not be there: rustls has aws-lc-rs"),
            "{breaches:?}"
        );
    }

    #[test]
    fn a_rule_about_a_crate_that_is_gone_is_noticed() {
        assert_eq!(breaches(&BTreeMap::new()).len(), ONE_VERSION.len());
    }
}
