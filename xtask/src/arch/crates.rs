//! Which crate of ours may link which.

use anyhow::Result;

use crate::cargo::{self, Package};

/// Every crate with those of ours that it links. Arrows go one way: the API and the arithmetic know of
/// nothing, and the two programs know of these and not of one another; the plugin knows the operator. Tests may
/// use whatever they need.
const ARROWS: &[(&str, &[&str])] = &[
    ("weir-crds", &[]),
    ("weir-slo", &[]),
    ("weir-sidecar", &["weir-crds", "weir-slo"]),
    ("weir-operator", &["weir-crds", "weir-slo"]),
    // What it shows of an injection must be what the operator does.
    ("kubectl-weir", &["weir-crds", "weir-slo", "weir-operator"]),
    ("weir-tests", &[]),
    ("xtask", &[]),
];

/// What the sidecar must not link, directly or not: it runs beside every application, and without a
/// cluster too.
const NOT_IN_THE_SIDECAR: &[&str] = &["kube", "k8s-openapi"];

pub(super) fn breaches() -> Result<Vec<String>> {
    let members = cargo::members()?;
    let mut breaches: Vec<_> = members.iter().flat_map(|member| arrows(member, &members)).collect();
    breaches.extend(sidecar()?);
    Ok(breaches)
}

fn arrows(member: &Package, members: &[Package]) -> Vec<String> {
    let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == member.name) else {
        return vec![format!(
            "{} is not among ARROWS in xtask/src/arch/crates.rs: say what it may link",
            member.name
        )];
    };
    let is_ours = |name: &str| members.iter().any(|member| member.name == name);
    let linked = member.dependencies.iter().filter(|dependency| dependency.kind.is_none());
    let linked = linked.map(|dependency| dependency.name.as_str()).filter(|name| is_ours(name));
    linked
        .filter(|name| !allowed.contains(name))
        .map(|name| {
            format!("{} links {name}: move what they share into weir-crds or weir-slo", member.name)
        })
        .collect()
}

fn sidecar() -> Result<Vec<String>> {
    let tree = cargo::tree(&["--package", "weir-sidecar", "--all-features", "--edges", "normal"])?;
    let is_kubernetes = |name: &&String| {
        NOT_IN_THE_SIDECAR.iter().any(|forbidden| {
            name.strip_prefix(forbidden)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        })
    };
    let say = |name| {
        format!(
            "weir-sidecar links {name}, which is for the operator: `cargo tree --package weir-sidecar --invert {name}` says by which way"
        )
    };
    Ok(tree.keys().filter(is_kubernetes).map(say).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cargo::Dependency;

    fn package(name: &str, dependencies: &[(&str, Option<&str>)]) -> Package {
        let dependency = |&(name, kind): &(&str, Option<&str>)| Dependency {
            name: name.to_owned(),
            kind: kind.map(str::to_owned),
        };
        Package {
            name: name.to_owned(),
            manifest_path: "Cargo.toml".into(),
            dependencies: dependencies.iter().map(dependency).collect(),
        }
    }

    #[test]
    fn an_arrow_against_the_direction_is_a_breach_and_a_test_may_draw_it() {
        let members = [
            package("weir-slo", &[("weir-crds", None), ("serde", None)]),
            package("weir-crds", &[("weir-slo", Some("dev"))]),
        ];
        let breaches: Vec<_> = members.iter().flat_map(|member| arrows(member, &members)).collect();
        assert_eq!(breaches.len(), 1, "{breaches:?}");
        assert!(breaches[0].starts_with("weir-slo links weir-crds"), "{breaches:?}");
    }

    #[test]
    fn a_crate_that_nobody_placed_is_a_breach() {
        let stranger = package("weir-util", &[]);
        assert!(arrows(&stranger, &[])[0].contains("ARROWS"));
    }
}
