//! The command line and the environment.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{ArgAction, Parser, ValueEnum};
use http::Uri;
use weir_crds::logging::Directives;
use weir_crds::names::port;
use weir_crds::scalar::Duration;

use crate::certificates::{Lives, LivesError};
use crate::context::Options;
use crate::upgrade::Upgrades;

/// Makes StreamPipelines run, injects the sidecar, and judges StreamSLOs.
#[derive(Debug, Clone, Parser)]
#[command(name = "weir-operator", version, about, max_term_width = 100)]
pub enum Command {
    /// Run until told to stop.
    Run(Box<Args>),
    /// Ask a running operator whether it is well; the image has no other program that could.
    CheckHealth(CheckHealth),
}

/// How another process is asked whether it is well.
#[derive(Debug, Clone, clap::Args)]
pub struct CheckHealth {
    /// What is asked, such as http://weir.weir-system.svc:8080/readyz.
    #[arg(long, value_name = "URL")]
    pub url: Uri,
    /// For how many seconds to ask again, until the answer is good.
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    pub within: u32,
    /// The operator's Deployment, which is to be rolled out, with no replica of before.
    #[arg(long, value_name = "NAME")]
    pub deployment: Option<String>,
    /// The Lease, which somebody is to hold and to renew.
    #[arg(long, value_name = "NAME")]
    pub lease: Option<String>,
    /// The namespace of these two.
    #[arg(long, env = "POD_NAMESPACE", default_value = "weir-system", value_name = "NAME")]
    pub namespace: String,
}

/// How the operator runs.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The operator's own namespace: its Lease and its Secret are there.
    #[arg(long, env = "POD_NAMESPACE", default_value = "weir-system", value_name = "NAME")]
    pub namespace: String,
    /// Who this replica is; no other may have the same. Made up where absent.
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    pub identity: Option<String>,
    /// Reconcile the resources of these namespaces alone, and need no permission in others. May be given
    /// several times.
    #[arg(long = "watch-namespace", value_delimiter = ',', value_name = "NAME")]
    pub watch_namespaces: Vec<String>,
    /// The image of the data plane.
    #[arg(long, env = "WEIR_SIDECAR_IMAGE", value_name = "IMAGE")]
    pub sidecar_image: String,
    /// When the image of the data plane is pulled; the cluster's default where absent.
    #[arg(
        long,
        alias = "sidecar-image-pull-policy",
        env = "WEIR_SIDECAR_PULL_POLICY",
        value_parser = ["Always", "IfNotPresent", "Never"],
        value_name = "POLICY"
    )]
    pub sidecar_pull_policy: Option<String>,
    /// A Secret with which the image of the data plane is pulled. It must be in the namespace of each pod that runs
    /// it; may be given several times.
    #[arg(
        long = "sidecar-image-pull-secret",
        env = "WEIR_SIDECAR_PULL_SECRETS",
        value_delimiter = ',',
        value_name = "NAME"
    )]
    pub sidecar_image_pull_secrets: Vec<String>,
    /// When data planes that run are replaced because the operator is of another release, or its image of the
    /// data plane another one.
    #[arg(
        long,
        env = "WEIR_SIDECAR_UPGRADE",
        value_enum,
        default_value = "OnRequest",
        value_name = "WHEN"
    )]
    pub sidecar_upgrade: Upgrades,
    /// Elect a leader among the replicas; without, there must be one replica only.
    #[arg(long, action = ArgAction::Set, default_value_t = true, value_name = "BOOL")]
    pub leader_elect: bool,
    /// The name of the Lease that the leader holds.
    #[arg(long, default_value = "weir-operator", value_name = "NAME")]
    pub lease: String,
    /// The MutatingWebhookConfiguration that names this webhook. Without it there is no webhook.
    #[arg(long, alias = "webhook-config-name", value_name = "NAME")]
    pub webhook_config: Option<String>,
    /// Inject by MutatingAdmissionPolicies of the API server (Kubernetes 1.36), whose names begin with this,
    /// instead of by a webhook.
    #[arg(long, conflicts_with = "webhook_config", value_name = "NAME")]
    pub injection_policies: Option<String>,
    /// The ClusterRole that owns these policies, so that they go with it.
    #[arg(long, requires = "injection_policies", value_name = "NAME")]
    pub injection_policies_owner: Option<String>,
    /// A namespace that is never injected, besides the operator's own and kube-system; may be repeated.
    #[arg(long = "excluded-namespace", value_name = "NAME")]
    pub excluded_namespaces: Vec<String>,
    /// Restart workloads whose pods lack something, where a pipeline asks for that. Without it no permission is needed to
    /// create pods, nor to change workloads of others.
    #[arg(long, action = ArgAction::Set, default_value_t = true, value_name = "BOOL")]
    pub restarts: bool,
    /// Make Ingresses, HTTPRoutes and NetworkPolicies, where a pipeline asks for them. Without it no permission on
    /// these is needed.
    #[arg(long, action = ArgAction::Set, default_value_t = true, value_name = "BOOL")]
    pub exposure: bool,
    /// The Service under which the API server reaches the webhook.
    #[arg(long, default_value = "weir-operator", value_name = "NAME")]
    pub webhook_service: String,
    /// The Secret that holds the webhook's certificate.
    #[arg(long, default_value = "weir-webhook-tls", value_name = "NAME")]
    pub webhook_secret: String,
    /// A directory with the webhook's tls.crt and tls.key, which somebody else renews and makes the API
    /// server trust. Without it the operator makes its certificate, and keeps it in the Secret.
    #[arg(long, value_name = "DIRECTORY")]
    pub webhook_certificate_dir: Option<PathBuf>,
    /// How long the certificate is valid that the operator makes; one that is there is used to its end.
    #[arg(long, default_value = "2160h", value_name = "DURATION")]
    pub webhook_certificate_life: Duration,
    /// How long the authority is valid that the operator makes; at least three times as long.
    #[arg(long, default_value = "8760h", value_name = "DURATION")]
    pub webhook_authority_life: Duration,
    /// Where the webhook listens.
    #[arg(long, default_value = "0.0.0.0:9443", value_name = "ADDRESS")]
    pub webhook_address: SocketAddr,
    /// Where probes and metrics are served.
    #[arg(long, default_value = "0.0.0.0:8080", value_name = "ADDRESS")]
    pub admin_address: SocketAddr,
    /// How many resources of a kind are reconciled at the same time.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256), value_name = "NUMBER")]
    pub concurrency: u16,
    /// How logs are written.
    #[arg(long, value_enum, default_value = "text")]
    pub log_format: LogFormat,
    /// What is logged: a level, or directives such as info,weir_operator=debug.
    #[arg(long, env = "WEIR_LOG", default_value = "info", value_name = "DIRECTIVES")]
    pub log: Directives,
}

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

