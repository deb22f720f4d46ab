//! The `drain` command: asks the sidecar in the same pod to send its subscribers away.

use std::{
    io::{self, Read as _, Write as _},
    net::TcpStream,
    process::ExitCode,
};

use crate::args::Drain;

/// Returns when the subscribers are gone. The kubelet bounds the time that this may take.
#[must_use]
pub fn main(arguments: &Drain) -> ExitCode {
    match ask(arguments) {
        Ok(answer) if answer.starts_with("HTTP/1.1 200") => ExitCode::SUCCESS,
        Ok(answer) => {
            eprintln!(
                "the sidecar refused to drain: {}",
                answer.lines().last().unwrap_or_default()
            );
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("can't reach the sidecar at {}: {error}", arguments.admin);
            ExitCode::FAILURE
        }
    }
}

fn ask(Drain { admin }: &Drain) -> io::Result<String> {
    let mut socket = TcpStream::connect(admin)?;
    let head = "POST /drain HTTP/1.1\r\nconnection: close\r\ncontent-length: 0\r\n";
    write!(socket, "{head}host: {admin}\r\n\r\n")?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    Ok(answer)
}
