//! HTTPRoute of the Gateway API, as far as it is written and read here; and whether the cluster knows it.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::ListParams;
use kube::core::PartialObjectMeta;
use kube::{Client, CustomResource, ResourceExt};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use weir_crds::names::{MANAGED_BY, label};

use crate::context::Context;
use crate::failure::chain;

/// The group and version in which HTTPRoute is stable.
pub const API_VERSION: &str = "gateway.networking.k8s.io/v1";

/// What a route asks for.
#[derive(CustomResource, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "gateway.networking.k8s.io",
    version = "v1",
    kind = "HTTPRoute",
    plural = "httproutes",
    namespaced,
    status = "HttpRouteStatus",
    doc = "A route of the Gateway API, as far as it is written and read here.",
    schema = "disabled"
)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteSpec {
    /// The Gateways that it is attached to.
    #[serde(default)]
    pub parent_refs: Vec<ParentReference>,
    /// The host names that it serves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hostnames: Vec<String>,
    /// What becomes of which requests.
    #[serde(default)]
    pub rules: Vec<HttpRouteRule>,
}

/// A Gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ParentReference {
    /// Its name.
    pub name: String,
    /// Its namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its listener.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub section_name: Option<String>,
}

/// What becomes of some requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteRule {
    /// Which requests.
    #[serde(default)]
    pub matches: Vec<HttpRouteMatch>,
    /// Where they go.
    #[serde(default)]
    pub backend_refs: Vec<BackendReference>,
    /// How long they may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<HttpRouteTimeouts>,
}

/// Which requests a rule is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteMatch {
    /// Their path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<HttpPathMatch>,
}

/// A path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpPathMatch {
    /// How it is compared.
    #[serde(rename = "type")]
    pub kind: String,
    /// What with.
    pub value: String,
}

/// A Service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendReference {
    /// Its name.
    pub name: String,
    /// Its port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<i32>,
}

/// How long requests may take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteTimeouts {
    /// From the request to the end of its response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
}

/// What the Gateways make of a route.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct HttpRouteStatus {
    /// Each Gateway that has looked at it.
    #[serde(default)]
    pub parents: Vec<RouteParentStatus>,
}

/// What one Gateway makes of a route.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteParentStatus {
    /// The Gateway.
    pub parent_ref: ParentReference,
    /// Whether it accepts the route, and finds what that leads to.
    #[serde(default)]
    pub conditions: Vec<Condition>,
}

/// Whether the cluster knows HTTPRoute, and which routes have been made, as it was when it was last asked.
#[derive(Debug, Default)]
pub struct Routes {
    known: Mutex<Option<(Instant, bool)>>,
    /// By the namespace that is watched.
    made: Mutex<HashMap<Option<String>, Made>>,
}

/// The routes that have been made, by namespace and name.
#[derive(Debug)]
struct Made {
    until: Instant,
    names: BTreeSet<(String, String)>,
}

/// Who installs the definitions waits for the next look.
const ABSENT_FOR: Duration = Duration::from_secs(20);
/// They are hardly ever removed.
const PRESENT_FOR: Duration = Duration::from_secs(300);
/// A route that another leader made is removed so long after it is asked for no longer, at most.
const LISTED_FOR: Duration = Duration::from_secs(60);
/// Who wants no route waits for an answer about routes for no longer.
const PATIENCE: Duration = Duration::from_secs(5);

impl Routes {
    /// Whether the cluster knows HTTPRoute. All who ask at the same time wait for one answer.
    ///
    /// # Errors
    ///
    /// Fails where the API server is not reached, or refuses to say.
    pub async fn are_known(&self, client: &Client) -> Result<bool, kube::Error> {
        let mut answer = self.known.lock().await;
        if let Some((asked, known)) = *answer
            && asked.elapsed() < if known { PRESENT_FOR } else { ABSENT_FOR }
        {
            return Ok(known);
        }
        let known = match client.list_api_group_resources(API_VERSION).await {
            Ok(list) => list.resources.iter().any(|resource| resource.name == "httproutes"),
            Err(kube::Error::Api(status)) if status.code == 404 => false,
            Err(error) => return Err(error),
        };
        *answer = Some((Instant::now(), known));
        Ok(known)
    }

