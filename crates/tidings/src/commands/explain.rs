//! `tidings explain`: who would be told what and why. Nothing is written or sent.

use super::{block_on, event_file};
use crate::{args::ExplainArgs, assemble, exit::Misuse, output};
use anyhow::Result;
use std::{fmt::Write, process::ExitCode};
use tidings_core::trace::{PersonVerdict, RuleVerdict};
use tidings_intake::{Explainer, Explanation, IntakeError};

/// Runs the command.
pub fn run(args: &ExplainArgs) -> Result<ExitCode> {
    let events = event_file::read(&args.file)?;
    let settings = assemble::settings(&args.config.config)?;
    let explanations = block_on(async move {
        // What the directories know, and what was told before, if the house was ever open.
        let database = assemble::store_if_there(&settings).await?;
        let explainer = Explainer::new(assemble::desk(settings)?, database);
        let mut explanations = Vec::with_capacity(events.len());
        for (index, event) in events.into_iter().enumerate() {
            explanations.push(explainer.explain(event, &format!("/{index}")).await.map_err(refused)?);
        }
        Ok(explanations)
    })?;
    if args.output.json {
        output::json(&explanations)?;
    } else {
        for explanation in &explanations {
            output::text(&readable(explanation))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn refused(error: IntakeError) -> anyhow::Error {
    match error {
        IntakeError::Faulty(faults) => {
            let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
            Misuse(format!("the event would not be accepted:\n{}", lines.join("\n"))).into()
        }
        other => other.into(),
    }
}

fn readable(explanation: &Explanation) -> String {
    let mut text = format!("{} {} from {}\n", explanation.kind, explanation.event, explanation.source);
    if let Some(id) = explanation.known_as {
        let _ = writeln!(
            text,
            "  nothing comes of it: the event was accepted before, as {id}; what follows is what it would lead to under another id"
        );
    }
    for rule in &explanation.trace.rules {
        let verdict = match rule.verdict {
            RuleVerdict::Matched => "applies".to_owned(),
            RuleVerdict::Disabled => format!("is switched off{}", rule.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default()),
            RuleVerdict::ConditionFalse => format!("does not apply: {}", rule.why.as_deref().unwrap_or_default()),
            RuleVerdict::ConditionError => format!("cannot be computed: {}", rule.why.as_deref().unwrap_or_default()),
        };
        let _ = writeln!(text, "  rule {} {verdict}", rule.rule);
        for person in &rule.people {
            let who = match (&person.who, &person.address) {
                (Some(who), Some(address)) if who != address => format!("{who} <{address}>"),
                (Some(who), _) => who.clone(),
                _ => "nobody".to_owned(),
            };
            let verdict = match person.verdict {
                PersonVerdict::Letter => "gets a letter",
                PersonVerdict::Copy => "gets a copy",
                PersonVerdict::AlreadyTold => "is told already",
                PersonVerdict::NoAddress => "has no mail address",
                PersonVerdict::Disabled => "is disabled",
                PersonVerdict::OptedOut => "wishes no such letters",
                PersonVerdict::FannedOut => "is told in chunks",
                PersonVerdict::Unresolved => "is only a reference",
                PersonVerdict::SecretNotCopied => "gets no copy: the letter holds a secret",
                PersonVerdict::Nobody => "found nobody",
                PersonVerdict::AudienceError => "cannot be computed",
                PersonVerdict::Unhealthy => "is not told: letters to this address come back",
            };
            let why = person.why.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
            let _ = writeln!(text, "    {} {}: {who} {verdict}{why}", person.role, person.audience);
        }
    }
    for crowd in &explanation.crowds {
        let held = crowd.held.as_ref().map(|held| format!("\n    {held}")).unwrap_or_default();
        let _ = writeln!(
            text,
            "  letters {} to {} people of {} by the rule {}, in chunks{held}",
            crowd.kind, crowd.people, crowd.audience, crowd.rule
        );
    }
    if explanation.trace.letters.is_empty() && explanation.crowds.is_empty() {
        text.push_str("  nobody is told\n");
    }
    for letter in &explanation.trace.letters {
        let reasons: Vec<&str> = letter.reasons.iter().map(|reason| reason.code).collect();
        let _ = writeln!(
            text,
            "  letter {} to {} ({}) in {} by {} because: {}",
            letter.kind,
            letter.to,
            letter.role,
            letter.locale,
            letter.relay,
            reasons.join(", ")
        );
        for note in [&letter.guard, &letter.held].into_iter().flatten() {
            let _ = writeln!(text, "    {note}");
        }
    }
    text
}
