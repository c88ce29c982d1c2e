//! Exit status: 0 done, 1 it failed (the reason on standard error), 2 wrong arguments or configuration.

use std::{fmt, process::ExitCode};

/// Wrong arguments or configuration: status 2. The text is complete, line by line.
#[derive(Debug)]
pub struct Misuse(pub String);

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.trim_end())
    }
}

impl std::error::Error for Misuse {}

/// Prints why a command failed, with the whole chain of reasons, and gives the exit status.
pub fn report(error: &anyhow::Error) -> ExitCode {
    if is_broken_pipe(error) {
        // Whoever read our output has seen enough.
        return ExitCode::SUCCESS;
    }
    if let Some(misuse) = error.downcast_ref::<Misuse>() {
        eprintln!("{misuse}");
        return ExitCode::from(2);
    }
    eprintln!("tidings: {}", chain(error));
    ExitCode::FAILURE
}

/// An error with its reasons on one line.
pub fn chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for (depth, reason) in error.chain().enumerate() {
        let reason = reason.to_string();
        if depth > 0 && !text.ends_with(&reason) {
            text.push_str(": ");
            text.push_str(&reason);
        } else if depth == 0 {
            text = reason;
        }
    }
    text
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().filter_map(|e| e.downcast_ref::<std::io::Error>()).any(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
}
