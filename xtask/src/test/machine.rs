//! What this machine can run, and what it takes to run the rest.

use crate::cluster::{build, existing, up};
use crate::command;
use crate::setup::{Purpose, Report};

/// What a stage may need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// A Kubernetes API, of a cluster without nodes or of the user's own.
    Api,
    /// Node.js with npm.
    Npm,
    /// A node, on which images that were made here run as pods.
    Pods,
    /// The servers that keep shared logs.
    Brokers,
    /// A browser that runs without a screen.
    Browser,
}

/// The packages of these servers.
const BROKERS: [&str; 2] = ["redis-server", "nats-server"];

/// What this machine has.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    quick: bool,
    go: bool,
    npm: bool,
    /// Whether the programs of an API, and of a whole cluster, are compiled.
    compiled: (bool, bool),
    /// A cluster that the user wants used.
    existing: bool,
    /// Why pods cannot run here.
    obstacle: Option<String>,
    /// The packages of brokers that are missing.
    brokers: Vec<&'static str>,
    /// The package of a browser, where it is missing.
    browser: Vec<&'static str>,
}

const NPM: &str = "needs Node.js 20 or later with npm, from which the suite comes: install it from https://nodejs.org, and run `cargo xtask test`";

const GO: &str = "needs Go 1.26, which compiles the test cluster: install it from https://go.dev/dl, and run `cargo xtask test`";

impl Machine {
    pub(crate) fn new(quick: bool) -> Self {
        let compiled = |node| build::is_done(node).unwrap_or(false);
        let report = Report::of_this_machine();
        let stores = report.missing_for(Purpose::Stores).into_iter();
        Self {
            quick,
            go: command::find("go").is_some(),
            npm: ["node", "npm"].into_iter().all(|program| command::find(program).is_some()),
            compiled: (compiled(false), compiled(true)),
            existing: existing::wanted().is_ok_and(|wanted| wanted.is_some()),
            brokers: stores.filter(|package| BROKERS.contains(package)).collect(),
            browser: report.missing_for(Purpose::Browser),
            obstacle: up::obstacle(&report),
        }
    }

    /// Why a stage with these needs is left out, and how to run it; `None` where it can run.
    pub(crate) fn lacks(&self, needs: &[Need]) -> Option<String> {
        needs.iter().find_map(|need| self.lacks_one(*need))
    }

    fn lacks_one(&self, need: Need) -> Option<String> {
        match need {
            Need::Npm => (!self.npm).then(|| NPM.to_owned()),
            Need::Brokers => lacks_packages(&self.brokers),
            Need::Browser => lacks_packages(&self.browser),
            Need::Api | Need::Pods if self.quick => {
                Some("--quick was given: run `cargo xtask test`".to_owned())
            }
            Need::Api if self.existing || self.compiled.0 || self.go => None,
            Need::Api => Some(GO.to_owned()),
            Need::Pods if self.existing => Some(
                "installs images of this workspace, which the cluster of WEIR_USE_EXISTING_CLUSTER is \
                 spared: unset it, and run `cargo xtask test`"
                    .to_owned(),
            ),
            Need::Pods => self.lacks_pods(),
        }
    }

    fn lacks_pods(&self) -> Option<String> {
        if let Some(obstacle) = &self.obstacle {
            return Some(format!("{obstacle}: run `cargo xtask test` as root on Linux"));
        }
        (!self.compiled.1 && !self.go).then(|| GO.to_owned())
    }
}

fn lacks_packages(missing: &[&str]) -> Option<String> {
    let missing = missing.join(" ");
    (!missing.is_empty()).then(|| {
        format!("needs {missing}: run `apt-get install --no-install-recommends {missing}` as root")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn able() -> Machine {
        Machine {
            quick: false,
            go: true,
            npm: true,
            compiled: (false, false),
            existing: false,
            obstacle: None,
            brokers: Vec::new(),
            browser: Vec::new(),
        }
    }

    fn lacks(machine: &Machine) -> [Option<String>; 2] {
        [Need::Api, Need::Pods].map(|need| machine.lacks(&[need]))
    }

    #[test]
    fn a_machine_with_root_and_go_runs_everything() {
        assert_eq!(lacks(&able()), [None, None]);
        assert_eq!(able().lacks(&[]), None);
    }

    #[test]
    fn without_root_pods_are_left_out_and_the_api_is_not() {
        let machine = Machine { obstacle: Some("a node needs root".to_owned()), ..able() };
        let [api, pods] = lacks(&machine);
        assert_eq!(api, None);
        assert!(pods.unwrap().contains("as root"));
    }

    #[test]
    fn without_go_what_was_compiled_before_is_used() {
        let without = Machine { go: false, ..able() };
        for lacking in lacks(&without) {
            assert!(lacking.unwrap().contains("Go 1.26"));
        }
        assert_eq!(lacks(&Machine { compiled: (true, true), ..without }), [None, None]);
    }

    #[test]
    fn a_cluster_of_the_users_own_gets_no_images() {
        let [api, pods] = lacks(&Machine { existing: true, ..able() });
        assert_eq!(api, None);
        assert!(pods.unwrap().contains("spared"));
    }

    #[test]
    fn without_a_broker_its_package_is_named() {
        let machine = Machine { brokers: vec!["nats-server"], ..able() };
        assert!(machine.lacks(&[Need::Brokers]).unwrap().contains("nats-server"));
        let quick = Machine { quick: true, ..able() };
        assert_eq!(quick.lacks(&[Need::Brokers]), None, "they are no cluster");
    }

    #[test]
    fn without_a_browser_its_package_is_named() {
        let machine = Machine { browser: vec!["chromium"], ..able() };
        assert!(
            machine
                .lacks(&[Need::Browser])
                .unwrap()
                .contains("install --no-install-recommends chromium")
        );
        assert_eq!(machine.lacks(&[Need::Brokers]), None);
        assert_eq!(able().lacks(&[Need::Browser]), None);
    }

    #[test]
    fn without_npm_only_what_comes_from_it_is_left_out() {
        let machine = Machine { npm: false, ..able() };
        assert!(machine.lacks(&[Need::Npm]).unwrap().contains("Node.js"));
        assert_eq!(lacks(&machine), [None, None]);
        assert_eq!(able().lacks(&[Need::Npm]), None);
    }

    #[test]
    fn a_quick_run_needs_no_cluster() {
        let machine = Machine { quick: true, ..able() };
        assert!(
            lacks(&machine).iter().all(|lacking| lacking.as_ref().unwrap().contains("--quick"))
        );
        assert_eq!(machine.lacks(&[]), None);
    }
}
