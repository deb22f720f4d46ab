//! The webhook: is it registered, trusted, and is there a pod that answers?

use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhook, MutatingWebhookConfiguration};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;
use weir_crds::v1alpha1::StreamPipeline;

use super::certificate;
use super::finding::{Finding, Verdict};
use super::observe::Read;
use super::operator::{Installed, flag};
use super::policies;

/// What is to be said of an operator's webhook; nothing where it injects by policies.
pub(super) fn judge(
    installed: &Installed,
    pipelines: &Read<Vec<StreamPipeline>>,
    now: Timestamp,
) -> Option<Finding> {
    if flag(&installed.deployment, "injection-policies").is_some() {
        return None;
    }
    let subject = format!("webhook of {}", installed.title());
    let Some(name) = flag(&installed.deployment, "webhook-config") else {
        return Some(none(subject, installed, pipelines));
    };
    Some(match wrong(installed, &name, now) {
        Ok(()) => Finding::ok(subject, "is registered, trusted, and reached"),
        Err(Flaw::Unseen(reason)) => Finding::unknown(subject, &reason),
        Err(Flaw::Seen(message, remedy)) => {
            let message = format!("{message}; new pods start without a sidecar");
            Finding::wrong(Verdict::Problem, subject, message, remedy)
        }
    })
}

/// What is to be said where there is none; as long as a pod lives, its sidecar hides that the next one gets none.
fn none(subject: String, installed: &Installed, pipelines: &Read<Vec<StreamPipeline>>) -> Finding {
    let message = "it has none, so that only gateways work";
    let all = pipelines.iter().flatten();
    let wanted = all.filter(|pipeline| policies::is_injected(installed, pipeline));
    let title = |found: &StreamPipeline| {
        format!("{}/{}", found.namespace().unwrap_or_default(), found.name_any())
    };
    let wanted: Vec<String> = wanted.map(title).collect();
    if wanted.is_empty() {
        return Finding::ok(subject, message);
    }
    let message = format!("{message}; new pods of {} start without a sidecar", wanted.join(", "));
    let remedy = "upgrade the chart with webhook.enabled=true, or place them in gateways";
    Finding::wrong(Verdict::Warning, subject, message, remedy)
}

/// What keeps new pods from getting a sidecar.
enum Flaw {
    /// It could not be looked at.
    Unseen(String),
    /// What was seen, and what mends it.
    Seen(String, String),
}

fn wrong(installed: &Installed, name: &str, now: Timestamp) -> Result<(), Flaw> {
    let Installed {
        deployment: _,
        lease: _,
        namespaces: _,
        scopes: _,
        policies: _,
        configuration,
        service,
        slices,
    } = installed;
    let configuration = configuration.as_ref().map_err(|reason| Flaw::Unseen(reason.clone()))?;
    let Some(configuration) = configuration else {
        let message = format!("there is no MutatingWebhookConfiguration {name}");
        return Err(Flaw::Seen(message, "upgrade the chart, which makes it".to_owned()));
    };
    trusted(configuration, name, now)?;
    let service = service.as_ref().map_err(|reason| Flaw::Unseen(reason.clone()))?;
    let service_name = flag(&installed.deployment, "webhook-service").unwrap_or_default();
    if service.is_none() {
        let message = format!("there is no Service {service_name}");
        return Err(Flaw::Seen(message, "upgrade the chart, which makes it".to_owned()));
    }
    answered(slices, &service_name)
}

fn trusted(
    configuration: &MutatingWebhookConfiguration,
    name: &str,
    now: Timestamp,
) -> Result<(), Flaw> {
    let webhooks: &[MutatingWebhook] = configuration.webhooks.as_deref().unwrap_or_default();
    if webhooks.is_empty() {
        let message = format!("the MutatingWebhookConfiguration {name} holds no webhook");
        return Err(Flaw::Seen(message, "upgrade the chart, which makes it".to_owned()));
    }
    for webhook in webhooks {
        let authorities = webhook.client_config.ca_bundle.as_ref();
        let authorities = authorities.map_or(&[][..], |bundle| bundle.0.as_slice());
        if let Err(why) = certificate::is_valid(authorities, now) {
            let message = format!("its caBundle {why}");
            let remedy = "the leader writes it: see that there is one, and its logs";
            return Err(Flaw::Seen(message, remedy.to_owned()));
        }
    }
    Ok(())
}

