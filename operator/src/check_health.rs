//! Asks a running operator whether it is well: what `helm test` runs.

use std::time::Duration;

use http::Uri;
use tokio::time::{Instant, sleep};

use crate::args::CheckHealth;
use crate::samples::{Client, FetchError};

/// One answer may take this long.
const PATIENCE: Duration = Duration::from_secs(5);
/// An operator that has just started becomes ready within a few of these.
const PAUSE: Duration = Duration::from_millis(500);

/// The last answer was not a good one.
#[derive(Debug, thiserror::Error)]
#[error("{url} is not well")]
pub struct Unwell {
    url: Uri,
    source: FetchError,
}

/// Asks until the answer is good, or the time is up.
///
/// # Errors
///
/// The time is up, and the last answer was not good.
pub async fn check(asked: &CheckHealth) -> Result<(), Unwell> {
    let CheckHealth { url, within } = asked;
    let deadline = Instant::now() + Duration::from_secs(u64::from(*within));
    let client = Client::new(PATIENCE);
    loop {
        match client.get(url.clone()).await {
            Ok(_) => return Ok(()),
            Err(source) if Instant::now() >= deadline => {
                return Err(Unwell { url: url.clone(), source });
            }
            Err(_) => sleep(PAUSE).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::chain;
    use crate::samples::fake::{Behaviour, FakeSidecar};

    fn ask(server: &FakeSidecar, within: u32) -> CheckHealth {
        let address = server.target("any").address;
        CheckHealth { url: format!("http://{address}/readyz").parse().unwrap(), within }
    }

    #[tokio::test]
    async fn a_server_that_becomes_well_is_waited_for() {
        let server = FakeSidecar::start(Behaviour::Fail(503)).await;
        let asked = ask(&server, 60);
        let checked = tokio::spawn(async move { check(&asked).await });
        server.requested(1).await;
        server.behave(Behaviour::Garbage);
        assert!(checked.await.unwrap().is_ok());
    }

    #[tokio::test]
    async fn a_server_that_is_not_well_is_told_with_its_answer() {
        let server = FakeSidecar::start(Behaviour::Fail(503)).await;
        let error = check(&ask(&server, 0)).await.unwrap_err();
        let told = chain(&error);
        assert!(told.ends_with("/readyz is not well: answered with status 503"), "{told}");
    }
}
