//! Hands injection over between the webhook and policies, so that no pod slips through in between.
//!
//! # Laws
//!
//! - What injected before goes when its successor has been in force for a while, and not before: one that is not there
//!   yet is waited for, too.
//! - Of webhook configurations only the release's own is removed, and only where the chart has given it up.

use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Api, Client};
use tokio::time::{Instant, sleep, timeout};
use weir_crds::names::annotation;

use crate::certificates::has_authorities;
use crate::failure::chain;

/// Until every API server has heard of a policy, or of a webhook, and asks it.
const TAKEN_UP: Duration = Duration::from_secs(5);
/// Policies that could not be put in force by then will not be soon, and nobody answers the webhook any more.
const LONGEST: Duration = Duration::from_mins(2);
/// Short beside the start of a pod.
const LOOK: Duration = Duration::from_secs(1);
/// Beside what waits for somebody to mend it.
const SELDOM: Duration = Duration::from_mins(5);
/// Long beside the time in which the next leader puts policies in force, and less than a pod is given to end.
const LONGEST_FAREWELL: Duration = Duration::from_secs(30);

/// The webhook's configuration of this name, where the chart has given it up.
pub(super) async fn retiring(
    client: &Client,
    name: &str,
) -> Result<Option<ObjectMeta>, kube::Error> {
    let api = Api::<MutatingWebhookConfiguration>::all(client.clone());
    let found = api.get_metadata_opt(name).await?.map(|found| found.metadata);
    Ok(found.filter(retires))
}

fn retires(metadata: &ObjectMeta) -> bool {
    let noted = metadata.annotations.as_ref();
    noted.is_some_and(|noted| noted.get(annotation::RETIRES).is_some_and(|value| value == "true"))
}

/// Answers the webhook on while policies are about to take its place. Whoever can't find that out does not wait; but who
/// has found it out goes on where it can't be looked at for a moment.
pub async fn farewell(client: &Client, name: &str) {
    let over = async {
        let mut retires = false;
        loop {
            if let Ok(found) = retiring(client, name).await {
                retires = found.is_some();
            }
            if !retires {
                return;
            }
            sleep(LOOK).await;
        }
    };
    if timeout(LONGEST_FAREWELL, over).await.is_err() {
        tracing::warn!(
            name,
            "policies have not taken the webhook's place; it is answered no longer"
        );
    }
}

/// Waits until the API server asks the webhook of this configuration. Somebody else may be about to make that.
pub(super) async fn webhook_answers(client: &Client, name: &str) {
    let api = Api::<MutatingWebhookConfiguration>::all(client.clone());
    let begun = Instant::now();
    loop {
        match api.get_opt(name).await {
            Ok(Some(found)) if has_authorities(&found) => break,
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(error = chain(&error), "whether the webhook is asked is not known");
            }
        }
        // An upgrade is through by then; what takes longer waits for somebody.
        let is_new = begun.elapsed() < LONGEST;
        if !is_new {
            tracing::warn!(
                name,
                "there is no such webhook configuration, or it has no caBundle yet: policies of before stay"
            );
        }
        sleep(if is_new { LOOK } else { SELDOM }).await;
    }
    sleep(TAKEN_UP).await;
}

/// Finds out when the webhook's configuration may go.
#[derive(Debug)]
pub(super) struct Retirement {
    begun: Instant,
    /// Since when all policies stand.
    stand: Option<Instant>,
}

impl Retirement {
    pub(super) const fn begin(now: Instant) -> Self {
        Self { begun: now, stand: None }
    }

