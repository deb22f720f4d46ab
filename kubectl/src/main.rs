//! Parses, runs, and says in one line why it ended.

use std::io;
use std::process::ExitCode;

use clap::Parser;
use kubectl_weir::args::Args;
use kubectl_weir::output::Screen;
use kubectl_weir::{Ended, run};
use weir_operator::failure::chain;

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    // Before the first handshake, with the API server or with a pipeline. Nothing else has installed one.
    let _installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut screen = Screen::of_this_process(args.color, io::stdout(), io::stderr());
    match run(args, &mut screen).await {
        Ok(Ended::Well) => ExitCode::SUCCESS,
        Ok(Ended::Unsound) => ExitCode::FAILURE,
        // Whoever read it has had enough, as `head` does.
        Err(error) if error.is_closed_output() => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", chain(&error));
            ExitCode::FAILURE
        }
    }
}
