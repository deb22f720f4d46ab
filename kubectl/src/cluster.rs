//! Finds the API server that kubectl would use, and the namespace.

use std::time::Duration;

use kube::config::{InferConfigError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

use crate::args::ClusterArgs;

/// Somebody waits before the screen.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why there is no API server to ask.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kubeconfig can't be read, or does not say what it is asked for.
    #[error("can't use the kubeconfig")]
    Kubeconfig(#[from] KubeconfigError),
    /// There is neither a kubeconfig nor a pod's account.
    #[error("no cluster: set $KUBECONFIG, or give --kubeconfig FILE")]
    Nowhere(#[from] InferConfigError),
    /// No client can be made of it.
    #[error("can't make a client of the API server")]
    Client(#[source] kube::Error),
}

/// An API server, and the namespace that is meant.
#[derive(Clone)]
pub struct Cluster {
    /// Asks it.
    pub client: Client,
    /// The namespace.
    pub namespace: String,
    /// Whether the namespace was given on the command line.
    pub is_given: bool,
}

impl Cluster {
    /// A client of the API server.
    ///
    /// # Errors
    ///
    /// Fails where there is no usable configuration. Whether the server answers is not known yet.
    pub async fn connect(args: &ClusterArgs) -> Result<Self, Error> {
        let ClusterArgs { kubeconfig, context, namespace, as_user, as_groups } = args;
        let mut config = match (kubeconfig, context) {
            (Some(file), _) => of(Kubeconfig::read_from(file)?, context.clone()).await?,
            (None, Some(_)) => of(Kubeconfig::read()?, context.clone()).await?,
            (None, None) => Config::infer().await?,
        };
        config.connect_timeout = Some(PATIENCE);
        // The kubeconfig may name somebody, too, whose groups are then no others.
        if as_user.is_some() || !as_groups.is_empty() {
            config.auth_info.impersonate.clone_from(as_user);
            config.auth_info.impersonate_groups = Some(as_groups.clone());
        }
        let is_given = namespace.is_some();
        let namespace = namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config).map_err(Error::Client)?;
        Ok(Self { client, namespace, is_given })
    }
}

async fn of(kubeconfig: Kubeconfig, context: Option<String>) -> Result<Config, KubeconfigError> {
    let options = KubeConfigOptions { context, ..KubeConfigOptions::default() };
    Config::from_custom_kubeconfig(kubeconfig, &options).await
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use weir_operator::failure::chain;

    use super::*;

    const KUBECONFIG: &str = "
apiVersion: v1
kind: Config
current-context: here
clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}]
users: [{name: u, user: {}}]
contexts:
  - {name: here, context: {cluster: c, user: u}}
  - {name: there, context: {cluster: c, user: u, namespace: shop}}
";

    async fn connect(context: Option<&str>, namespace: Option<&str>) -> Result<Cluster, Error> {
        let _installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(KUBECONFIG.as_bytes()).unwrap();
        let args = ClusterArgs {
            kubeconfig: Some(file.path().to_owned()),
            context: context.map(str::to_owned),
            namespace: namespace.map(str::to_owned),
            ..ClusterArgs::default()
        };
        Cluster::connect(&args).await
    }

    #[tokio::test]
    async fn the_namespace_is_the_given_one_or_the_contexts() {
        assert_eq!(connect(None, None).await.ok().unwrap().namespace, "default");
        assert_eq!(connect(Some("there"), None).await.ok().unwrap().namespace, "shop");
        let given = connect(Some("there"), Some("else")).await.ok().unwrap();
        assert_eq!((given.namespace.as_str(), given.is_given), ("else", true));
    }

    #[tokio::test]
    async fn a_context_that_is_not_there_is_named() {
        let error = connect(Some("nowhere"), None).await.err().unwrap();
        assert!(chain(&error).contains("nowhere"), "{}", chain(&error));
    }
}