    /// Whether it may go now, at which all policies that are wanted stand, or don't.
    pub(super) fn is_due(&mut self, all_stand: bool, now: Instant) -> bool {
        self.stand = all_stand.then_some(self.stand.unwrap_or(now));
        let taken_up = self.stand.is_some_and(|since| now.duration_since(since) >= TAKEN_UP);
        taken_up || now.duration_since(self.begun) >= LONGEST
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::FakeApi;

    #[test]
    fn a_webhook_goes_when_all_policies_have_stood_for_a_while_and_at_last_in_any_case() {
        let begun = Instant::now();
        let after = |seconds: u64| begun + Duration::from_secs(seconds);
        let mut retirement = Retirement::begin(begun);
        assert!(!retirement.is_due(true, after(1)));
        assert!(!retirement.is_due(true, after(5)));
        assert!(retirement.is_due(true, after(6)));
        assert!(!retirement.is_due(false, after(7)), "one was taken away");
        assert!(!retirement.is_due(true, after(8)));
        assert!(retirement.is_due(true, after(13)));
        assert!(!retirement.is_due(false, after(119)));
        assert!(retirement.is_due(false, after(120)));
    }

    /// An API server with this configuration, or none.
    fn with(metadata: Option<Value>) -> FakeApi {
        FakeApi::new(move |_| metadata.as_ref().map_or_else(none, configuration))
    }

    fn configuration(metadata: &Value) -> (StatusCode, Value) {
        let kind = "PartialObjectMetadata";
        (
            StatusCode::OK,
            json!({ "apiVersion": "meta.k8s.io/v1", "kind": kind, "metadata": metadata }),
        )
    }

    fn none() -> (StatusCode, Value) {
        failure(StatusCode::NOT_FOUND, "NotFound")
    }

    fn failure(code: StatusCode, reason: &str) -> (StatusCode, Value) {
        (
            code,
            json!({ "kind": "Status", "status": "Failure", "code": code.as_u16(), "reason": reason }),
        )
    }

    #[tokio::test(start_paused = true)]
    async fn a_webhook_is_waited_for_that_has_no_configuration_or_no_authorities_yet() {
        let webhook = |bundle: &str| {
            let asked = json!({ "name": "injection.weir.dev", "clientConfig": { "caBundle": bundle }, "sideEffects": "None", "admissionReviewVersions": ["v1"] });
            (StatusCode::OK, json!({ "metadata": { "name": "weir" }, "webhooks": [asked] }))
        };
        let begun = Instant::now();
        let api = FakeApi::new(move |_| match begun.elapsed().as_secs() {
            0..60 => none(),
            60..90 => webhook(""),
            _ => webhook("Q0E="),
        });
        webhook_answers(&api.client(), "weir").await;
        assert_eq!(begun.elapsed(), Duration::from_secs(90) + TAKEN_UP);
        let begun = Instant::now();
        let waits = FakeApi::new(move |_| none());
        let longest = LONGEST + 3 * SELDOM;
        let answers = timeout(longest, async { webhook_answers(&waits.client(), "weir").await });
        assert!(answers.await.is_err(), "it did not wait: {:?}", begun.elapsed());
        assert_eq!(waits.asked().len(), 123, "once a second, and then seldom");
    }

    #[tokio::test(start_paused = true)]
    async fn a_replica_answers_on_only_while_the_webhook_is_about_to_go() {
        let took = async |api: FakeApi| {
            let begun = Instant::now();
            farewell(&api.client(), "weir").await;
            begun.elapsed()
        };
        assert_eq!(took(with(None)).await, Duration::ZERO);
        assert_eq!(took(with(Some(json!({ "name": "weir" })))).await, Duration::ZERO);
        let leaving = json!({ "name": "weir", "annotations": { "weir.dev/retires": "true" } });
        assert_eq!(took(with(Some(leaving.clone()))).await, LONGEST_FAREWELL);
        let busy = || failure(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable");
        assert_eq!(took(FakeApi::new(move |_| busy())).await, Duration::ZERO);
        let begun = Instant::now();
        let interrupted = FakeApi::new(move |_| match begun.elapsed().as_secs() {
            0 => configuration(&leaving),
            1 => busy(),
            _ => none(),
        });
        assert_eq!(took(interrupted).await, 2 * LOOK);
    }
}