fn answered(slices: &Read<Vec<EndpointSlice>>, service: &str) -> Result<(), Flaw> {
    let slices = slices.as_ref().map_err(|reason| Flaw::Unseen(reason.clone()))?;
    let mut endpoints = slices.iter().flat_map(|slice| slice.endpoints.iter().flatten());
    let is_ready = endpoints.any(|endpoint| {
        endpoint.conditions.as_ref().is_some_and(|conditions| conditions.ready != Some(false))
    });
    if is_ready {
        return Ok(());
    }
    let message = format!("no pod behind the Service {service} is ready");
    Err(Flaw::Seen(message, "see the operator's pods, and why they are not ready".to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::check::certificate::tests::authority;
    use crate::check::operator::tests::installed;

    type Change = fn(&mut Installed);

    fn sound() -> Installed {
        let args = ["--webhook-config=weir-injection", "--webhook-service=weir"];
        let mut operator = installed("weir-system", &args);
        let bundle = k8s_openapi::ByteString(authority(30).into_bytes());
        let configuration = json!({ "webhooks": [{
            "name": "injection.weir.dev", "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "clientConfig": { "caBundle": bundle },
        }] });
        operator.configuration = Ok(Some(serde_json::from_value(configuration).unwrap()));
        operator.service = Ok(Some(serde_json::from_value(json!({})).unwrap()));
        let slice = json!({
            "addressType": "IPv4",
            "endpoints": [{ "addresses": ["10.0.0.1"], "conditions": { "ready": true } }],
        });
        operator.slices = Ok(vec![serde_json::from_value(slice).unwrap()]);
        operator
    }

    fn found(operator: &Installed) -> Finding {
        judge(operator, &Ok(Vec::new()), Timestamp::now()).unwrap()
    }

    #[test]
    fn a_webhook_that_is_trusted_and_reached_is_as_it_should_be() {
        assert_eq!(found(&sound()).verdict, Verdict::Ok);
        assert_eq!(found(&installed("weir-system", &[])).verdict, Verdict::Ok, "there is none");
        let by_policies = installed("weir-system", &["--injection-policies=weir"]);
        assert_eq!(judge(&by_policies, &Ok(Vec::new()), Timestamp::now()), None);
    }

    #[test]
    fn without_a_webhook_pipelines_that_want_sidecars_are_named() {
        let pipeline = |placement: serde_json::Value| {
            serde_json::from_value(json!({
                "metadata": { "name": "orders", "namespace": "shop" },
                "spec": { "placement": placement, "sources": [{ "name": "app", "http": {} }],
                          "endpoints": { "sse": {} } },
            }))
            .unwrap()
        };
        let found = |placement| {
            let operator = installed("weir-system", &[]);
            judge(&operator, &Ok(vec![pipeline(placement)]), Timestamp::now()).unwrap()
        };
        assert_eq!(found(json!({ "gateway": {} })).verdict, Verdict::Ok);
        let selector = json!({ "matchLabels": { "app": "shop" } });
        let wanting = found(json!({ "sidecar": { "selector": selector } }));
        assert_eq!(wanting.verdict, Verdict::Warning);
        assert!(wanting.message.contains("new pods of shop/orders start"), "{wanting:?}");
    }

    #[test]
    fn each_flaw_is_named() {
        let with = |change: Change| {
            let mut operator = sound();
            change(&mut operator);
            found(&operator)
        };
        let untrusted = |operator: &mut Installed| {
            let Ok(Some(configuration)) = &mut operator.configuration else { return };
            configuration.webhooks.as_mut().unwrap()[0].client_config.ca_bundle = None;
        };
        let flaws: [(Change, &str); 4] = [
            (|it| it.configuration = Ok(None), "no MutatingWebhook"),
            (untrusted, "caBundle is empty"),
            (|it| it.service = Ok(None), "no Service weir"),
            (|it| it.slices = Ok(Vec::new()), "no pod behind the Service"),
        ];
        for (change, words) in flaws {
            let finding = with(change);
            assert_eq!(finding.verdict, Verdict::Problem);
            assert!(finding.message.contains(words), "{finding:?}");
        }
        let unseen = with(|it| it.configuration = Err("forbidden".to_owned()));
        assert_eq!(unseen.verdict, Verdict::Unknown);
    }
}
