//! Reads and writes the Lease.

use std::future::Future;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use kube::{Api, Client};
use weir_crds::names::FIELD_MANAGER;

/// Where the lease is kept.
pub trait LeaseStore: Send + Sync {
    /// Reads it; `None` where there is none.
    fn get(&self) -> impl Future<Output = Result<Option<Lease>, StoreError>> + Send;
    /// Creates it, if there still is none.
    fn create(&self, spec: LeaseSpec) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// Writes a spec over the version `read`, if it is still that version.
    fn replace(
        &self,
        read: Lease,
        spec: LeaseSpec,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// Why the lease could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another candidate wrote in between.
    #[error("another candidate was faster")]
    Conflict,
    /// The API server refused, or was not reached.
    #[error("{}", crate::failure::explain(.0))]
    Api(kube::Error),
    /// The answer took too long.
    #[error("the API server did not answer in time")]
    Late,
}

impl From<kube::Error> for StoreError {
    fn from(error: kube::Error) -> Self {
        match crate::failure::Category::of(&error) {
            crate::failure::Category::Conflict => Self::Conflict,
            crate::failure::Category::Forbidden
            | crate::failure::Category::NotFound
            | crate::failure::Category::Invalid
            | crate::failure::Category::Unavailable
            | crate::failure::Category::Transport
            | crate::failure::Category::Internal => Self::Api(error),
        }
    }
}

/// The lease of this name at the API server.
pub struct KubeLeases {
    api: Api<Lease>,
    name: String,
}

impl KubeLeases {
    /// The lease `name` in `namespace`.
    #[must_use]
    pub fn new(client: Client, namespace: &str, name: &str) -> Self {
        Self { api: Api::namespaced(client, namespace), name: name.to_owned() }
    }
}

fn params() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }
}

impl LeaseStore for KubeLeases {
    async fn get(&self) -> Result<Option<Lease>, StoreError> {
        Ok(self.api.get_opt(&self.name).await?)
    }

    async fn create(&self, spec: LeaseSpec) -> Result<(), StoreError> {
        let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
        self.api.create(&params(), &Lease { metadata, spec: Some(spec) }).await?;
        Ok(())
    }

    async fn replace(&self, read: Lease, spec: LeaseSpec) -> Result<(), StoreError> {
        // The resourceVersion that was read goes along, so the API server compares and swaps.
        let lease = Lease { metadata: read.metadata, spec: Some(spec) };
        self.api.replace(&self.name, &params(), &lease).await?;
        Ok(())
    }
}
