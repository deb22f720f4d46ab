//! The programs of the test cluster, and the Go modules that pin their versions.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::workspace;

/// Which part of the cluster needs a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Runs anywhere, without privileges.
    ControlPlane,
    /// Runs pods: Linux and root only.
    Node,
    /// Not part of the cluster: what its users call.
    Client,
}

/// A Go module of `tests/cluster/modules`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Module {
    /// Its folder.
    pub(crate) name: &'static str,
    /// The module it pins.
    path: &'static str,
    /// Variables that the linker sets: a program built from a module does not know its own version.
    /// `{version}` stands for `v1.2.3`, `{bare}` for `1.2.3`, `{major}` and `{minor}` for its parts.
    stamps: &'static [&'static str],
}

/// One program to compile.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Program {
    pub(crate) name: &'static str,
    pub(crate) part: Part,
    pub(crate) module: &'static Module,
    pub(crate) package: &'static str,
}

/// Its server must know its version, or it calls itself v0.0.0 and a chart's `kubeVersion` refuses it.
pub(crate) const KUBERNETES: Module = Module {
    name: "kubernetes",
    path: "k8s.io/kubernetes",
    stamps: &[
        "k8s.io/component-base/version.gitVersion={version}",
        "k8s.io/component-base/version.gitMajor={major}",
        "k8s.io/component-base/version.gitMinor={minor}",
        "k8s.io/component-base/version.gitTreeState=clean",
        "k8s.io/client-go/pkg/version.gitVersion={version}",
        "k8s.io/client-go/pkg/version.gitMajor={major}",
        "k8s.io/client-go/pkg/version.gitMinor={minor}",
        "k8s.io/client-go/pkg/version.gitTreeState=clean",
    ],
};
const ETCD: Module = Module { name: "etcd", path: "go.etcd.io/etcd/server/v3", stamps: &[] };
const HELM: Module = Module {
    name: "helm",
    path: "helm.sh/helm/v4",
    stamps: &[
        "helm.sh/helm/v4/internal/version.version={version}",
        "helm.sh/helm/v4/internal/version.gitTreeState=clean",
    ],
};
const CONTAINERD: Module = Module {
    name: "containerd",
    path: "github.com/containerd/containerd/v2",
    stamps: &["github.com/containerd/containerd/v2/version.Version={bare}"],
};
const CNI: Module = Module {
    name: "cni",
    path: "github.com/containernetworking/plugins",
    stamps: &[
        "github.com/containernetworking/plugins/pkg/utils/buildversion.BuildVersion={version}",
    ],
};
const COREDNS: Module = Module { name: "coredns", path: "github.com/coredns/coredns", stamps: &[] };

const fn program(part: Part, module: &'static Module, names: [&'static str; 2]) -> Program {
    let [name, package] = names;
    Program { name, part, module, package }
}

/// All programs, those of the control plane first, so that an interrupted build is of use early.
pub(crate) const PROGRAMS: &[Program] = &[
    program(
        Part::ControlPlane,
        &KUBERNETES,
        ["kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"],
    ),
    program(
        Part::ControlPlane,
        &KUBERNETES,
        ["kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager"],
    ),
    program(Part::ControlPlane, &KUBERNETES, ["kubectl", "k8s.io/kubernetes/cmd/kubectl"]),
    program(Part::ControlPlane, &ETCD, ["etcd", "go.etcd.io/etcd/server/v3"]),
    program(Part::Client, &HELM, ["helm", "helm.sh/helm/v4/cmd/helm"]),
    program(Part::Node, &KUBERNETES, ["kubelet", "k8s.io/kubernetes/cmd/kubelet"]),
    program(Part::Node, &KUBERNETES, ["kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy"]),
    program(Part::Node, &KUBERNETES, ["kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"]),
    program(
        Part::Node,
        &CONTAINERD,
        ["containerd", "github.com/containerd/containerd/v2/cmd/containerd"],
    ),
    program(
        Part::Node,
        &CONTAINERD,
        [
            "containerd-shim-runc-v2",
            "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
        ],
    ),
    program(Part::Node, &CONTAINERD, ["ctr", "github.com/containerd/containerd/v2/cmd/ctr"]),
    program(
        Part::Node,
        &CNI,
        ["host-local", "github.com/containernetworking/plugins/plugins/ipam/host-local"],
    ),
    program(
        Part::Node,
        &CNI,
        ["loopback", "github.com/containernetworking/plugins/plugins/main/loopback"],
    ),
    program(Part::Node, &CNI, ["ptp", "github.com/containernetworking/plugins/plugins/main/ptp"]),
    program(
        Part::Node,
        &CNI,
        ["portmap", "github.com/containernetworking/plugins/plugins/meta/portmap"],
    ),
    program(Part::Node, &COREDNS, ["coredns", "github.com/coredns/coredns"]),
];