impl Args {
    /// Who this replica is: the given identity, or one that no other process has.
    #[must_use]
    pub fn identity(&self) -> String {
        self.identity.clone().unwrap_or_else(|| {
            format!("weir-operator-{}-{:08x}", std::process::id(), fastrand::u32(..))
        })
    }

    /// For how long the operator's authorities and certificates are valid.
    ///
    /// # Errors
    ///
    /// Fails where they could not be renewed without a gap.
    pub fn lives(&self) -> Result<Lives, LivesError> {
        Lives::new(self.webhook_authority_life.get(), self.webhook_certificate_life.get())
    }

    /// The namespaces that are watched, each by itself; one that is all of them where none is named.
    #[must_use]
    pub fn scopes(&self) -> Vec<Option<String>> {
        let named: BTreeSet<_> = self.watch_namespaces.iter().cloned().collect();
        if named.is_empty() { vec![None] } else { named.into_iter().map(Some).collect() }
    }

    /// The part that the controllers of all namespaces need.
    #[must_use]
    pub fn options(&self) -> Options {
        Options {
            namespace: self.namespace.clone(),
            identity: self.identity(),
            watch_namespace: None,
            sidecar_image: self.sidecar_image.clone(),
            sidecar_image_pull_policy: self.sidecar_pull_policy.clone(),
            sidecar_image_pull_secrets: self.sidecar_image_pull_secrets.clone(),
            upgrades: self.sidecar_upgrade,
            policies: self.injection_policies.clone(),
            policies_owner: self.injection_policies_owner.clone(),
            webhook: self.webhook_config.clone(),
            injects: self.webhook_config.is_some() || self.injection_policies.is_some(),
            excluded_namespaces: self.excluded_namespaces.clone(),
            restarts: self.restarts,
            exposure: self.exposure,
            admin_port: port::ADMIN,
            concurrency: self.concurrency,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Args, clap::Error> {
        let given = [&["weir-operator", "run", "--sidecar-image=i"], args].concat();
        match Command::try_parse_from(given)? {
            Command::Run(args) => Ok(*args),
            Command::CheckHealth(check) => panic!("{check:?}"),
        }
    }

    #[test]
    fn a_check_of_the_health_needs_none_of_what_a_run_needs() {
        let check = ["weir-operator", "check-health", "--url=http://weir:8080/readyz"];
        let command = Command::try_parse_from(check).unwrap();
        assert!(matches!(command, Command::CheckHealth(check) if check.within == 60));
        assert!(Command::try_parse_from(["weir-operator", "walk"]).is_err());
    }

    #[test]
    fn an_identity_that_is_made_up_is_nobody_elses() {
        let mut args = parse(&[]).unwrap();
        args.identity = None;
        assert_ne!(args.identity(), args.identity());
        args.identity = Some("me".to_owned());
        assert_eq!(args.options().identity, "me");
    }

    #[test]
    fn namespaces_are_watched_each_by_itself_or_all_at_once() {
        assert_eq!(parse(&[]).unwrap().scopes(), [None]);
        let named = parse(&["--watch-namespace=shop,till", "--watch-namespace=shop"]).unwrap();
        assert_eq!(named.scopes(), ["shop", "till"].map(|name| Some(name.to_owned())));
    }

    #[test]
    fn what_is_wrong_is_refused_with_the_choices() {
        let error = parse(&["--sidecar-pull-policy=Sometimes"]).unwrap_err().to_string();
        assert!(error.contains("IfNotPresent"), "{error}");
        let error = parse(&["--sidecar-upgrade=Never"]).unwrap_err().to_string();
        assert!(error.contains("OnRequest") && error.contains("Always"), "{error}");
        assert_eq!(parse(&[]).unwrap().options().upgrades, Upgrades::OnRequest);
        let error = parse(&["--log=loud"]).unwrap_err().to_string();
        assert!(error.contains("'--log") && error.contains("none of the levels"), "{error}");
        assert!(parse(&["--webhook-config=a", "--injection-policies=b"]).is_err());
        assert!(parse(&["--webhook-certificate-life=soon"]).is_err());
        assert!(parse(&["--webhook-authority-life=2000h"]).unwrap().lives().is_err());
        assert_eq!(parse(&[]).unwrap().lives(), Ok(Lives::default()));
        assert!(parse(&["--concurrency=0"]).is_err());
        assert!(parse(&["--leader-elect=false"]).is_ok_and(|args| !args.leader_elect));
        let without = parse(&["--restarts=false", "--exposure=false"]).unwrap().options();
        assert!(!without.restarts && !without.exposure);
    }
}
