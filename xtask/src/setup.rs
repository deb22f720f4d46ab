//! `cargo xtask setup`: finds which programs of the system are missing, and installs them where it may.
//!
//! What is looked for is the program or file itself, not the package: a machine that has it from
//! elsewhere is as good.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::command;

/// Package lists are tens of megabytes; a mirror that needs longer is down.
const UPDATE_LIMIT: Duration = Duration::from_mins(5);
/// Covers the largest package (PostgreSQL) on a slow disk.
const INSTALL_LIMIT: Duration = Duration::from_mins(15);

/// What a package is needed for, so that a caller can leave out exactly what cannot run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The test cluster's node: pods that really run, and the images made for them.
    Node,
    /// The brokers and databases that the sidecar's tests talk to.
    Stores,
    /// The browser that the sidecar is a server to.
    Browser,
}

impl Purpose {
    fn describe(self) -> &'static str {
        match self {
            Self::Node => "the test cluster's node",
            Self::Stores => "the tests against real brokers and databases",
            Self::Browser => "the tests in a real browser",
        }
    }
}

/// How the presence of a package shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    Program(&'static str),
    File(&'static str),
    /// A file that the C compiler finds when it links.
    Library(&'static str),
    /// A file below some folder of this one, such as a version's.
    Versioned(&'static str, &'static str),
}

/// One Debian package and the reason for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Need {
    pub(crate) package: &'static str,
    pub(crate) purpose: Purpose,
    sign: Sign,
}

const fn need(package: &'static str, purpose: Purpose, sign: Sign) -> Need {
    Need { package, purpose, sign }
}

const NEEDS: &[Need] = &[
    need("runc", Purpose::Node, Sign::Program("runc")),
    need("socat", Purpose::Node, Sign::Program("socat")),
    need("nftables", Purpose::Node, Sign::Program("nft")),
    need("iptables", Purpose::Node, Sign::Program("iptables")),
    need("conntrack", Purpose::Node, Sign::Program("conntrack")),
    need("iproute2", Purpose::Node, Sign::Program("ip")),
    need("util-linux", Purpose::Node, Sign::Program("nsenter")),
    need("mount", Purpose::Node, Sign::Program("mount")),
    need("busybox-static", Purpose::Node, Sign::Program("busybox")),
    need("curl", Purpose::Node, Sign::Program("curl")),
    need("ca-certificates", Purpose::Node, Sign::File("/etc/ssl/certs/ca-certificates.crt")),
    need("gcc", Purpose::Node, Sign::Program("cc")),
    need("libc6-dev", Purpose::Node, Sign::Library("libc.a")),
    need("redis-server", Purpose::Stores, Sign::Program("redis-server")),
    need("nats-server", Purpose::Stores, Sign::Program("nats-server")),
    need("chromium", Purpose::Browser, Sign::Program("chromium")),
    need("postgresql", Purpose::Stores, Sign::Versioned("/usr/lib/postgresql", "bin/postgres")),
];

/// What this machine lacks.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) missing: Vec<Need>,
    /// Whether `go`, which compiles the test cluster, is on `PATH`.
    pub(crate) go: bool,
}

impl Report {
    /// Looks at the machine and changes nothing.
    pub(crate) fn of_this_machine() -> Self {
        let missing = NEEDS.iter().copied().filter(|need| !present(need.sign)).collect();
        Self { missing, go: command::find("go").is_some() }
    }

    /// The packages that `purpose` still lacks.
    pub(crate) fn missing_for(&self, purpose: Purpose) -> Vec<&'static str> {
        self.missing.iter().filter(|need| need.purpose == purpose).map(|n| n.package).collect()
    }

    /// Says in full sentences what is missing and what to do about it; empty when all is there.
    pub(crate) fn advice(&self) -> Vec<String> {
        let purposes = [Purpose::Node, Purpose::Stores, Purpose::Browser];
        let mut advice: Vec<String> =
            purposes.iter().filter_map(|purpose| self.advice_for(*purpose)).collect();
        if !self.go {
            advice.push("go is not on PATH: install Go 1.26 from https://go.dev/dl (Debian's may be too old); it compiles the test cluster".to_owned());
        }
        advice
    }

    fn advice_for(&self, purpose: Purpose) -> Option<String> {
        let packages = self.missing_for(purpose).join(" ");
        let remedy = format!("apt-get install --no-install-recommends {packages}");
        (!packages.is_empty())
            .then(|| format!("missing for {}: {packages} (as root: {remedy})", purpose.describe()))
    }
}