    /// Takes note that the kind was not found after all: its definition was removed.
    pub async fn forget(&self) {
        *self.known.lock().await = None;
    }

    /// Whether a pipeline that wants no route may have one of before. Nothing that goes wrong with this kind is its
    /// trouble: it is asked about again, and until then there is none.
    pub async fn may_be(&self, context: &Context, namespace: &str, name: &str) -> bool {
        let scope = &context.options.watch_namespace;
        let key = (namespace.to_owned(), name.to_owned());
        let mut made = self.made.lock().await;
        if let Some(made) = made.get(scope).filter(|made| Instant::now() < made.until) {
            return made.names.contains(&key);
        }
        let (names, good_for) = match timeout(PATIENCE, self.list(context)).await {
            Ok(Ok(names)) => (names, LISTED_FOR),
            Ok(Err(error)) => {
                tracing::debug!(error = chain(&error), "which routes there are is not known");
                (BTreeSet::new(), ABSENT_FOR)
            }
            Err(_) => (BTreeSet::new(), ABSENT_FOR),
        };
        let found = names.contains(&key);
        made.insert(scope.clone(), Made { until: Instant::now() + good_for, names });
        found
    }

    /// Takes note of a route that was made.
    pub async fn note(&self, context: &Context, namespace: &str, name: &str) {
        let mut made = self.made.lock().await;
        if let Some(made) = made.get_mut(&context.options.watch_namespace) {
            made.names.insert((namespace.to_owned(), name.to_owned()));
        }
    }

    /// The routes that have been made, in the scope that is watched.
    async fn list(&self, context: &Context) -> Result<BTreeSet<(String, String)>, kube::Error> {
        if !self.are_known(&context.client).await? {
            return Ok(BTreeSet::new());
        }
        let made = ListParams::default().labels(&format!("{}={MANAGED_BY}", label::MANAGED_BY));
        let found = context.watched::<HTTPRoute>().list_metadata(&made).await?;
        let name = |route: PartialObjectMeta<HTTPRoute>| {
            (route.namespace().unwrap_or_default(), route.name_any())
        };
        Ok(found.items.into_iter().map(name).collect())
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use serde_json::json;

    use super::*;
    use crate::testing::{FakeApi, context};

    const KINDS: &str = "/apis/gateway.networking.k8s.io/v1";

    fn resources() -> serde_json::Value {
        let route = json!({ "name": "httproutes", "singularName": "", "namespaced": true, "kind": "HTTPRoute", "verbs": [] });
        json!({ "kind": "APIResourceList", "groupVersion": API_VERSION, "resources": [route] })
    }

    #[tokio::test(start_paused = true)]
    async fn many_who_want_no_route_cost_one_look_a_minute() {
        let api = FakeApi::new(|path| match path {
            KINDS => (StatusCode::OK, resources()),
            _ => {
                let metadata = json!({ "name": "left", "namespace": "shop" });
                let item = json!({ "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": metadata });
                (
                    StatusCode::OK,
                    json!({ "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
                    "metadata": {}, "items": [item] }),
                )
            }
        });
        let context = context(api.client());
        for n in 0..50 {
            assert!(!context.routes.may_be(&context, "shop", &format!("orders-{n}")).await);
        }
        assert!(context.routes.may_be(&context, "shop", "left").await);
        assert!(!context.routes.may_be(&context, "shop", "new").await);
        context.routes.note(&context, "shop", "new").await;
        assert!(context.routes.may_be(&context, "shop", "new").await);
        assert_eq!(api.asked().len(), 2, "{:?}", api.asked());
        tokio::time::advance(LISTED_FOR).await;
        assert!(context.routes.may_be(&context, "shop", "left").await);
        assert_eq!(api.asked().len(), 3, "{:?}", api.asked());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_wrong_with_routes_is_no_trouble_of_who_wants_none() {
        let api = FakeApi::new(|_| {
            (
                StatusCode::INTERNAL_SERVER_ERROR,
                json!({ "kind": "Status", "code": 500, "message": "broken" }),
            )
        });
        let context = context(api.client());
        assert!(!context.routes.may_be(&context, "shop", "orders").await);
        assert!(context.routes.are_known(&context.client).await.is_err());
    }
}
