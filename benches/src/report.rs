//! The results: tables in Markdown for people, JSON for programs.

use crate::{
    args::Scale,
    machine::Machine,
    rounds::{Reading, Rounds},
    stats::{Spread, counted, mebibytes, shown},
    subjects::{SUBJECTS, Subject, deliver::Verification, memory::MemoryReading},
};
use serde_json::{Value, json};
use std::fmt;

/// Everything a run found.
#[derive(Debug)]
pub(crate) struct Report {
    /// The machine.
    pub(crate) machine: Machine,
    /// Digests a second of one core, before and after.
    pub(crate) calibration: [f64; 2],
    /// How much was measured.
    pub(crate) scale: Scale,
    /// The run counted by Message-ID.
    pub(crate) verification: Option<Verification>,
    /// The rounds.
    pub(crate) rounds: Rounds,
    /// Memory, the shortest queue first.
    pub(crate) memory: Vec<MemoryReading>,
}

/// A ratio of two subjects' rates that is aimed at.
const RATIO_AIMS: [(Subject, Subject, f64); 2] =
    [(Subject::EndToEndSingle, Subject::Postfix, 5.0), (Subject::EndToEndBatches, Subject::Postfix, 5.0)];

/// How much more memory the longest queue may take than the shortest, in MiB.
const MEMORY_AIM: f64 = 50.0;

/// An aim and what was reached.
struct Aim {
    what: String,
    wanted: String,
    reached: f64,
    met: bool,
}

impl Report {
    /// Whether everything was measured and no letter was lost or doubled.
    pub(crate) fn is_sound(&self) -> bool {
        let strays = self.verification.map_or(0, |run| run.lost + run.duplicates);
        let counted = self.rounds.readings(Subject::EndToEndCounted).iter().flatten();
        let rounds: u64 = counted.map(|reading| reading.lost.unwrap_or(0) + reading.duplicates.unwrap_or(0)).sum();
        self.rounds.failures.is_empty() && strays + rounds == 0
    }

    /// The results for programs.
    pub(crate) fn to_json(&self) -> Value {
        let subject = |(subject, readings): &(Subject, Vec<Option<Reading>>)| {
            json!({
                "key": subject.key(), "name": subject.name(), "rounds": readings,
                "rate": self.rounds.spread(*subject, |reading| Some(reading.rate)),
                "ratio_to_postfix": self.rounds.ratio(*subject, Subject::Postfix),
                "ratio_to_source": self.rounds.ratio(*subject, Subject::Source),
            })
        };
        let aims =
            self.aims().into_iter().map(|aim| json!({"what": aim.what, "wanted": aim.wanted, "reached": aim.reached, "met": aim.met}));
        json!({
            "machine": self.machine,
            "calibration_sha256_per_second": {"before": self.calibration[0], "after": self.calibration[1]},
            "scale": self.scale,
            "verification": self.verification,
            "subjects": self.rounds.subjects.iter().map(subject).collect::<Vec<_>>(),
            "memory": self.memory,
            "aims": aims.collect::<Vec<_>>(),
            "failures": self.rounds.failures,
        })
    }

    fn aims(&self) -> Vec<Aim> {
        let ratios = RATIO_AIMS.iter().filter_map(|&(subject, peer, least)| {
            let reached = self.rounds.ratio(subject, peer)?.median;
            let what = format!("{} ÷ {}", subject.name(), peer.name());
            Some(Aim { what, wanted: format!("at least {least}"), reached, met: reached >= least })
        });
        let mut aims: Vec<Aim> = ratios.collect();
        if let [shortest, .., longest] = self.memory.as_slice() {
            let (short, long) = (counted(shortest.waiting), counted(longest.waiting));
            let mut memory = |what: &str, of: fn(&MemoryReading) -> u64| {
                let reached = mebibytes(of(longest)) - mebibytes(of(shortest));
                let what = format!("peak memory, MiB more with {long} than with {short} waiting: {what}");
                aims.push(Aim { what, wanted: format!("less than {MEMORY_AIM}"), reached, met: reached < MEMORY_AIM });
            };
            memory("fresh start", |reading| reading.fresh_peak_bytes);
            memory("after draining", |reading| reading.drained_peak_bytes);
        }
        aims
    }

