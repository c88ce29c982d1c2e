//! The table and the JSON that the suite prints.

use comfy_table::{Cell, CellAlignment, Table, presets::UTF8_FULL_CONDENSED};
use serde_json::{Value, json};

use crate::{Outcome, Recovery};

/// The heads of the columns.
const HEADS: [&str; 11] =
    ["scenario", "letters", "refused", "lost", "doubled", "marked", "unmarked", "spent", "recovery", "took", "verdict"];

/// One row a scenario.
pub fn table(outcomes: &[Outcome]) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header(HEADS);
    for outcome in outcomes {
        let number = |number: Option<String>| Cell::new(number.unwrap_or_else(|| "-".to_owned())).set_alignment(CellAlignment::Right);
        let of = |value: fn(&crate::Tally) -> usize| number(outcome.tally.as_ref().map(|tally| value(tally).to_string()));
        let recovery = outcome.tally.as_ref().and_then(|tally| tally.recovery).map(shown);
        table.add_row([
            Cell::new(outcome.scenario.name),
            of(|tally| tally.letters),
            of(|tally| tally.refused),
            of(|tally| tally.lost),
            of(|tally| tally.doubled),
            of(|tally| tally.marked),
            of(crate::Tally::unmarked),
            number(outcome.tally.as_ref().map(|tally| tally.spent.to_string())),
            number(recovery),
            number(Some(format!("{:.1} s", outcome.took.as_secs_f64()))),
            Cell::new(if outcome.is_well() { "holds" } else { "BROKEN" }),
        ]);
    }
    table.to_string()
}

fn shown(recovery: Recovery) -> String {
    format!("{:.1} of {:.1} s", recovery.took.as_secs_f64(), recovery.interval.as_secs_f64())
}

/// An array with one object a scenario; times in seconds.
pub fn json(outcomes: &[Outcome]) -> Value {
    let one = |outcome: &Outcome| {
        let tally = outcome.tally.as_ref();
        let recovery = tally.and_then(|tally| tally.recovery);
        json!({
            "scenario": outcome.scenario.name,
            "proves": outcome.scenario.proves,
            "holds": outcome.is_well(),
            "wrong": outcome.wrong,
            "letters": tally.map(|tally| tally.letters),
            "refused": tally.map(|tally| tally.refused),
            "lost": tally.map(|tally| tally.lost),
            "doubled": tally.map(|tally| tally.doubled),
            "doubled_and_marked": tally.map(|tally| tally.marked),
            "unmarked": tally.map(crate::Tally::unmarked),
            "attempts_spent_unrefused": tally.map(|tally| tally.spent),
            "recovery_s": recovery.map(|recovery| recovery.took.as_secs_f64()),
            "probe_interval_s": recovery.map(|recovery| recovery.interval.as_secs_f64()),
            "took_s": outcome.took.as_secs_f64(),
        })
    };
    outcomes.iter().map(one).collect()
}
