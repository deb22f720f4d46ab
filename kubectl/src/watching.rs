//! Which namespaces the operators watch, as far as is known: what is in none of them waits for ever.

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use crate::check::operator;
use crate::cluster::Cluster;

/// How many namespaces of an operator are named.
const MOST_NAMES: usize = 5;

/// The operators that are known of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Watching {
    /// Each operator, and the namespaces that it watches: all of them where none is named.
    operators: Vec<(String, Vec<String>)>,
    /// Whether there is no other.
    is_all: bool,
}

/// What is to be said of a namespace that nobody watches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// What is so.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

impl Watching {
    /// What these watch. `is_all` says that there is no other.
    pub fn of<'a>(operators: impl Iterator<Item = &'a Deployment>, is_all: bool) -> Self {
        let title = |found: &Deployment| {
            format!("{}/{}", found.namespace().unwrap_or_default(), found.name_any())
        };
        let operators = operators.map(|found| (title(found), operator::watched(found)));
        Self { operators: operators.collect(), is_all }
    }

    /// Looks for the operators. Not everybody may, and then nothing is known.
    pub async fn find(cluster: &Cluster) -> Self {
        let api: Api<Deployment> = Api::all(cluster.client.clone());
        let found = api.list(&ListParams::default().labels(operator::SELECTOR)).await;
        found.map_or_else(|_| Self::default(), |found| Self::of(found.items.iter(), true))
    }

    /// Whether there is no operator in the cluster.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        self.is_all && self.operators.is_empty()
    }

    /// What is to be said of this namespace; nothing where an operator watches it, or where none is known of.
    #[must_use]
    pub fn left_out(&self, namespace: &str) -> Option<LeftOut> {
        let Self { operators, is_all } = self;
        let is_watched = |watched: &[String]| {
            watched.is_empty() || watched.iter().any(|found| found == namespace)
        };
        if operators.is_empty() || operators.iter().any(|(_, watched)| is_watched(watched)) {
            return None;
        }
        let watch: Vec<_> = operators
            .iter()
            .map(|(title, watched)| format!("{title} watches {}", shown(watched)))
            .collect();
        let nobody = if *is_all { "no operator" } else { "no operator that was looked at" };
        Some(LeftOut {
            message: format!("{nobody} watches the namespace {namespace}: {}", watch.join(", ")),
            remedy: format!(
                "add {namespace} to watchNamespaces and upgrade the chart; an empty list watches all namespaces"
            ),
        })
    }
}

fn shown(namespaces: &[String]) -> String {
    let first = namespaces.iter().take(MOST_NAMES).map(String::as_str).collect::<Vec<_>>();
    match namespaces.len().saturating_sub(MOST_NAMES) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What operators that watch these lists are said not to watch.
    fn said(lists: &[&str], is_all: bool, namespace: &str) -> Option<String> {
        let operator = |list: &&str| -> Deployment {
            let args = match *list {
                "" => json!([]),
                list => json!([format!("--watch-namespace={list}")]),
            };
            let containers = json!([{ "name": "operator", "args": args }]);
            serde_json::from_value(json!({
                "metadata": { "name": "weir", "namespace": "weir-system" },
                "spec": { "selector": {}, "template": { "spec": { "containers": containers } } },
            }))
            .unwrap()
        };
        let operators: Vec<_> = lists.iter().map(operator).collect();
        let left_out = Watching::of(operators.iter(), is_all).left_out(namespace);
        left_out.map(|LeftOut { message, remedy }| format!("{message} -> {remedy}"))
    }

    #[test]
    fn a_namespace_that_nobody_watches_is_named_with_those_that_somebody_does() {
        let tight = said(&["shop,till", "strict"], true, "tight").unwrap();
        let expected = "no operator watches the namespace tight: weir-system/weir watches shop, till, \
                        weir-system/weir watches strict -> add tight to watchNamespaces and";
        assert!(tight.starts_with(expected), "{tight}");
        let many = said(&["a,b,c,d,e,f,g"], true, "tight").unwrap();
        assert!(many.contains("watches a, b, c, d, e and 2 more ->"), "{many}");
    }

    #[test]
    fn of_a_namespace_that_is_watched_and_where_nothing_is_known_nothing_is_said() {
        assert_eq!(said(&["shop", "till"], true, "till"), None);
        assert_eq!(said(&["shop", ""], true, "till"), None, "all are watched");
        assert_eq!(said(&[], true, "till"), None);
        assert!(Watching::of([].iter(), true).is_none());
        assert!(!Watching::default().is_none(), "nobody could look");
        let some = said(&["shop"], false, "till").unwrap();
        assert!(some.starts_with("no operator that was looked at watches"), "{some}");
    }
}
