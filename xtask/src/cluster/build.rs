//! Compiles the programs of the test cluster, once for each set of pins.
//!
//! Laws: a program in the cache is complete, as it gets its name only when it is written; one process
//! at a time compiles into a cache; what is there is never compiled again.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::cache;
use super::programs::{KUBERNETES, Module, PROGRAMS, Part, Program};
use crate::command;

/// The API server alone takes three minutes on two idle cores, and its sources come over the network.
const COMPILE_LIMIT: Duration = Duration::from_mins(45);

/// A folder with `kube-apiserver`, `etcd` and `kubectl`, as controller-runtime's envtest knows it.
const ASSETS_VARIABLE: &str = "KUBEBUILDER_ASSETS";

/// Go releases whose API server is known to work: with 1.27 its OpenAPI is silently broken, and
/// `kubectl apply` fails.
const GO_MINOR: std::ops::RangeInclusive<u32> = 26..=26;

/// Where compiled programs are.
#[derive(Clone, Debug)]
pub(crate) struct Binaries {
    cache: PathBuf,
    /// Looked at first.
    assets: Option<PathBuf>,
}

impl Binaries {
    /// Programs that were compiled earlier, without compiling any.
    ///
    /// # Errors
    /// When the pins cannot be read.
    pub(crate) fn present() -> Result<Self> {
        Ok(Self { cache: cache::dir()?, assets: None })
    }

    /// The same, with the programs of `KUBEBUILDER_ASSETS` before the compiled ones.
    fn with_assets(mut self) -> Self {
        self.assets =
            std::env::var_os(ASSETS_VARIABLE).filter(|v| !v.is_empty()).map(PathBuf::from);
        self
    }

    /// Where `program` is, or will be once it is compiled.
    pub(crate) fn path(&self, program: &str) -> PathBuf {
        let in_assets = self.assets.as_ref().map(|dir| dir.join(program)).filter(|p| p.is_file());
        in_assets.unwrap_or_else(|| self.cache.join(program))
    }

    /// Where `program` is, if it is there.
    pub(crate) fn find(&self, program: &str) -> Option<PathBuf> {
        Some(self.path(program)).filter(|path| path.is_file())
    }

    /// The folder of the compiled programs.
    pub(crate) fn dir(&self) -> &Path {
        &self.cache
    }
}

/// Sees to it that the programs of the control plane are there, or with `node` those of everything.
/// Without a node, programs of `KUBEBUILDER_ASSETS` count.
///
/// # Errors
/// When Go is missing or of a release that does not work, or a program does not compile.
pub(crate) fn ensure(node: bool) -> Result<Binaries> {
    let binaries = if node { Binaries::present()? } else { Binaries::present()?.with_assets() };
    compile_missing(&binaries, &wanted(node).collect::<Vec<_>>())?;
    Ok(binaries)
}

/// `cargo xtask cluster build`: compiles what is missing and says where it is.
///
/// # Errors
/// As [`ensure`].
pub(crate) fn command(control_plane_only: bool) -> Result<()> {
    // The node's programs do not compile elsewhere.
    let binaries = ensure(!control_plane_only && cfg!(target_os = "linux"))?;
    println!("cluster programs are in {}", binaries.dir().display());
    Ok(())
}

/// Whether [`ensure`] has nothing to compile.
///
/// # Errors
/// When the pins cannot be read.
pub(crate) fn is_done(node: bool) -> Result<bool> {
    let binaries = if node { Binaries::present()? } else { Binaries::present()?.with_assets() };
    Ok(wanted(node).all(|program| binaries.find(program.name).is_some()))
}

fn wanted(node: bool) -> impl Iterator<Item = &'static Program> {
    PROGRAMS.iter().filter(move |program| node || program.part == Part::ControlPlane)
}

fn compile_missing(binaries: &Binaries, programs: &[&Program]) -> Result<()> {
    let missing = |program: &&&Program| binaries.find(program.name).is_none();
    if !programs.iter().any(|program| missing(&program)) {
        return Ok(());
    }
    std::fs::create_dir_all(&binaries.cache)
        .with_context(|| format!("could not make {}", binaries.cache.display()))?;
    let _lock = lock(&binaries.cache)?;
    remove_partial(&binaries.cache)?;
    for program in programs.iter().filter(missing) {
        compile(program, &binaries.cache.join(program.name))?;
    }
    Ok(())
}

/// Another compilation may have been under way: what it finished is not compiled again.
fn lock(cache: &Path) -> Result<File> {
    let file = File::create(cache.join(".lock"))?;
    if file.try_lock().is_err() {
        println!("waiting for another compilation into {}", cache.display());
        file.lock()?;
    }
    Ok(file)
}

