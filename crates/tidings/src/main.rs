//! The binary: the only reader of configuration, environment and arguments. Read `assemble.rs` first: it builds every part of the house in order.

#![allow(unreachable_pub, reason = "a binary has no outside; `pub` is what one room of it shows the others")]

mod agent;
mod args;
mod assemble;
mod bounces;
mod clock;
mod commands;
mod demo;
mod directories;
mod duties;
mod exit;
mod http;
mod logging;
mod member;
mod output;
mod reload;

use args::{Cli, Command};
use clap::Parser;
use mimalloc::MiMalloc;
use std::process::ExitCode;

/// Many small values are made and dropped for every letter, on several threads: with the system's allocator that alone is a tenth of the work.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli.command) {
        Ok(code) => code,
        Err(error) => exit::report(&error),
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Demo(args) => demo::run(&args),
        Command::Serve(args) => commands::serve::run(&args.config, commands::serve::Trade::Serve),
        Command::Agent(args) => agent::run(&args),
        Command::Reload(args) => commands::reload::run(&args),
        Command::Check(args) => commands::check::run(&args),
        Command::SendTest(args) => commands::send_test::run(args),
        Command::Event(args::EventCommand::Post(args)) => commands::event_post::run(&args),
        Command::Explain(args) => commands::explain::run(&args),
        Command::Preview(args) => commands::preview::run(&args),
        Command::Outbox(command) => commands::outbox::run(command),
        Command::Guard(command) => commands::guard::run(command),
        Command::Bounce(args) => commands::bounce::run(&args),
        Command::Address(command) => commands::address::run(command),
        Command::Relay(command) => commands::relay::run(command),
        Command::Node(command) => commands::node::run(command),
        Command::Directory(command) => commands::directory::run(command),
        Command::Rules(command) => commands::rules::run(command),
        Command::Token(command) => commands::token::run(command),
        Command::Store(command) => commands::store::run(command),
        Command::Completion { shell } => commands::texts::completion(shell),
        Command::Man { folder } => commands::texts::man(&folder),
        Command::Config { what } => commands::texts::config(what),
    }
}
