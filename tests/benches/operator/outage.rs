//! How soon the operator goes on when the API server and its store were killed.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use weir_tests::cluster::Mode;
use weir_tests::{eventually, with_namespace};

use crate::operator::Operator;
use crate::report::Report;
use crate::{Bench, fleet};

/// The bar, from when the API server answers again.
const SECONDS: f64 = 30.0;

/// How long both are away.
const AWAY: Duration = Duration::from_secs(20);

const PIPELINES: usize = 40;
const LIMIT: Duration = Duration::from_secs(120);

pub(crate) async fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    if bench.cluster.mode == Mode::Existing {
        Report::note("the API server is not killed, because it is somebody's");
        return Ok(());
    }
    with_namespace("bench-outage", async |namespace| {
        fleet::apply(&namespace, PIPELINES, 1).await?;
        let mut operator = Operator::start(bench, &namespace, "outage")?;
        fleet::until_reconciled(&namespace, PIPELINES).await?;
        let before = fleet::children(&namespace).await?;
        let [etcd, api] = [Component::find("etcd")?, Component::find("kube-apiserver")?];
        api.kill()?;
        etcd.kill()?;
        tokio::time::sleep(AWAY).await;
        etcd.start()?;
        api.start()?;
        eventually("the API server answers", LIMIT, async || {
            fleet::versions(&namespace).await?;
            Ok(())
        })
        .await?;
        let back = Instant::now();
        fleet::apply(&namespace, PIPELINES, 2).await?;
        let applied = back.elapsed().as_secs_f64();
        // A leader that could not renew its Lease ends; in a cluster it is started again at once.
        let restarted = operator.check().is_err();
        let _next = restarted.then(|| Operator::start(bench, &namespace, "outage")).transpose()?;
        fleet::until_reconciled(&namespace, PIPELINES).await?;
        let seconds = back.elapsed().as_secs_f64();
        Report::note(&format!("{applied:.1} s of that it took to apply the changes; started again: {restarted}"));
        report.hold(
            seconds < SECONDS,
            &format!("API server and etcd killed, away for {AWAY:?}: a change of {PIPELINES} pipelines is reconciled {seconds:.1} s after they are back; less than {SECONDS} s"),
        );
        let after = fleet::children(&namespace).await?;
        let same = before.keys().eq(after.keys());
        report.hold(same, &format!("and nothing is there twice: {} objects before, {} after", before.len(), after.len()));
        Ok(())
    })
    .await
}

/// A process of the control plane, as it was started.
struct Component {
    pid: u32,
    command: Vec<OsString>,
    environment: BTreeMap<OsString, OsString>,
    folder: PathBuf,
}

impl Component {
    /// The one that carries the mark of this cluster.
    fn find(name: &str) -> Result<Self> {
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let Ok(pid) = entry?.file_name().to_string_lossy().parse::<u32>() else { continue };
            found.extend(Self::read(pid).filter(|component| component.is(name)));
        }
        let folder = std::env::var_os("WEIR_CLUSTER_DIR");
        ensure!(found.len() == 1, "{} processes are {name} of a cluster; {folder:?}", found.len());
        found.pop().with_context(|| format!("{name} does not run"))
    }

    /// `None` where the process has ended, or is somebody else's.
    fn read(pid: u32) -> Option<Self> {
        let words = |file: &str| -> Option<Vec<OsString>> {
            let bytes = fs::read(format!("/proc/{pid}/{file}")).ok()?;
            let words = bytes.split(|&byte| byte == 0).filter(|word| !word.is_empty());
            Some(words.map(|word| OsString::from_vec(word.to_vec())).collect())
        };
        let pairs = words("environ")?.into_iter().filter_map(|pair| {
            let pair = pair.into_string().ok()?;
            let (name, value) = pair.split_once('=')?;
            Some((name.into(), value.into()))
        });
        let folder = fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
        Some(Self { pid, command: words("cmdline")?, environment: pairs.collect(), folder })
    }

    fn is(&self, name: &str) -> bool {
        let program = self
            .command
            .first()
            .and_then(|program| PathBuf::from(program).file_name().map(OsString::from));
        program.is_some_and(|program| program == name)
            && self.environment.contains_key(&OsString::from("WEIR_CLUSTER_MEMBER_OF"))
    }

    fn kill(&self) -> Result<()> {
        let killed = Command::new("kill").arg("-KILL").arg(self.pid.to_string()).status()?;
        if !killed.success() {
            bail!("could not kill {}", self.pid);
        }
        Ok(())
    }

    /// Starts it again as it was: it is found, and ended with the cluster, by its environment.
    fn start(&self) -> Result<()> {
        let (program, arguments) = self.command.split_first().context("no program")?;
        let mut command = Command::new(program);
        command.args(arguments).env_clear().envs(&self.environment).current_dir(&self.folder);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        command.spawn().with_context(|| format!("could not start {}", program.display()))?;
        Ok(())
    }
}
