//! Asks a running operator whether it is well, and the API server whether it is what was installed last: what
//! `helm test` runs.

mod installed;

use std::time::Duration;

use http::Uri;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Api;
use tokio::time::{Instant, sleep};

use self::installed::{leaderless, unfinished};
use crate::args::CheckHealth;
use crate::failure::explain;
use crate::samples::{Client, FetchError};

/// One answer may take this long.
const PATIENCE: Duration = Duration::from_secs(5);
/// An operator that has just started becomes ready within a few of these.
const PAUSE: Duration = Duration::from_millis(500);

/// What was seen last was not good.
#[derive(Debug, thiserror::Error)]
pub enum Unwell {
    /// The answer of the operator.
    #[error("{url} is not well")]
    Answer {
        /// What was asked.
        url: Uri,
        /// What was answered.
        source: FetchError,
    },
    /// There is no API server to ask.
    #[error("can't ask the API server")]
    Nowhere(#[source] Box<kube::Error>),
    /// The API server does not tell.
    #[error("can't read the {what}: {}", explain(.cause))]
    Read {
        /// What was to be read.
        what: &'static str,
        /// What the API server, or the way to it, said.
        cause: Box<kube::Error>,
    },
    /// The Deployment is still, or for ever, on its way.
    #[error("the Deployment {name} is not rolled out: {why}; its pods and their logs say more")]
    Rollout {
        /// Its name.
        name: String,
        /// What is missing.
        why: String,
    },
    /// The lease is nobody's.
    #[error("nobody leads: {0}; the logs of the operator's pods say why")]
    Leaderless(String),
}

/// Asks until all is good, or the time is up. `client` is for what the API server is to be asked.
///
/// # Errors
///
/// The time is up, and what was seen last was not good.
pub async fn check(asked: &CheckHealth, client: Option<&kube::Client>) -> Result<(), Unwell> {
    let deadline = Instant::now() + Duration::from_secs(u64::from(asked.within));
    let operator = Client::new(PATIENCE);
    let mut renewed = None;
    loop {
        let seen = look(asked, &operator, client, &mut renewed).await;
        match seen {
            Ok(()) => return Ok(()),
            Err(unwell) if Instant::now() >= deadline => return Err(unwell),
            Err(_) => sleep(PAUSE).await,
        }
    }
}

/// A client of the API server, where it is to be asked.
///
/// # Errors
///
/// Fails where there is none.
pub async fn client(asked: &CheckHealth) -> Result<Option<kube::Client>, Unwell> {
    if asked.deployment.is_none() && asked.lease.is_none() {
        return Ok(None);
    }
    let client = kube::Client::try_default().await;
    client.map(Some).map_err(|error| Unwell::Nowhere(Box::new(error)))
}

async fn look(
    asked: &CheckHealth,
    operator: &Client,
    client: Option<&kube::Client>,
    renewed: &mut Option<MicroTime>,
) -> Result<(), Unwell> {
    let CheckHealth { url, within: _, deployment, lease, namespace } = asked;
    let answer = operator.get(url.clone()).await;
    answer.map_err(|source| Unwell::Answer { url: url.clone(), source })?;
    let Some(client) = client else { return Ok(()) };
    if let Some(name) = deployment {
        let api: Api<Deployment> = Api::namespaced(client.clone(), namespace);
        let found = api.get(name).await.map_err(reading("Deployment"))?;
        if let Some(why) = unfinished(&found) {
            return Err(Unwell::Rollout { name: name.clone(), why });
        }
    }
    if let Some(name) = lease {
        let api: Api<Lease> = Api::namespaced(client.clone(), namespace);
        let found = api.get_opt(name).await.map_err(reading("Lease"))?;
        if let Some(why) = leaderless(found.as_ref(), renewed) {
            return Err(Unwell::Leaderless(why));
        }
    }
    Ok(())
}

fn reading(what: &'static str) -> impl Fn(kube::Error) -> Unwell {
    move |cause| Unwell::Read { what, cause: Box::new(cause) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::chain;
    use crate::samples::fake::{Behaviour, FakeSidecar};

    fn ask(server: &FakeSidecar, within: u32) -> CheckHealth {
        let address = server.target("any").address;
        CheckHealth {
            url: format!("http://{address}/readyz").parse().unwrap(),
            within,
            deployment: None,
            lease: None,
            namespace: "weir-system".to_owned(),
        }
    }

    #[tokio::test]
    async fn a_server_that_becomes_well_is_waited_for() {
        let server = FakeSidecar::start(Behaviour::Fail(503)).await;
        let asked = ask(&server, 60);
        let checked = tokio::spawn(async move { check(&asked, None).await });
        server.requested(1).await;
        server.behave(Behaviour::Garbage);
        assert!(checked.await.unwrap().is_ok());
    }

    #[tokio::test]
    async fn a_server_that_is_not_well_is_told_with_its_answer() {
        let server = FakeSidecar::start(Behaviour::Fail(503)).await;
        let error = check(&ask(&server, 0), None).await.unwrap_err();
        let told = chain(&error);
        assert!(told.ends_with("/readyz is not well: answered with status 503"), "{told}");
    }
}
