//! One file a command: read arguments, ask the house, print.

pub mod address;
pub mod bounce;
pub mod check;
pub mod directory;
pub mod event_file;
pub mod event_post;
pub mod explain;
pub mod guard;
pub mod node;
pub mod outbox;
pub mod preview;
pub mod relay;
pub mod reload;
pub mod rules;
pub mod rules_replay;
pub mod send_test;
pub mod serve;
pub mod store;
pub mod texts;
pub mod token;

/// How this process is named in histories: `cli:ada`.
pub fn operator() -> String {
    let user =
        ["SUDO_USER", "USER", "LOGNAME"].iter().find_map(|name| crate::assemble::environment(name)).unwrap_or_else(|| "unknown".to_owned());
    format!("cli:{user}")
}

/// Runs a future on a runtime of this command's own.
pub fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(future)
}
