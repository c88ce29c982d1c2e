//! `tidings event post`: CloudEvents to a server, in batches, with a progress bar where a person waits.

use super::event_file;
use crate::{args::EventPostArgs, exit::Misuse, output};
use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;
use std::{fmt::Write, io::IsTerminal, process::ExitCode, time::Duration};

/// How often a request is tried while the server says "not now".
const TRIES: u32 = 6;

/// Runs the command.
pub fn run(args: &EventPostArgs) -> Result<ExitCode> {
    let server = args.server.trim_end_matches('/');
    if !server.starts_with("http://") && !server.starts_with("https://") {
        return Err(Misuse(format!("--server: `{server}` is not an address such as http://127.0.0.1:8025")).into());
    }
    let events = event_file::read(&args.file)?;
    let agent: ureq::Agent =
        ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(Duration::from_mins(1))).build().into();
    let bar = progress(events.len() as u64);
    let (mut accepted, mut duplicates, mut ids) = (0, 0, Vec::new());
    for (index, batch) in events.chunks(usize::from(args.batch)).enumerate() {
        let first = index * usize::from(args.batch);
        let receipt = post(&agent, server, &args.token, batch)
            .with_context(|| format!("posting events {} to {} (the {first} before them were accepted)", first + 1, first + batch.len()))?;
        accepted += receipt["accepted"].as_u64().unwrap_or_default();
        duplicates += receipt["duplicates"].as_u64().unwrap_or_default();
        ids.extend(receipt["ids"].as_array().cloned().unwrap_or_default());
        bar.inc(batch.len() as u64);
    }
    bar.finish_and_clear();
    if args.output.json {
        output::json(&serde_json::json!({"accepted": accepted, "duplicates": duplicates, "ids": ids}))?;
    } else {
        output::text(&format!("{accepted} accepted, {duplicates} known already"))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn post(agent: &ureq::Agent, server: &str, token: &str, batch: &[Value]) -> Result<Value> {
    let mut pause = Duration::from_millis(250);
    for attempt in 1.. {
        let answer = agent
            .post(format!("{server}/v1/events"))
            .header("Authorization", format!("Bearer {token}"))
            .header("Content-Type", "application/cloudevents-batch+json")
            .send(serde_json::to_vec(batch)?.as_slice());
        let again = match answer {
            Ok(mut response) => {
                let status = response.status().as_u16();
                let text = response.body_mut().read_to_string().unwrap_or_default();
                if status == 202 {
                    return serde_json::from_str(&text).context("the server's answer is not JSON");
                }
                if status != 503 && status != 429 || attempt >= TRIES {
                    bail!("{}", problem(status, &text));
                }
                let wait = response.headers().get("retry-after").and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
                wait.map_or(pause, |seconds: u64| Duration::from_secs(seconds.min(30)))
            }
            Err(error) if attempt >= TRIES => return Err(error).with_context(|| format!("reaching {server}")),
            Err(_) => pause,
        };
        // Posting again is safe: an event is known by its source and id.
        std::thread::sleep(again);
        pause = (pause * 2).min(Duration::from_secs(5));
    }
    unreachable!("the last attempt returns")
}

/// A problem reply (RFC 9457) in words.
fn problem(status: u16, text: &str) -> String {
    let Ok(problem) = serde_json::from_str::<Value>(text) else { return format!("the server answered {status}") };
    let mut words =
        format!("the server answered {status}: {}", problem["detail"].as_str().or(problem["title"].as_str()).unwrap_or_default());
    for error in problem["errors"].as_array().into_iter().flatten() {
        let word = |key: &str| error[key].as_str().unwrap_or_default();
        let _ = write!(words, "\n  {}: {}", word("pointer"), word("detail"));
    }
    words
}

fn progress(events: u64) -> ProgressBar {
    let bar = ProgressBar::new(events);
    if !std::io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    bar.set_style(ProgressStyle::with_template("{bar:40} {pos}/{len} events  {per_sec}  {eta} left").expect("a valid template"));
    bar
}
