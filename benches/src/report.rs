//! The results: tables in Markdown for people, JSON for programs.

mod aims;
mod table;

use crate::{
    args::Scale,
    finding::Finding,
    machine::Machine,
    rounds::{Reading, Rounds},
    stats::{counted, mebibytes, real, shown},
    subjects::{SUBJECTS, Subject, deliver::Verification, memory::MemoryReading},
};
use serde_json::{Value, json};
use std::fmt;
use table::{spread_text, table};

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
    /// What was found with large directories.
    pub(crate) findings: Vec<Finding>,
}

impl Report {
    /// Whether everything was measured and no letter was lost or doubled.
    pub(crate) fn is_sound(&self) -> bool {
        let strays = self.verification.map_or(0, |run| run.lost + run.duplicates);
        let readings = self.rounds.subjects.iter().flat_map(|(_, readings)| readings.iter().flatten());
        let rounds: u64 = readings.map(|reading| reading.lost.unwrap_or(0) + reading.duplicates.unwrap_or(0)).sum();
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
                "latency_ms": self.rounds.latency(*subject),
            })
        };
        let aims = aims::of(self);
        json!({
            "machine": self.machine,
            "calibration_sha256_per_second": {"before": self.calibration[0], "after": self.calibration[1]},
            "scale": self.scale,
            "verification": self.verification,
            "subjects": self.rounds.subjects.iter().map(subject).collect::<Vec<_>>(),
            "memory": self.memory,
            "directories": self.findings,
            "aims": aims,
            "failures": self.rounds.failures,
        })
    }

    fn rates(&self) -> String {
        let mut rows = Vec::new();
        for subject in SUBJECTS {
            let Some(rate) = self.rounds.spread(subject, |reading| Some(reading.rate)) else { continue };
            let figure =
                |of: fn(&Reading) -> Option<f64>| self.rounds.spread(subject, of).map_or_else(String::new, |spread| shown(spread.median));
            let compared = |peer| subject.is_compared() && subject != peer;
            let ratio = |peer| self.rounds.ratio(subject, peer).filter(|_| compared(peer)).map_or_else(String::new, spread_text);
            rows.push(vec![
                subject.name().to_owned(),
                spread_text(rate),
                ratio(Subject::Postfix),
                ratio(Subject::Source),
                figure(|reading| reading.cpu_us),
                figure(|reading| reading.peak_bytes.map(mebibytes)),
                figure(|reading| reading.stored_bytes),
                figure(|reading| reading.written_bytes),
                figure(|reading| reading.flushes),
                figure(|reading| reading.letter_bytes.map(real)),
            ]);
        }
        let heads = [
            "subject",
            "a second",
            "÷ Postfix",
            "÷ smtp-source",
            "CPU µs",
            "peak MiB",
            "stored bytes",
            "written bytes",
            "flushes",
            "letter bytes",
        ];
        table(&heads, &rows)
    }

    fn latencies(&self) -> Vec<Vec<String>> {
        let row = |subject: Subject| {
            let latency = self.rounds.latency(subject)?;
            let (count, p50, p99, longest) =
                (counted(latency.count as u64), shown(latency.p50), shown(latency.p99), shown(latency.longest));
            Some(vec![subject.name().to_owned(), count, p50, p99, longest])
        };
        SUBJECTS.into_iter().filter_map(row).collect()
    }

    fn findings_table(&self) -> String {
        let rows: Vec<Vec<String>> = self
            .findings
            .iter()
            .flat_map(|finding| finding.figures.iter().map(move |figure| (finding, figure)))
            .map(|(finding, figure)| {
                let value = figure.value;
                let alone = value.min.to_bits() == value.max.to_bits();
                let text = if alone { shown(value.median) } else { spread_text(value) };
                vec![finding.name.clone(), figure.what.clone(), text]
            })
            .collect();
        table(&["subject", "figure", "median [lowest – highest]"], &rows)
    }

    fn memory_table(&self) -> String {
        let row = |reading: &MemoryReading| {
            let (fresh, drained) = (mebibytes(reading.fresh_bytes), mebibytes(reading.drained_bytes));
            vec![
                counted(reading.waiting),
                shown(reading.filled_per_second),
                shown(mebibytes(reading.filling_peak_bytes)),
                format!("{} / {}", shown(fresh), shown(mebibytes(reading.fresh_peak_bytes))),
                shown(reading.accepted_per_second),
                shown(reading.accepted_cpu_us),
                format!("{} / {}", shown(drained), shown(mebibytes(reading.drained_peak_bytes))),
                shown(real(reading.drained) / reading.drained_seconds.max(1e-6)),
                shown(reading.drained_cpu_us),
                shown(reading.stored_bytes),
            ]
        };
        let heads = [
            "waiting",
            "filled a second",
            "peak filling",
            "fresh / peak",
            "accepted a second",
            "CPU µs",
            "after draining / peak",
            "drained a second",
            "CPU µs",
            "stored bytes",
        ];
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
            writeln!(f, "within a round; CPU, bytes and flushes are those of the durable program, a letter.\n\n{}", self.rates())?;
        }
        let latencies = self.latencies();
        if !latencies.is_empty() {
            let heads = ["milliseconds a letter, all rounds together", "letters", "half within", "99 % within", "longest"];
            writeln!(f, "{}", table(&heads, &latencies))?;
        }
        if !self.memory.is_empty() {
            let what = "Queues of several lengths: memory of the server in MiB, resident now / peak, and CPU of the server a letter.";
            writeln!(f, "{what}\n\n{}", self.memory_table())?;
        }
        if !self.findings.is_empty() {
            writeln!(f, "Large directories, and PostgreSQL.\n\n{}", self.findings_table())?;
        }
        let aims = aims::of(self);
        if !aims.is_empty() {
            let row = |aim: &aims::Aim| vec![aim.what.clone(), aim.wanted(), shown(aim.reached), aim.said().to_owned()];
            writeln!(f, "{}", table(&["aim", "wanted", "reached", "met"], &aims.iter().map(row).collect::<Vec<_>>()))?;
        }
        self.rounds.failures.iter().try_for_each(|failure| writeln!(f, "FAILED: {failure}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{args::Options, finding::Bound};
    use clap::Parser as _;

    fn a_report(end_to_end: f64, duplicates: u64) -> Report {
        let reading = |rate| Some(Reading { rate, duplicates: Some(duplicates), latencies_ms: vec![0.5, 60.0], ..Reading::default() });
        let memory = |waiting, mebibytes: u64| MemoryReading {
            waiting,
            filled_per_second: 20_000.0,
            filling_peak_bytes: 1 << 25,
            fresh_bytes: 1 << 24,
            fresh_peak_bytes: 1 << 24,
            accepted_per_second: 9_000.0,
            accepted_cpu_us: 100.0,
            drained_bytes: mebibytes << 20,
            drained_peak_bytes: mebibytes << 20,
            drained: 5_000,
            drained_seconds: 0.5,
            drained_cpu_us: 80.0,
            stored_bytes: 6_000.0,
        };
        let mut finding = Finding::new("deciding", "deciding".to_owned());
        finding.add("events a second", [15_000.0, 17_000.0], Some(Bound::AtLeast(20_000.0)));
        finding.add("peak memory, MiB", [50.0], None);
        Report {
            machine: Machine {
                cores: 2,
                processor: "A processor".to_owned(),
                memory_bytes: 24 << 30,
                kernel: "6.18".to_owned(),
                file_system: "ext4".to_owned(),
            },
            calibration: [2_000_000.0, 1_900_000.0],
            scale: Options::parse_from(["tidings-benches", "--quick"]).scale(),
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
            findings: vec![finding],
        }
    }

    #[test]
    fn an_aim_that_is_missed_is_shown_and_is_no_failure() {
        let report = a_report(4_000.0, 0);
        let text = report.to_string();
        assert!(text.contains("| at least 10.0   | 4.00    | no  |"), "{text}");
        assert!(text.contains("after draining") && text.contains("| 60.0    | no  |"), "{text}");
        assert!(text.contains("4,000 [4,000 – 4,000]"), "{text}");
        assert!(text.contains("| deciding | events a second  | 16,000 [15,000 – 17,000]"), "{text}");
        assert!(text.contains("| at least 20,000 | 16,000  | no  |"), "{text}");
        assert!(report.is_sound());
        assert!(a_report(12_000.0, 0).to_string().contains("| 12.0    | yes |"));
    }

    #[test]
    fn a_duplicate_is_a_failure() {
        assert!(!a_report(6_000.0, 1).is_sound());
    }

    #[test]
    fn the_json_has_a_value_for_every_round() {
        let json = a_report(6_000.0, 0).to_json();
        assert_eq!(json["subjects"][0]["rounds"][0]["rate"], 6_000.0);
        assert_eq!(json["subjects"][0]["rounds"][0]["latency_ms"]["p99"], 60.0);
        assert_eq!(json["subjects"][0]["latency_ms"]["count"], 2);
        assert_eq!(json["subjects"][0]["ratio_to_postfix"]["median"], 6.0);
        assert_eq!(json["aims"][0]["met"], false);
        assert_eq!(json["aims"][0]["wanted"], "at least 10.0");
        assert_eq!(json["memory"][1]["waiting"], 1_000);
        assert_eq!(json["directories"][0]["figures"][0]["value"]["median"], 16_000.0);
    }
}
