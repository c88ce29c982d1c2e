//! `tidings bounce`: a report, from a file or a mail server's pipe.

use super::block_on;
use crate::{args::BounceArgs, assemble, bounces, output};
use anyhow::{Context, Result};
use serde_json::json;
use std::{fmt::Write as _, io::Read, path::Path, process::ExitCode};
use tidings_bounces::{LONGEST, Parcel, Reports, Taken, TakenLine, Way};

/// Runs the command. Taken, known and knowingly ignored are all 0: whoever pipes it in need not bring it again.
pub fn run(args: &BounceArgs) -> Result<ExitCode> {
    let raw = read(&args.file)?;
    let settings = assemble::settings(&args.config.config)?;
    let taken = block_on(async {
        let store = assemble::store(&settings).await?;
        let reports = Reports::new(store, bounces::terms(&settings.bounces));
        Ok(reports.take(Parcel { raw: &raw, recipient: args.recipient.as_deref(), way: Way::Command }).await?)
    })?;
    if args.output.json {
        output::json(&shown(&taken))?;
    } else {
        output::text(&words(&taken))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The mail's first bytes; the rest is read and dropped, so that whoever pipes it in is not cut off.
fn read(file: &Path) -> Result<Vec<u8>> {
    let mut raw = Vec::new();
    let most = LONGEST as u64;
    if file == Path::new("-") {
        let mut input = std::io::stdin().lock();
        input.by_ref().take(most).read_to_end(&mut raw).context("reading standard input")?;
        std::io::copy(&mut input, &mut std::io::sink()).context("reading standard input")?;
    } else {
        let opened = std::fs::File::open(file).with_context(|| format!("opening {}", file.display()))?;
        opened.take(most).read_to_end(&mut raw).with_context(|| format!("reading {}", file.display()))?;
    }
    Ok(raw)
}

/// What became of it, for programs: the same as `POST /v1/bounces` answers.
pub fn shown(taken: &Taken) -> serde_json::Value {
    match taken {
        Taken::Ignored(why) => json!({"outcome": "ignored", "why": why.as_str(), "form": null, "recipients": []}),
        Taken::Known => json!({"outcome": "known", "why": null, "form": null, "recipients": []}),
        Taken::Report { form, lines } => json!({"outcome": "taken", "why": null, "form": form.as_str(), "recipients": lines}),
    }
}

fn words(taken: &Taken) -> String {
    match taken {
        Taken::Ignored(why) => format!("ignored: {why}"),
        Taken::Known => "taken before: nothing changed".to_owned(),
        Taken::Report { form, lines } => {
            let mut text = format!("taken ({})\n", form.as_str());
            for line in lines {
                let _ = writeln!(text, "  {}", sentence(line));
            }
            text
        }
    }
}

fn sentence(line: &TakenLine) -> String {
    let who = line.recipient.as_deref().unwrap_or("a recipient who is not named");
    let mut text = match (line.item, line.matched_by) {
        (Some(item), Some(by)) => format!("{who}: {} ({}), item {item} by {}", line.class, line.effect, by.as_str()),
        _ => format!("{who}: {}, about no item that is known", line.class),
    };
    if !line.candidates.is_empty() {
        let ids: Vec<String> = line.candidates.iter().map(ToString::to_string).collect();
        let _ = write!(text, "; it may be about {}, which stay as they are", ids.join(", "));
    }
    if line.unhealthy {
        text.push_str("; the address is unhealthy from now on");
    }
    text
}
