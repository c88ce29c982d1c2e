//! `tidings preview`: a letter as a reader would get it, from sample data.

use crate::{
    args::{PreviewArgs, PreviewFormat},
    assemble,
    exit::Misuse,
    output,
};
use anyhow::Result;
use std::{process::ExitCode, sync::Arc};
use tidings_core::{Kind, kind::KINDS};
use tidings_render::{Size, Stationery, StationeryOptions};

/// Runs the command.
pub fn run(args: &PreviewArgs) -> Result<ExitCode> {
    let kind = Kind::find(args.kind.trim_start_matches(tidings_core::kind::TYPE_PREFIX)).ok_or_else(|| {
        let hint = Kind::nearest(&args.kind).map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        let all: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
        Misuse(format!("`{}` is not a kind{hint} There are {}", args.kind, all.join(", ")))
    })?;
    let stationery = stationery(args)?;
    let size = if args.minimal { Size::Minimal } else { Size::Full };
    let written = stationery.preview(kind, &args.locale, size)?;
    let tried: Vec<String> = written.tried.iter().map(ToString::to_string).collect();
    if written.locale != args.locale {
        eprintln!("no letter in {}; languages tried: {}", args.locale, tried.join(" → "));
    }
    match args.format {
        PreviewFormat::Text => output::text(&format!("{}\n\n{}", written.subject, written.text))?,
        PreviewFormat::Html => output::text(&written.html)?,
        PreviewFormat::Eml => output::bytes(&written.bytes)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn stationery(args: &PreviewArgs) -> Result<Arc<Stationery>> {
    if let Some(config) = &args.config {
        let settings = assemble::settings(config)?;
        return assemble::stationery(&settings);
    }
    Ok(Arc::new(Stationery::load(StationeryOptions::default()).expect("the built-in letters are checked by tests")))
}
