//! Keeps the Secret and the webhook's configuration in order. Only the leader does.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use rustls::crypto::CryptoProvider;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use weir_crds::names::FIELD_MANAGER;

use super::inspect::{InspectError, standing, unexpired};
use super::lives::Lives;
use super::material::Material;
use super::plan::{Plan, plan};
use super::{CertificateMetrics, bundle, dns_names, issue};
use crate::failure::{chain, explain};

/// Longer than a handful of requests takes that get anywhere.
const LONGEST: Duration = Duration::from_secs(30);

/// Keeps the Secret and the webhook's configuration in order.
pub struct Keeper {
    /// The client of the API server.
    pub client: Client,
    /// The operator's namespace.
    pub namespace: String,
    /// The Service under which the API server reaches the webhook.
    pub service: String,
    /// The name of the Secret.
    pub secret: String,
    /// The name of the MutatingWebhookConfiguration.
    pub configuration: String,
    /// For how long authorities and certificates are valid.
    pub lives: Lives,
    /// The TLS implementation.
    pub provider: Arc<CryptoProvider>,
    /// Where it is shown.
    pub metrics: CertificateMetrics,
}

/// Why the Secret or the configuration is not in order.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// The Secret could not be read.
    #[error("can't read Secret {0}: {message}", message = explain(.1))]
    Read(String, kube::Error),
    /// The Secret could not be written.
    #[error("can't write Secret {0}: {message}", message = explain(.1))]
    Write(String, kube::Error),
    /// The webhook's configuration could not be read or written.
    #[error("can't put the authorities into MutatingWebhookConfiguration {0}: {message}", message = explain(.1))]
    Configure(String, kube::Error),
    /// The API server did not answer in time.
    #[error("the API server did not answer in time")]
    Late,
    /// A certificate could not be made.
    #[error("can't make a certificate")]
    Issue(#[from] rcgen::Error),
    /// The authorities that stand can't be read.
    #[error("can't keep the authorities that stand")]
    Inspect(#[from] InspectError),
}

impl Keeper {
    /// Keeps order until `shutdown` is cancelled.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut warned = false;
        loop {
            let tick = timeout(LONGEST, self.tick(Timestamp::now()));
            match tick.await.unwrap_or(Err(KeeperError::Late)) {
                Ok(true) => warned = false,
                Ok(false) if warned => {}
                Ok(false) => {
                    warned = true;
                    tracing::warn!(
                        name = self.configuration,
                        "there is no such MutatingWebhookConfiguration: no pod is injected until the \
                         chart, or somebody else, creates it"
                    );
                }
                Err(error) => {
                    self.metrics.is_configured(false);
                    tracing::warn!(
                        error = chain(&error),
                        "the webhook's certificate is not in order"
                    );
                }
            }
            tokio::select! {
                () = sleep(self.lives.interval()) => {}
                () = shutdown.cancelled() => return,
            }
        }
    }

    /// Brings both in order once. Answers whether there is a configuration.
    ///
    /// # Errors
    ///
    /// Fails where the API server refuses or is not reached.
    pub async fn tick(&self, now: Timestamp) -> Result<bool, KeeperError> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let secret = secrets.get_opt(&self.secret).await;
        let secret = secret.map_err(|error| KeeperError::Read(self.secret.clone(), error))?;
        let before = secret.as_ref().and_then(Material::of);
        let after = self.renew(before.as_ref(), now)?;
        // First the trust, then what needs it.
        let configured = self.configure(&after.authorities).await?;
        if before.as_ref() != Some(&after) {
            self.store(&secrets, &after).await?;
        }
        self.metrics.is_configured(configured);
        Ok(configured)
    }

    /// What is to stand in the Secret.
    fn renew(&self, before: Option<&Material>, now: Timestamp) -> Result<Material, KeeperError> {
        let names = dns_names(&self.service, &self.namespace);
        let name = names.first().map(String::as_str).unwrap_or_default();
        let look = |material| standing(material, &self.provider, name, now);
        let usable = before.and_then(|material| {
            let warn = |error: &InspectError| {
                tracing::warn!(error = chain(error), "what the Secret holds is not usable");
            };
            look(material).inspect_err(warn).ok().map(|standing| (material, standing))
        });
        let plan = plan(usable.map(|(_, standing)| standing), self.lives, now);
        let Some((material, _)) = usable else { return Ok(issue::begin(&names, self.lives, now)?) };
        if plan != Plan::Keep {
            tracing::info!(?plan, "renewing the webhook's certificate");
        }
        Ok(match plan {
            Plan::Begin => issue::begin(&names, self.lives, now)?,
            Plan::AddAuthority => {
                // Also those of somebody else, by whom the certificate is that is served until the own one has settled.
                let kept = unexpired(&material.authorities, now)?;
                issue::add_authority(material.clone(), &kept, self.lives, now)?
            }
            Plan::IssueCertificate => issue::issue(material.clone(), &names, self.lives, now)?,
            Plan::Keep => material.clone(),
        })
    }

    async fn store(&self, secrets: &Api<Secret>, material: &Material) -> Result<(), KeeperError> {
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let secret = material.secret(&self.secret);
        let written = secrets.patch(&self.secret, &params, &Patch::Apply(&secret)).await;
        written.map(|_| ()).map_err(|error| KeeperError::Write(self.secret.clone(), error))
    }

    /// Puts the authorities into the configuration. Answers whether there is one.
    async fn configure(&self, authorities: &str) -> Result<bool, KeeperError> {
        let failed = |error| KeeperError::Configure(self.configuration.clone(), error);
        let api: Api<MutatingWebhookConfiguration> = Api::all(self.client.clone());
        let Some(found) = api.get_opt(&self.configuration).await.map_err(failed)? else {
            return Ok(false);
        };
        if let Some(patch) = bundle::patch(&found, authorities) {
            let patch: Patch<()> = Patch::Json(patch);
            let manager = Some(FIELD_MANAGER.to_owned());
            let params = PatchParams { field_manager: manager, ..PatchParams::default() };
            api.patch(&self.configuration, &params, &patch).await.map_err(failed)?;
            tracing::info!(name = self.configuration, "told the API server whom to trust");
        }
        Ok(true)
    }
}
