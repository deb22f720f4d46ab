//! Reads what is judged. What can't be read is kept as the reason why not.

use std::fmt::Debug;
use std::time::Duration;

use futures::{StreamExt, stream};
use k8s_openapi::api::admissionregistration::v1::{
    MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding, MutatingWebhookConfiguration,
};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec, SubjectAccessReview,
    SubjectAccessReviewSpec,
};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::version::Info;
use kube::api::{ListParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::time::sleep;
use weir_crds::names::label;
use weir_crds::v1alpha1::{StreamPipeline, StreamSLO};
use weir_operator::failure::{Category, explain};
use weir_operator::injection::policy;

use super::finding::{Finding, Verdict};
use super::namespaces::Watched;
use super::operator::{self, Installed};
use super::permissions::{NEEDED, Permission};
use super::policies::Policies;
use super::rights::{Right, Scope, needed};
use crate::args::Check;
use crate::cluster::Cluster;
use crate::watching::Watching;

/// A leader renews its lease every two seconds.
const RENEWAL: Duration = Duration::from_secs(5);
/// How many questions about permissions are under way at the same time.
const AT_ONCE: usize = 8;

/// What was read, or why it was not.
pub(super) type Read<T> = Result<T, String>;

/// Everything that is judged.
pub(super) struct Observed {
    pub(super) server: Read<Info>,
    /// Each definition by its name; `None` where there is none.
    pub(super) definitions: Vec<(String, Read<Option<CustomResourceDefinition>>)>,
    pub(super) operators: Read<Vec<Installed>>,
    /// What these watch.
    pub(super) watching: Watching,
    pub(super) permissions: Vec<(Permission, Read<bool>)>,
    /// The pods that carry the data plane.
    pub(super) pods: Read<Vec<Pod>>,
    pub(super) pipelines: Read<Vec<StreamPipeline>>,
    pub(super) slos: Read<Vec<StreamSLO>>,
}

/// Whether the API server answers, and is new enough.
pub(super) fn server(server: &Read<Info>) -> Finding {
    const SUBJECT: &str = "API server";
    /// Native sidecars are stable from here on.
    const OLDEST: (u32, u32) = (1, 33);
    let version = match server {
        Ok(version) => version,
        Err(reason) => {
            let message = format!("does not answer: {reason}");
            let remedy = "see whether `kubectl version` reaches it";
            return Finding::wrong(Verdict::Problem, SUBJECT, message, remedy);
        }
    };
    let number = |text: &str| {
        let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<u32>().unwrap_or_default()
    };
    let found = &version.git_version;
    if (number(&version.major), number(&version.minor)) >= OLDEST {
        return Finding::ok(SUBJECT, format!("answers, {found}"));
    }
    let message = format!("is {found}, which has no native sidecars");
    Finding::wrong(Verdict::Problem, SUBJECT, message, "upgrade Kubernetes to 1.33 or later")
}

/// Reads it all.
pub(super) async fn observe(cluster: &Cluster, asked: &Check) -> Observed {
    let server = cluster.client.apiserver_version().await.map_err(|error| explain(&error));
    let (definitions, operators, permissions, injected, gateways, pipelines, slos) = futures::join!(
        definitions(cluster),
        operators(cluster, asked),
        permissions(cluster),
        everywhere::<Pod>(cluster, ListParams::default().labels(label::INJECTED)),
        everywhere::<Pod>(cluster, ListParams::default().labels(label::PIPELINE)),
        everywhere::<StreamPipeline>(cluster, ListParams::default()),
        everywhere::<StreamSLO>(cluster, ListParams::default()),
    );
    let pods = injected.and_then(|mut pods| {
        pods.extend(gateways?);
        Ok(pods)
    });
    let (operators, is_all) = operators;
    let known = operators.iter().flatten().map(|installed| &installed.deployment);
    let watching = Watching::of(known, is_all);
    Observed { server, definitions, operators, watching, permissions, pods, pipelines, slos }
}

async fn definitions(cluster: &Cluster) -> Vec<(String, Read<Option<CustomResourceDefinition>>)> {
    let api: Api<CustomResourceDefinition> = Api::all(cluster.client.clone());
    let mut found = Vec::new();
    for (_, definition) in weir_crds::definitions() {
        let name = definition.name_any();
        let read = api.get_opt(&name).await.map_err(|error| explain(&error));
        found.push((name, read));
    }
    found
}

/// The objects of a kind: of the namespace that was given, else of all, else of the context's.
async fn everywhere<K>(cluster: &Cluster, params: ListParams) -> Read<Vec<K>>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned,
{
    let own: Api<K> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    if cluster.is_given {
        return list(&own, &params).await.map_err(|error| explain(&error));
    }
    match list(&Api::all(cluster.client.clone()), &params).await {
        Err(error) if Category::of(&error) == Category::Forbidden => {
            list(&own, &params).await.map_err(|error| explain(&error))
        }
        read => read.map_err(|error| explain(&error)),
    }
}

async fn list<K>(api: &Api<K>, params: &ListParams) -> Result<Vec<K>, kube::Error>
where
    K: Clone + Debug + DeserializeOwned,
{
    Ok(api.list(params).await?.items)
}

async fn permissions(cluster: &Cluster) -> Vec<(Permission, Read<bool>)> {
    let api: Api<SelfSubjectAccessReview> = Api::all(cluster.client.clone());
    let mut found = Vec::new();
    for permission in NEEDED {
        let Permission { verb, group, resource, subresource, .. } = permission;
        let attributes = ResourceAttributes {
            namespace: Some(cluster.namespace.clone()),
            verb: Some((*verb).to_owned()),
            group: Some((*group).to_owned()),
            resource: Some((*resource).to_owned()),
            subresource: subresource.map(str::to_owned),
            ..ResourceAttributes::default()
        };
        let spec = SelfSubjectAccessReviewSpec {
            resource_attributes: Some(attributes),
            ..SelfSubjectAccessReviewSpec::default()
        };
        let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
        let answer = api.create(&PostParams::default(), &review).await;
        let allowed = answer.map(|answer| answer.status.is_some_and(|status| status.allowed));
        found.push((*permission, allowed.map_err(|error| explain(&error))));
    }
    found
}

/// Every installed operator, with what belongs to it, and whether there is no other.
async fn operators(cluster: &Cluster, asked: &Check) -> (Read<Vec<Installed>>, bool) {
    let params = ListParams::default().labels(operator::SELECTOR);
    let usual = asked.operator_namespace.as_deref();
    let at = |namespace: &str| Api::<Deployment>::namespaced(cluster.client.clone(), namespace);
    let (found, is_all) = match usual {
        Some(namespace) => (list(&at(namespace), &params).await, false),
        None => match list(&Api::all(cluster.client.clone()), &params).await {
            Err(error) if Category::of(&error) == Category::Forbidden => {
                (list(&at(operator::USUAL_NAMESPACE), &params).await, false)
            }
            found => (found, true),
        },
    };
    let found = match found {
        Ok(found) => found.into_iter().map(|found| installed(cluster, found)),
        Err(error) => return (Err(explain(&error)), false),
    };
    (Ok(futures::future::join_all(found).await), is_all)
}

async fn installed(cluster: &Cluster, deployment: Deployment) -> Installed {
    let namespace = deployment.namespace().unwrap_or_default();
    let client = || cluster.client.clone();
    let lease = lease(cluster, &namespace, operator::flag(&deployment, "lease")).await;
    let configuration = operator::flag(&deployment, "webhook-config");
    let configuration = match &configuration {
        None => Ok(None),
        Some(name) => {
            let api: Api<MutatingWebhookConfiguration> = Api::all(client());
            api.get_opt(name).await.map_err(|error| explain(&error))
        }
    };
    let service = operator::flag(&deployment, "webhook-service");
    let (service, slices) = match &service {
        None => (Ok(None), Ok(Vec::new())),
        Some(name) => {
            let api: Api<Service> = Api::namespaced(client(), &namespace);
            let service = api.get_opt(name).await.map_err(|error| explain(&error));
            let api: Api<EndpointSlice> = Api::namespaced(client(), &namespace);
            let of = ListParams::default().labels(&format!("kubernetes.io/service-name={name}"));
            (service, list(&api, &of).await.map_err(|error| explain(&error)))
        }
    };
    let (namespaces, scopes, policies) = futures::join!(
        namespaces(cluster, &deployment),
        scopes(cluster, &deployment),
        policies(cluster, &deployment)
    );
    Installed { deployment, lease, namespaces, scopes, policies, configuration, service, slices }
}

/// The namespaces that an operator watches by name.
async fn namespaces(cluster: &Cluster, deployment: &Deployment) -> Vec<Watched> {
    let watched = operator::watched(deployment).into_iter();
    let each = watched.map(async |namespace| {
        let read = is_read(cluster, deployment, &namespace).await;
        (namespace, read.map_err(|error| explain(&error)))
    });
    futures::future::join_all(each).await
}

/// Whether the operator may read a namespace; `None` where it isn't there.
async fn is_read(
    cluster: &Cluster,
    deployment: &Deployment,
    namespace: &str,
) -> Result<Option<bool>, kube::Error> {
    let api: Api<Namespace> = Api::all(cluster.client.clone());
    if api.get_metadata_opt(namespace).await?.is_none() {
        return Ok(None);
    }
    let (group, resource) = (weir_crds::names::GROUP, "streampipelines");
    let right = Right { verb: "list", group, resource, name: None };
    may(cluster, deployment, Some(namespace), &right).await.map(Some)
}

/// What the operator may do in each place, of what it needs there.
async fn scopes(cluster: &Cluster, deployment: &Deployment) -> Vec<Scope> {
    let mut scopes = Vec::new();
    for (place, needed) in needed(deployment) {
        let namespace = place.namespace();
        let asked = stream::iter(needed).map(|right| async move {
            let answer = may(cluster, deployment, namespace, &right).await;
            (right, answer.map_err(|error| explain(&error)))
        });
        let rights = asked.buffered(AT_ONCE).collect().await;
        scopes.push(Scope { place, rights });
    }
    scopes
}

/// Whether the operator may do something, in a namespace or in all of them.
async fn may(
    cluster: &Cluster,
    deployment: &Deployment,
    namespace: Option<&str>,
    Right { verb, group, resource, name }: &Right,
) -> Result<bool, kube::Error> {
    let pods = deployment.spec.template.spec.as_ref();
    let account = pods.and_then(|pods| pods.service_account_name.as_deref()).unwrap_or("default");
    let own = deployment.namespace().unwrap_or_default();
    let (resource, subresource) = match resource.split_once('/') {
        Some((resource, subresource)) => (resource, Some(subresource.to_owned())),
        None => (*resource, None),
    };
    let spec = SubjectAccessReviewSpec {
        user: Some(format!("system:serviceaccount:{own}:{account}")),
        groups: Some(vec![
            "system:serviceaccounts".to_owned(),
            format!("system:serviceaccounts:{own}"),
            "system:authenticated".to_owned(),
        ]),
        resource_attributes: Some(ResourceAttributes {
            namespace: namespace.map(str::to_owned),
            verb: Some((*verb).to_owned()),
            group: Some((*group).to_owned()),
            resource: Some(resource.to_owned()),
            subresource,
            name: name.clone(),
            ..ResourceAttributes::default()
        }),
        ..SubjectAccessReviewSpec::default()
    };
    let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
    let api: Api<SubjectAccessReview> = Api::all(cluster.client.clone());
    let answer = api.create(&PostParams::default(), &review).await?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

/// The policies that bear the name of the operator's release; in both modes of injection it is the same.
async fn policies(cluster: &Cluster, deployment: &Deployment) -> Read<Option<Policies>> {
    let flags = ["injection-policies", "webhook-config"];
    let Some(release) = flags.iter().find_map(|name| operator::flag(deployment, name)) else {
        return Ok(None);
    };
    let params = ListParams::default().labels(&policy::of_release(&release));
    let policies: Api<MutatingAdmissionPolicy> = Api::all(cluster.client.clone());
    let bindings: Api<MutatingAdmissionPolicyBinding> = Api::all(cluster.client.clone());
    let found =
        futures::try_join!(policies.list_metadata(&params), bindings.list_metadata(&params));
    match found {
        Ok((policies, bindings)) => Ok(Some(Policies {
            policies: policies.iter().map(ResourceExt::name_any).collect(),
            bindings: bindings.iter().map(ResourceExt::name_any).collect(),
        })),
        Err(error) if Category::of(&error) == Category::NotFound => Ok(None),
        Err(error) => Err(explain(&error)),
    }
}

/// The lease, and, where by this machine's clock it has expired, the same a renewal later: the clocks may
/// differ.
async fn lease(
    cluster: &Cluster,
    namespace: &str,
    name: Option<String>,
) -> Read<Option<(Lease, Lease)>> {
    let Some(name) = name else { return Ok(None) };
    let api: Api<Lease> = Api::namespaced(cluster.client.clone(), namespace);
    let read = async || api.get_opt(&name).await.map_err(|error| explain(&error));
    let Some(first) = read().await? else { return Ok(None) };
    if super::leader::is_fresh(&first, jiff::Timestamp::now()) {
        return Ok(Some((first.clone(), first)));
    }
    sleep(RENEWAL).await;
    Ok(read().await?.map(|second| (first, second)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(major: &str, minor: &str) -> Read<Info> {
        let git_version = format!("v{major}.{minor}");
        Ok(Info {
            major: major.to_owned(),
            minor: minor.to_owned(),
            git_version,
            ..Info::default()
        })
    }

    #[test]
    fn an_api_server_that_is_too_old_is_a_problem() {
        assert_eq!(server(&info("1", "36")).verdict, Verdict::Ok);
        assert_eq!(server(&info("1", "33+")).verdict, Verdict::Ok, "as some vendors write it");
        assert_eq!(server(&info("1", "32")).verdict, Verdict::Problem);
        assert_eq!(server(&Err("refused".to_owned())).verdict, Verdict::Problem);
    }
}