    fn rates(&self) -> String {
        let mut rows = Vec::new();
        for subject in SUBJECTS {
            let Some(rate) = self.rounds.spread(subject, |reading| Some(reading.rate)) else { continue };
            let figure =
                |of: fn(&Reading) -> Option<f64>| self.rounds.spread(subject, of).map_or_else(String::new, |spread| shown(spread.median));
            let ratio = |peer| self.rounds.ratio(subject, peer).filter(|_| subject != peer).map_or_else(String::new, spread_text);
            rows.push(vec![
                subject.name().to_owned(),
                spread_text(rate),
                ratio(Subject::Postfix),
                ratio(Subject::Source),
                figure(|reading| reading.cpu_us),
                figure(|reading| reading.peak_bytes.map(mebibytes)),
                figure(|reading| reading.stored_bytes),
                figure(|reading| reading.written_bytes),
            ]);
        }
        let heads = ["subject", "a second", "÷ Postfix", "÷ smtp-source", "CPU µs", "peak MiB", "stored bytes", "written bytes"];
        table(&heads, &rows)
    }

    fn memory_table(&self) -> String {
        let row = |reading: &MemoryReading| {
            let (fresh, drained) = (mebibytes(reading.fresh_bytes), mebibytes(reading.drained_bytes));
            vec![
                counted(reading.waiting),
                shown(reading.filled_per_second),
                shown(mebibytes(reading.filling_peak_bytes)),
                format!("{} / {}", shown(fresh), shown(mebibytes(reading.fresh_peak_bytes))),
                format!("{} / {}", shown(drained), shown(mebibytes(reading.drained_peak_bytes))),
                format!("{} in {} s", counted(reading.drained), shown(reading.drained_seconds)),
                shown(reading.drained_cpu_us),
                shown(reading.stored_bytes),
            ]
        };
        let heads =
            ["waiting", "filled a second", "peak filling", "fresh / peak", "after draining / peak", "drained", "CPU µs", "stored bytes"];
        table(&heads, &self.memory.iter().map(row).collect::<Vec<_>>())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [before, after] = self.calibration;
        writeln!(f, "{}", self.machine)?;
        writeln!(f, "One core: {} SHA-256 a second before, {} after.", shown(before), shown(after))?;
        if self.scale.quick {
            writeln!(f, "A short run: its figures are not for quoting.")?;
        }
        if let Some(run) = &self.verification {
            let (posted, bytes) = (counted(run.posted), counted(run.letter_bytes));
            writeln!(f, "Counted by Message-ID: {posted} letters of {bytes} bytes, {} lost, {} duplicates.", run.lost, run.duplicates)?;
        }
        if !self.rounds.subjects.is_empty() {
            let (rounds, letters, postfix) = (self.scale.rounds, counted(self.scale.letters), counted(self.scale.postfix_letters));
            writeln!(
                f,
                "\nMedian [lowest – highest] of {rounds} interleaved rounds of {letters} letters ({postfix} through Postfix); ratios are taken"
            )?;
            writeln!(f, "within a round; CPU and bytes are those of the durable program, a letter.\n\n{}", self.rates())?;
        }
        if !self.memory.is_empty() {
            writeln!(f, "Memory of the server in MiB, resident now / peak.\n\n{}", self.memory_table())?;
        }
        let aims = self.aims();
        if !aims.is_empty() {
            let row =
                |aim: &Aim| vec![aim.what.clone(), aim.wanted.clone(), shown(aim.reached), if aim.met { "yes" } else { "no" }.to_owned()];
            writeln!(f, "{}", table(&["aim", "wanted", "reached", "met"], &aims.iter().map(row).collect::<Vec<_>>()))?;
        }
        self.rounds.failures.iter().try_for_each(|failure| writeln!(f, "FAILED: {failure}"))
    }
}

