//! Parses, runs, and says in one line why it ended.

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use rustls::crypto::CryptoProvider;
use tokio_util::sync::CancellationToken;
use weir_operator::args::{Args, CheckHealth, Command};
use weir_operator::failure::chain;
use weir_operator::{app, check_health, signals, telemetry};

#[tokio::main]
async fn main() -> ExitCode {
    let result = match Command::parse() {
        Command::Run(args) => run(*args).await,
        Command::CheckHealth(check) => look(check).await,
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

async fn look(asked: CheckHealth) -> Result<(), Box<dyn Error>> {
    let _provider = provider()?;
    let client = check_health::client(&asked).await?;
    Ok(check_health::check(&asked, client.as_ref()).await?)
}

/// What is installed before the first handshake: with none the client and the webhook could differ.
fn provider() -> Result<Arc<CryptoProvider>, Box<dyn Error>> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    match provider.clone().install_default() {
        Ok(()) => Ok(Arc::new(provider)),
        Err(_) => Err("another TLS implementation is installed".into()),
    }
}

async fn work(args: Args) -> Result<(), Box<dyn Error>> {
    let provider = provider()?;
    let stop = CancellationToken::new();
    signals::listen(stop.clone())?;
    Ok(app::run(args, provider, stop).await?)
}
