//! Tells the API server which authorities to trust: the `caBundle` of the webhook's configuration.

use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, Patch, PatchOperation, TestOperation};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use serde_json::{Value, json};

/// The patch that puts `authorities` into every webhook of the configuration; `None` where they stand.
///
/// Each change is tied to the name that was read at its place, so that a list that changed in between
/// makes the patch fail. Nothing else of the webhook becomes ours, as it would by server-side apply.
pub(super) fn patch(
    configuration: &MutatingWebhookConfiguration,
    authorities: &str,
) -> Option<Patch> {
    let webhooks = configuration.webhooks.iter().flatten().enumerate();
    let outdated = webhooks.filter(|(_, webhook)| {
        let stands = webhook.client_config.ca_bundle.as_ref();
        stands.is_none_or(|bundle| bundle.0 != authorities.as_bytes())
    });
    let bytes = k8s_openapi::ByteString(authorities.as_bytes().to_vec());
    let operations: Vec<PatchOperation> = outdated
        .flat_map(|(index, webhook)| {
            let index = index.to_string();
            let at = |path: &[&str]| {
                PointerBuf::from_tokens(["webhooks", index.as_str()].iter().chain(path).copied())
            };
            let test: Value = webhook.name.clone().into();
            [
                PatchOperation::Test(TestOperation { path: at(&["name"]), value: test }),
                PatchOperation::Add(AddOperation {
                    path: at(&["clientConfig", "caBundle"]),
                    value: json!(bytes),
                }),
            ]
        })
        .collect();
    (!operations.is_empty()).then_some(Patch(operations))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration(bundle: &Value) -> MutatingWebhookConfiguration {
        let webhook = |name: &str, bundle: &Value| {
            json!({
                "name": name, "clientConfig": { "caBundle": bundle },
                "admissionReviewVersions": ["v1"], "sideEffects": "None",
            })
        };
        let webhooks = [webhook("first", &json!("Q0E=")), webhook("second", bundle)];
        serde_json::from_value(json!({ "metadata": {}, "webhooks": webhooks })).unwrap()
    }

    #[test]
    fn what_is_trusted_already_is_left_alone() {
        assert_eq!(patch(&configuration(&json!("Q0E=")), "CA"), None);
    }

    #[test]
    fn only_the_webhook_that_lacks_the_authorities_gets_them() {
        for missing in [Value::Null, json!("b2xk")] {
            let patch = patch(&configuration(&missing), "CA").unwrap();
            let expected = json!([
                { "op": "test", "path": "/webhooks/1/name", "value": "second" },
                { "op": "add", "path": "/webhooks/1/clientConfig/caBundle", "value": "Q0E=" },
            ]);
            assert_eq!(serde_json::to_value(&patch).unwrap(), expected);
        }
    }
}
