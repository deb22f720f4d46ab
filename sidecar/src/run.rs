//! The `run` command: serves manifests from files, takes up their changes, and shows how it goes.

mod last_words;
mod open_files;
mod show;

use std::{
    io::{self, IsTerminal},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    runtime,
    signal::unix::{Signal, SignalKind, signal},
};
use tracing_subscriber::{
    filter::{LevelFilter, Targets},
    fmt,
    layer::SubscriberExt,
    util::SubscriberInitExt,
};
use weir_crds::{logging::Directives, scalar::Quantity};

use crate::{
    app::{App, BindError, Listeners},
    args::{LogFormat, Run, Status},
    clock,
    config::{
        self, Config, ConfigErrors, PipelineConfig,
        watch::{Change, Watcher},
    },
    log::{DataDir, OpenError},
    memory::Memory,
    registry::Registry,
};

/// How much later than the stop window requests are given up that have begun. With the second for last words and
/// the closing of the logs, the end of the usual window is before the ten seconds of a container engine.
const AFTER_THE_WINDOW: Duration = Duration::from_millis(500);

/// Why the command ends with an error.
#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error(
        "{0}\nnothing was started: mend this and start again; a directory is waited for until it is good"
    )]
    Config(#[from] ConfigErrors),
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error(transparent)]
    Data(#[from] OpenError),
    #[error("can't start: {0}")]
    Start(#[from] io::Error),
}

/// What the process was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// Somebody at the terminal wants it to end.
    Interrupt,
    /// It is to end, and has some time for that.
    Terminate,
}

/// Runs until interrupted.
#[must_use]
pub fn main(arguments: &Run) -> ExitCode {
    log_to_stderr(arguments.log_format, arguments.log.as_ref());
    let served = runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(RunError::from)
        .and_then(|runtime| runtime.block_on(serve(arguments)));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // For the person at the terminal, whatever the log's filter is.
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(arguments: &Run) -> Result<(), RunError> {
    let (config, refused) = load(&arguments.paths)?;
    let files = open_files::raise();
    open_files::check(&config, files);
    let mut watcher = Watcher::new(arguments.paths.clone(), config.clone(), refused.clone());
    let listeners = Listeners::bind(arguments).await?;
    let data = DataDir::new(arguments.data_dir());
    claim(&data, &config, &arguments.paths)?;
    let limit = arguments.memory_limit.as_ref().map(Quantity::bytes);
    let memory = Memory::of_this_process(limit);
    let app = App::start_with(listeners, data, &arguments.secrets_dir, memory)?;
    let mut show =
        (arguments.status == Status::Auto).then(|| show::Show::start(arguments, &config));
    match refused {
        None => app.apply(config),
        Some(errors) => app.refuse(&errors),
    }
    let mut signals = [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?];
    let told = loop {
        tokio::select! {
            change = watcher.changed() => take_up(&app, change, files),
            () = show::tick(&mut show, app.registry()) => {}
            told = next(&mut signals) => break told,
        }
    };
    drop(show);
    let mut left = Duration::MAX;
    if told == Told::Terminate && !app.is_draining() {
        let (began, window) = (Instant::now(), arguments.stop_window.get());
        tokio::select! {
            () = app.drain(window) => {}
            _ = next(&mut signals) => {}
        }
        left = window.saturating_add(AFTER_THE_WINDOW).saturating_sub(began.elapsed());
    }
    let registry = Arc::clone(app.registry());
    tokio::select! {
        () = app.stop_within(left) => {}
        // A second signal: whoever sent it doesn't want to wait.
        _ = next(&mut signals) => {}
    }
    if let Some(path) = &arguments.last_words {
        hand_over(path, &registry);
    }
    Ok(())
}

/// Hands the final counters over. It is too late for an error.
fn hand_over(path: &Path, registry: &Registry) {
    let samples = registry.samples(clock::now());
    if samples.pipelines.iter().all(|pipeline| pipeline.slos.is_empty()) {
        tracing::info!(
            path = %path.display(),
            "no StreamSLO is served here, so there are no final counters: --last-words writes nothing"
        );
        return;
    }
    if let Err(error) = last_words::write(path, &samples) {
        tracing::warn!(%error, path = %path.display(), "can't hand over the final counters");
    }
}

/// Loads the manifests, or says why nothing is served. A file that somebody named must be good. A directory is
/// mounted, and may be mended while the program runs: to end would keep the pod from starting, and with it the
/// application.
fn load(paths: &[PathBuf]) -> Result<(Config, Option<ConfigErrors>), ConfigErrors> {
    match config::load(paths) {
        Err(errors) if paths.iter().all(|path| path.is_dir()) => {
            tracing::error!(
                "serving nothing until these files are mended, and then without a restart:\n{errors}"
            );
            Ok((Config::default(), Some(errors)))
        }
        loaded => Ok((loaded?, None)),
    }
}

/// Takes the data directory where a pipeline needs it. What is in the way ends the program only where it
/// may; elsewhere it is said, and tried again.
fn claim(data: &DataDir, config: &Config, paths: &[PathBuf]) -> Result<(), OpenError> {
    let on_disk = |pipeline: &PipelineConfig| pipeline.spec.log.storage.disk.is_some();
    if !config.pipelines.values().any(on_disk) || paths.iter().all(|path| path.is_dir()) {
        return Ok(());
    }
    data.claim().map(|_| ())
}

fn take_up(app: &App, change: Change, files: Option<u64>) {
    match change {
        Change::Loaded(config) => {
            tracing::info!(pipelines = config.pipelines.len(), "took up a changed configuration");
            open_files::check(&config, files);
            app.apply(config);
        }
        Change::Refused(errors) => {
            tracing::error!("refused a changed configuration, what is served stays:\n{errors}");
            app.refuse(&errors);
        }
    }
}

/// Waits for any of the signals.
async fn next(signals: &mut [Signal; 2]) -> Told {
    let [interrupt, terminate] = signals;
    tokio::select! {
        _ = interrupt.recv() => Told::Interrupt,
        _ = terminate.recv() => Told::Terminate,
    }
}

/// What is logged where nobody asks for something else. These libraries warn of what a peer says, and any
/// stranger is one; what comes of it is counted.
fn usual_targets() -> Targets {
    let of_peers = [("h2", LevelFilter::ERROR), ("rustls", LevelFilter::ERROR)];
    Targets::new().with_default(LevelFilter::INFO).with_targets(of_peers)
}

fn log_to_stderr(format: LogFormat, asked: Option<&Directives>) {
    let asked = asked.and_then(|directives| directives.as_str().parse().ok());
    let targets = asked.unwrap_or_else(usual_targets);
    let lines = fmt::layer().with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    let logs = tracing_subscriber::registry().with(targets);
    match format {
        LogFormat::Text => logs.with(lines).init(),
        LogFormat::Json => logs.with(lines.json()).init(),
    }
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn what_a_peer_makes_a_library_warn_of_is_not_logged() {
        let targets = usual_targets();
        assert!(targets.would_enable("weir_sidecar::auth::ring", &Level::INFO));
        for library in ["h2::proto::ping_pong", "rustls::msgs::handshake"] {
            assert!(!targets.would_enable(library, &Level::WARN), "{library}");
            assert!(targets.would_enable(library, &Level::ERROR), "{library}");
        }
    }
}