fn spread_text(spread: Spread) -> String {
    format!("{} [{} – {}]", shown(spread.median), shown(spread.min), shown(spread.max))
}

/// A Markdown table whose columns are aligned.
fn table(heads: &[&str], rows: &[Vec<String>]) -> String {
    let widths: Vec<usize> = heads
        .iter()
        .enumerate()
        .map(|(column, head)| rows.iter().map(|row| row[column].chars().count()).chain([head.chars().count()]).max().unwrap_or(0))
        .collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let cells = cells.zip(&widths).map(|(cell, &width)| format!(" {cell:<width$} |"));
        format!("|{}\n", cells.collect::<String>())
    };
    let rule = widths.iter().map(|&width| "-".repeat(width + 2) + "|").collect::<String>();
    let body = rows.iter().map(|row| line(&mut row.iter().map(String::as_str))).collect::<String>();
    format!("{}|{rule}\n{body}", line(&mut heads.iter().copied()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a_report(end_to_end: f64, duplicates: u64) -> Report {
        let reading = |rate| Some(Reading { rate, duplicates: Some(duplicates), ..Reading::default() });
        let memory = |waiting, mebibytes: u64| MemoryReading {
            waiting,
            filled_per_second: 20_000.0,
            filling_peak_bytes: 1 << 25,
            fresh_bytes: 1 << 24,
            fresh_peak_bytes: 1 << 24,
            drained_bytes: mebibytes << 20,
            drained_peak_bytes: mebibytes << 20,
            drained: 5_000,
            drained_seconds: 0.5,
            drained_cpu_us: 80.0,
            stored_bytes: 6_000.0,
        };
        Report {
            machine: Machine {
                cores: 2,
                processor: "A processor".to_owned(),
                memory_bytes: 24 << 30,
                kernel: "6.18".to_owned(),
                file_system: "ext4".to_owned(),
            },
            calibration: [2_000_000.0, 1_900_000.0],
            scale: Scale {
                rounds: 1,
                letters: 2_000,
                postfix_letters: 500,
                warm_up: 100,
                waiting: vec![10, 1_000],
                sessions: 8,
                quick: true,
            },
            verification: None,
            rounds: Rounds {
                subjects: vec![
                    (Subject::EndToEndSingle, vec![reading(end_to_end)]),
                    (Subject::EndToEndCounted, vec![reading(12_000.0)]),
                    (Subject::Postfix, vec![reading(1_000.0)]),
                ],
                failures: Vec::new(),
            },
            memory: vec![memory(10, 20), memory(1_000, 80)],
        }
    }

    #[test]
    fn an_aim_that_is_missed_is_shown_and_is_no_failure() {
        let report = a_report(4_000.0, 0);
        let text = report.to_string();
        assert!(text.contains("| at least 5   | 4.00    | no  |"), "{text}");
        assert!(text.contains("after draining") && text.contains("| 60.0    | no  |"), "{text}");
        assert!(text.contains("4,000 [4,000 – 4,000]"), "{text}");
        assert!(report.is_sound());
        assert!(a_report(6_000.0, 0).to_string().contains("| 6.00    | yes |"));
    }

    #[test]
    fn a_duplicate_is_a_failure() {
        assert!(!a_report(6_000.0, 1).is_sound());
    }

    #[test]
    fn the_json_has_a_value_for_every_round() {
        let json = a_report(6_000.0, 0).to_json();
        assert_eq!(json["subjects"][0]["rounds"][0]["rate"], 6_000.0);
        assert_eq!(json["subjects"][0]["ratio_to_postfix"]["median"], 6.0);
        assert_eq!(json["aims"][0]["met"], true);
        assert_eq!(json["memory"][1]["waiting"], 1_000);
    }

    #[test]
    fn columns_are_aligned() {
        let rows = [vec!["a".to_owned(), "1".to_owned()], vec!["long".to_owned(), "µ".to_owned()]];
        assert_eq!(table(&["x", "value"], &rows), "| x    | value |\n|------|-------|\n| a    | 1     |\n| long | µ     |\n");
    }
}