/// Installs what is missing, where that is possible, and reports what is still missing afterwards.
///
/// # Errors
/// When `apt-get` fails or does not end in time.
pub(crate) fn run() -> Result<Report> {
    let before = Report::of_this_machine();
    let packages: Vec<_> = before.missing.iter().map(|need| need.package).collect();
    if packages.is_empty() || !may_install() {
        return Ok(before);
    }
    println!("installing {}", packages.join(" "));
    command::stream(apt_get().arg("update"), UPDATE_LIMIT)?;
    let mut install = apt_get();
    install.args(["install", "--yes", "--no-install-recommends"]).args(packages);
    command::stream(&mut install, INSTALL_LIMIT)?;
    Ok(Report::of_this_machine())
}

/// `cargo xtask setup`: [`run`], with its outcome on standard output.
///
/// # Errors
/// As [`run`], and when something is still missing.
pub(crate) fn command() -> Result<()> {
    let advice = run()?.advice();
    if advice.is_empty() {
        println!("everything that the tests need is installed");
        return Ok(());
    }
    anyhow::bail!("{}", advice.join("\n"))
}

fn may_install() -> bool {
    rustix::process::geteuid().is_root() && command::find("apt-get").is_some()
}

fn apt_get() -> Command {
    let mut command = command::tool("apt-get");
    // RUNLEVEL=1 keeps packages from starting their daemons: the tests start their own.
    command.envs([("DEBIAN_FRONTEND", "noninteractive"), ("RUNLEVEL", "1")]);
    command.args(["-q", "-o", "DPkg::Lock::Timeout=120", "-o", "Acquire::http::Timeout=30"]);
    command
}

fn present(sign: Sign) -> bool {
    match sign {
        Sign::Program(name) => command::find(name).is_some(),
        Sign::File(path) => Path::new(path).exists(),
        Sign::Library(name) => library(name).is_some(),
        Sign::Versioned(dir, path) => versioned(Path::new(dir), path),
    }
}

fn library(name: &str) -> Option<PathBuf> {
    let mut cc = command::tool("cc");
    let path = command::succeed(cc.arg(format!("-print-file-name={name}")), command::QUICK).ok()?;
    // The compiler repeats the bare name when it finds no such file.
    Some(PathBuf::from(path.trim())).filter(|path| path.is_absolute())
}

fn versioned(dir: &Path, path: &str) -> bool {
    let folders = dir.read_dir().into_iter().flatten().flatten();
    folders.into_iter().any(|folder| folder.path().join(path).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lacking(purpose: Purpose) -> Report {
        let missing = NEEDS.iter().copied().filter(|need| need.purpose == purpose).collect();
        Report { missing, go: true }
    }

    #[test]
    fn advice_names_the_purpose_the_packages_and_the_remedy() {
        let report = lacking(Purpose::Stores);
        let stores = "redis-server nats-server postgresql";
        assert_eq!(
            report.advice(),
            [format!(
                "missing for the tests against real brokers and databases: {stores} (as root: apt-get install --no-install-recommends {stores})"
            )]
        );
        assert!(report.missing_for(Purpose::Node).is_empty());
    }

    #[test]
    fn a_machine_that_has_everything_gets_no_advice() {
        assert!(Report { missing: Vec::new(), go: true }.advice().is_empty());
    }

    #[test]
    fn go_is_asked_for_but_never_as_a_package() {
        let report = Report { missing: Vec::new(), go: false };
        assert!(report.advice().concat().contains("go.dev/dl"));
    }

    #[test]
    fn a_versioned_file_is_found_below_any_version() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!versioned(dir.path(), "bin/postgres"));
        std::fs::create_dir_all(dir.path().join("15/bin")).unwrap();
        std::fs::write(dir.path().join("15/bin/postgres"), "").unwrap();
        assert!(versioned(dir.path(), "bin/postgres"));
    }
}
