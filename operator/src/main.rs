//! Parses, runs, and says in one line why it ended.

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use tokio_util::sync::CancellationToken;
use weir_operator::args::{Args, Command};
use weir_operator::failure::chain;
use weir_operator::{app, check_health, signals, telemetry};

#[tokio::main]
async fn main() -> ExitCode {
    let result = match Command::parse() {
        Command::Run(args) => run(*args).await,
        Command::CheckHealth(check) => check_health::check(&check).await.map_err(Into::into),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weir-operator: {}", chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> Result<(), Box<dyn Error>> {
    let telemetry = telemetry::start(args.log_format, &args.log, args.identity.as_deref())?;
    let result = work(args).await;
    telemetry.end().await;
    result
}

async fn work(args: Args) -> Result<(), Box<dyn Error>> {
    // Before the first handshake: with none installed the client and the webhook could differ.
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let provider = Arc::new(provider);
    if provider.as_ref().clone().install_default().is_err() {
        return Err("another TLS implementation is installed".into());
    }
    let stop = CancellationToken::new();
    signals::listen(stop.clone())?;
    Ok(app::run(args, provider, stop).await?)
}
