//! `tidings rules replay`: what rules would have made of the events of the last days, person by person. Nothing is written or sent.

use super::block_on;
use crate::{
    args::RulesReplayArgs,
    assemble::{self, environment},
    clock::SystemClock,
    exit::Misuse,
    output,
};
use anyhow::Result;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use std::{
    fmt::{Display, Write},
    io::IsTerminal,
    process::ExitCode,
};
use tidings_core::{Clock, Timestamp, kind::KINDS};
use tidings_intake::{Before, CrowdReplay, PersonReplay, Policy, Replay, Replayer, Stumble};
use tidings_store::EventSpan;

/// Differences of one person that are shown unless all are asked for.
const LINES: usize = 5;

/// Runs the command.
pub fn run(args: &RulesReplayArgs) -> Result<ExitCode> {
    let settings = assemble::settings(&args.config.config)?;
    let span = span(args)?;
    let drafts = match &args.rules {
        Some(path) => Some(tidings_config::load_drafts(path, &settings, &environment).map_err(|problems| Misuse(problems.to_string()))?),
        None => None,
    };
    for warning in drafts.iter().flat_map(|drafts| &drafts.warnings) {
        eprintln!("{warning} (warning)");
    }
    let in_force = assemble::queries(&settings.queries)?;
    let drafted = drafts.as_ref().map(|drafts| assemble::queries(&drafts.queries)).transpose()?;
    let unhealthy = settings.bounces.unhealthy;
    let now = Policy { rules: &settings.rules, queries: &in_force, unhealthy };
    let (before, after) = match drafts.as_ref().zip(drafted.as_ref()) {
        Some((drafts, queries)) => (Before::Decided(now), Policy { rules: &drafts.rules, queries, unhealthy }),
        None => (Before::Recorded, now),
    };
    let most = if args.all { usize::MAX } else { LINES };
    let replay = block_on(async {
        let Some(database) = assemble::store_if_there(&settings).await? else { return Ok(Replay::of_nothing(span.since, span.until)) };
        let bar = progress(&span);
        let replayer = Replayer::new(database, before, after, most);
        let replay = replayer.run(span.clone(), |progress| {
            bar.set_position(millis_between(span.since, progress.at));
            bar.set_message(format!("{} events", progress.events));
        });
        let replay = replay.await?;
        bar.finish_and_clear();
        Ok(replay)
    })?;
    let sides = match &args.rules {
        Some(path) => ("the rules in force".to_owned(), path.display().to_string()),
        None => ("what was recorded".to_owned(), "the rules in force".to_owned()),
    };
    if args.output.json {
        let mut value = serde_json::to_value(&replay)?;
        (value["before"], value["after"]) = (json!(sides.0), json!(sides.1));
        output::json(&value)?;
    } else {
        output::text(&readable(&replay, &sides, args.rules.is_some()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What is to be read. The end lies in the past at the latest now, so that what comes meanwhile is left out.
fn span(args: &RulesReplayArgs) -> Result<EventSpan> {
    let now = SystemClock.now();
    let (since, until) = (args.since.moment(now), args.until.map_or(now, |until| until.moment(now)).min(now));
    if since > until {
        let (since, until) = (output::moment(since), output::moment(until));
        return Err(Misuse(format!("--since: {since} lies after the end, {until}")).into());
    }
    let named = |name: &str| args.kind.iter().any(|pattern| pattern.matches(name));
    let kinds = KINDS.iter().filter(|kind| named(kind.name)).map(|kind| kind.name.to_owned()).collect();
    Ok(EventSpan { since, until, kinds })
}

fn millis_between(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.as_millisecond() - from.as_millisecond()).unwrap_or_default()
}

/// A bar that goes by time: how many events there are is known only at their end.
fn progress(span: &EventSpan) -> ProgressBar {
    let bar = ProgressBar::new(millis_between(span.since, span.until));
    if !std::io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    bar.set_style(ProgressStyle::with_template("{bar:40} {percent}%  {msg}  {eta} left").expect("a valid template"));
    bar
}

fn readable(replay: &Replay, sides: &(String, String), drafts: bool) -> String {
    let (since, until) = (output::moment(replay.since), output::moment(replay.until));
    if replay.totals.events == 0 {
        return format!("no event was accepted between {since} and {until}\n");
    }
    let facts = if drafts {
        "Both are decided now, so the facts are today's: who owns, manages and belongs to what as the directories have it now."
    } else {
        "What was recorded was decided on the facts of its time; the rules in force are held against today's."
    };
    let mut text = format!("{} → {}, events accepted from {since} to {until}\n{facts}\n", sides.0, sides.1);
    for person in &replay.people {
        write_person(&mut text, person);
    }
    write_crowds(&mut text, &replay.crowds);
    for (title, stumbles) in
        [("not decided", &replay.undecided), ("not computable, so nobody is told by it", &replay.failed), ("uncertain", &replay.uncertain)]
    {
        write_stumbles(&mut text, title, stumbles);
    }
    write_totals(&mut text, replay);
    text
}

fn write_person(text: &mut String, person: &PersonReplay) {
    let name = person.name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
    let _ = writeln!(text, "\n{}{name}: +{} −{} ={}", person.address, person.more, person.fewer, person.same);
    for line in &person.differences {
        let sign = if line.change == "more" { '+' } else { '−' };
        let copy = if line.role == "cc" { ", as a copy" } else { "" };
        let uncertain = if line.uncertain { " (uncertain)" } else { "" };
        let at = output::moment(line.at);
        let _ = writeln!(text, "  {sign} {} by the rule {}{copy}, event {} of {at}{uncertain}", line.kind, line.rule, line.event);
    }
    if person.unlisted > 0 {
        let _ = writeln!(text, "  … and {} more; --all shows them", person.unlisted);
    }
}

fn write_crowds(text: &mut String, crowds: &[CrowdReplay]) {
    if !crowds.is_empty() {
        text.push_str("\ncrowds, told in chunks and counted as a whole\n");
    }
    for crowd in crowds {
        let CrowdReplay { crowd, kind, rule, more, fewer, same, people } = crowd;
        let _ = writeln!(text, "  {crowd}, {people} people: +{more} −{fewer} ={same} {kind} by the rule {rule}");
    }
}

fn write_stumbles(text: &mut String, title: &str, stumbles: &[Stumble]) {
    if !stumbles.is_empty() {
        let _ = writeln!(text, "\n{title}");
    }
    for Stumble { rule, why, events, event } in stumbles {
        let rule = rule.as_ref().map(|rule| format!("rule {rule}: ")).unwrap_or_default();
        let _ = writeln!(text, "  {rule}{why} ({events} {}, the last one {event})", if *events == 1 { "event" } else { "events" });
    }
}

fn write_totals(text: &mut String, replay: &Replay) {
    let totals = &replay.totals;
    text.push('\n');
    let mut line = |what: &str, count: &dyn Display| _ = writeln!(text, "{what:<36} {count}");
    line("events read", &totals.events);
    if totals.undecided > 0 {
        line("  of them not decided", &totals.undecided);
    }
    line("letters before", &totals.before);
    line("letters after", &totals.after);
    line("  more, fewer, the same", &format!("+{} −{} ={}", totals.more, totals.fewer, totals.same));
    if totals.by_another_rule > 0 {
        line("  the same, but by another rule", &totals.by_another_rule);
    }
    line("people told before or after", &totals.people);
    line("  whose letters differ", &totals.people_differing);
    line("  told after, and not before", &totals.people_gained);
    line("  told before, and not after", &totals.people_lost);
    if totals.crowds_before + totals.crowds_after > 0 {
        line("people told in crowds before", &totals.crowds_before);
        line("people told in crowds after", &totals.crowds_after);
    }
}