/// The folder with one folder for each module.
pub(crate) fn modules_dir() -> PathBuf {
    workspace::root().join("tests/cluster/modules")
}

impl Module {
    pub(crate) fn dir(&self) -> PathBuf {
        modules_dir().join(self.name)
    }

    /// The pinned version, such as `v1.36.3`.
    ///
    /// # Errors
    /// When the module's `go.mod` cannot be read or does not require it.
    pub(crate) fn version(&self) -> Result<String> {
        let path = self.dir().join("go.mod");
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("could not read {}", path.display()))?;
        required_version(&text, self.path)
            .map(str::to_owned)
            .with_context(|| format!("{} does not require {}", path.display(), self.path))
    }

    /// What the linker is told: no symbol table, and the stamps of `version`.
    pub(crate) fn linker_flags(&self, version: &str) -> String {
        let bare = version.trim_start_matches('v');
        let mut parts = bare.split('.');
        let (major, minor) = (parts.next().unwrap_or("0"), parts.next().unwrap_or("0"));
        let fill = |stamp: &&str| {
            let stamp = stamp.replace("{version}", version).replace("{bare}", bare);
            format!(" -X {}", stamp.replace("{major}", major).replace("{minor}", minor))
        };
        self.stamps.iter().map(fill).fold("-s -w".to_owned(), |flags, stamp| flags + &stamp)
    }
}

/// Finds `PATH VERSION` in a `require` line or block; a `replace` has an arrow and does not count.
fn required_version<'a>(go_mod: &'a str, path: &str) -> Option<&'a str> {
    go_mod.lines().filter(|line| !line.contains("=>")).find_map(|line| {
        let line = line.trim().trim_start_matches("require ");
        line.strip_prefix(path)?.strip_prefix(' ')?.split_whitespace().next()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_from_a_line_and_from_a_block_but_not_from_a_replacement() {
        let block =
            "require (\n\tk8s.io/kubernetes v1.36.3\n)\nreplace k8s.io/api => k8s.io/api v0.36.3";
        assert_eq!(required_version(block, "k8s.io/kubernetes"), Some("v1.36.3"));
        assert_eq!(required_version("require a.b/c v1.0.0 // indirect", "a.b/c"), Some("v1.0.0"));
        assert_eq!(required_version(block, "k8s.io/api"), None);
        assert_eq!(required_version("require a.b/cd v1.0.0", "a.b/c"), None);
    }

    #[test]
    fn every_module_pins_the_version_that_the_linker_stamps() {
        for program in PROGRAMS {
            let version = program.module.version().unwrap();
            assert!(version.starts_with('v') && version.split('.').count() == 3, "{version}");
        }
    }

    #[test]
    fn stamps_are_filled_in() {
        let flags = KUBERNETES.linker_flags("v1.36.3");
        assert!(flags.contains(" -X k8s.io/component-base/version.gitVersion=v1.36.3"), "{flags}");
        assert!(flags.contains(" -X k8s.io/component-base/version.gitMinor=36"), "{flags}");
        assert!(CONTAINERD.linker_flags("v2.2.1").ends_with("version.Version=2.2.1"));
        assert_eq!(ETCD.linker_flags("v3.6.16"), "-s -w");
    }

    #[test]
    fn every_program_is_a_tool_of_its_module() {
        for program in PROGRAMS {
            let text = std::fs::read_to_string(program.module.dir().join("go.mod")).unwrap();
            let listed =
                text.lines().any(|l| l.trim().trim_start_matches("tool ") == program.package);
            assert!(listed, "{} is not a tool of {}", program.package, program.module.name);
        }
    }
}