fn remove_partial(cache: &Path) -> Result<()> {
    for entry in cache.read_dir()? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "partial") {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}

fn compile(program: &Program, out: &Path) -> Result<()> {
    check_go(program.module)?;
    let version = program.module.version()?;
    println!("compiling {} {version}", program.name);
    // The compiler of a killed build may still be writing: each build has its own file.
    let partial = out.with_added_extension(format!("{}.partial", std::process::id()));
    let begin = Instant::now();
    let mut go = command::tool("go");
    go.current_dir(program.module.dir()).envs([("CGO_ENABLED", "0"), ("GOWORK", "off")]);
    go.args(["build", "-trimpath", "-ldflags", &program.module.linker_flags(&version), "-o"]);
    command::stream(go.arg(&partial).arg(program.package), COMPILE_LIMIT)
        .with_context(|| format!("could not compile {}", program.name))?;
    std::fs::rename(&partial, out)?;
    println!("compiled {} in {} s", program.name, begin.elapsed().as_secs());
    Ok(())
}

/// Asks in the module's folder, where `GOTOOLCHAIN` may choose another release than the one on `PATH`.
fn check_go(module: &Module) -> Result<()> {
    if command::find("go").is_none() {
        bail!(
            "go is not on PATH: install Go 1.26 from https://go.dev/dl to compile the test cluster"
        );
    }
    let mut go = command::tool("go");
    let version = command::succeed(
        go.current_dir(module.dir()).env("GOWORK", "off").args(["env", "GOVERSION"]),
        // May download the release that go.mod asks for.
        Duration::from_mins(5),
    )?;
    check_release(module, version.trim())
}

fn check_release(module: &Module, version: &str) -> Result<()> {
    let minor = minor(version).with_context(|| format!("cannot read Go's version {version:?}"))?;
    let remedy = "install Go 1.26, or set GOTOOLCHAIN=go1.26.8";
    ensure!(minor >= *GO_MINOR.start(), "{version} is too old for the test cluster: {remedy}");
    ensure!(
        module != &KUBERNETES || minor <= *GO_MINOR.end(),
        "{version} compiles an API server whose OpenAPI is broken, so that kubectl apply fails: {remedy}"
    );
    Ok(())
}

/// The `26` of `go1.26.8`, `go1.26rc1` or `go1.26-custom`.
fn minor(version: &str) -> Option<u32> {
    let rest = version.strip_prefix("go1.")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::programs::PROGRAMS;

    #[test]
    fn a_go_release_that_breaks_the_api_server_is_refused_with_a_remedy() {
        for broken in ["go1.27", "go1.27.1", "go1.30rc2"] {
            let error = check_release(&KUBERNETES, broken).unwrap_err().to_string();
            assert!(error.contains("OpenAPI") && error.contains("GOTOOLCHAIN"), "{error}");
        }
    }

    #[test]
    fn a_later_go_release_may_compile_the_other_programs() {
        let etcd = PROGRAMS.iter().find(|program| program.name == "etcd").unwrap();
        check_release(etcd.module, "go1.27.0").unwrap();
        check_release(&KUBERNETES, "go1.26.8").unwrap();
        check_release(&KUBERNETES, "go1.26-custom").unwrap();
    }

    #[test]
    fn an_old_go_release_is_refused() {
        assert!(
            check_release(&KUBERNETES, "go1.25.9").unwrap_err().to_string().contains("too old")
        );
    }

    #[test]
    fn programs_of_the_assets_folder_come_first_and_the_cache_fills_the_rest() {
        let (cache, assets) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(assets.path().join("etcd"), "").unwrap();
        std::fs::write(cache.path().join("etcd"), "").unwrap();
        std::fs::write(cache.path().join("kubectl"), "").unwrap();
        let dirs = (cache.path().to_owned(), Some(assets.path().to_owned()));
        let binaries = Binaries { cache: dirs.0, assets: dirs.1 };
        assert_eq!(binaries.find("etcd"), Some(assets.path().join("etcd")));
        assert_eq!(binaries.find("kubectl"), Some(cache.path().join("kubectl")));
        assert_eq!(binaries.find("helm"), None);
    }

    #[test]
    fn a_partial_program_of_an_interrupted_build_is_removed_and_a_whole_one_kept() {
        let cache = tempfile::tempdir().unwrap();
        std::fs::write(cache.path().join("etcd.7.partial"), "").unwrap();
        std::fs::write(cache.path().join("kubectl"), "").unwrap();
        remove_partial(cache.path()).unwrap();
        assert!(!cache.path().join("etcd.7.partial").exists());
        assert!(cache.path().join("kubectl").exists());
    }
}
