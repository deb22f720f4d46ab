//! Finds what keeps all pods of a namespace from being injected, so that no remedy is named that can't help.

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, ResourceExt};
use weir_crds::names::label;

use super::pod::Obstacle;
use super::{ObserveError, reading};
use crate::context::{Context, Options};

/// The obstacle that stands in what the operator was started with.
pub(super) fn by_options(options: &Options, namespace: &str) -> Option<Obstacle> {
    if !options.injects {
        return Some(Obstacle {
            why: "this operator injects no pods".to_owned(),
            remedy: "install the chart with webhook.enabled=true, or use placement.gateway"
                .to_owned(),
        });
    }
    (!options.injects_into(namespace)).then(|| Obstacle {
        why: format!("no pod of the namespace {namespace} is ever injected"),
        remedy: "use placement.gateway, or run the pods in another namespace".to_owned(),
    })
}

/// The obstacle, if there is one. Whoever may not look at the namespace is told of none.
pub(super) async fn find(
    context: &Context,
    namespace: &str,
) -> Result<Option<Obstacle>, ObserveError> {
    if let Some(obstacle) = by_options(&context.options, namespace) {
        return Ok(Some(obstacle));
    }
    let namespaces: Api<Namespace> = Api::all(context.client.clone());
    match namespaces.get_metadata_opt(namespace).await {
        Ok(found) => {
            let labels = found.map(|found| found.labels().clone()).unwrap_or_default();
            let off = labels.get(label::INJECTION).is_some_and(|value| value == "disabled");
            if off {
                return Ok(Some(Obstacle {
                    why: format!(
                        "the namespace {namespace} is labelled {}=disabled",
                        label::INJECTION
                    ),
                    remedy: format!("kubectl label namespace {namespace} {}-", label::INJECTION),
                }));
            }
        }
        Err(kube::Error::Api(status)) if status.code == 403 => {}
        Err(error) => return Err(reading("the namespace")(error)),
    }
    unasked(context).await
}

/// What there is to say where nobody has told the API server to ask the webhook.
async fn unasked(context: &Context) -> Result<Option<Obstacle>, ObserveError> {
    let Some(name) = &context.options.webhook else { return Ok(None) };
    let configurations: Api<MutatingWebhookConfiguration> = Api::all(context.client.clone());
    match configurations.get_metadata_opt(name).await {
        Ok(Some(_)) => Ok(None),
        Ok(None) => Ok(Some(Obstacle {
            why: format!("there is no MutatingWebhookConfiguration {name} any more"),
            remedy: "upgrade the operator's release by the chart, which makes it, and then make the pods anew"
                .to_owned(),
        })),
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(None),
        Err(error) => Err(reading("the webhook's configuration")(error)),
    }
}
