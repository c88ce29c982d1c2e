//! What is aimed at, and whether it was reached. A missed aim is shown; it fails nothing.

use super::Report;
use crate::{
    finding::Bound::{self, AtLeast, AtMost},
    rounds::Reading,
    stats::{counted, mebibytes},
    subjects::{Subject, memory::MemoryReading},
};
use serde::{Serialize, Serializer, ser::SerializeStruct};

/// An aim and what was reached.
#[derive(Debug)]
pub(super) struct Aim {
    /// What is measured.
    pub(super) what: String,
    bound: Bound,
    /// What it came to.
    pub(super) reached: f64,
}

/// Ratios of two subjects' rates within a round.
const RATIOS: [(Subject, Subject, f64); 8] = [
    (Subject::EndToEndSingle, Subject::Postfix, 10.0),
    (Subject::EndToEndSingle, Subject::Source, 0.55),
    (Subject::EndToEndBatches, Subject::Postfix, 13.0),
    (Subject::EndToEndBatches, Subject::Source, 0.65),
    (Subject::Drain, Subject::Postfix, 17.0),
    (Subject::SlowSingle, Subject::EndToEndSingle, 0.9),
    (Subject::SlowBatches, Subject::EndToEndBatches, 0.9),
    (Subject::Pickup, Subject::PickupBare, 0.9),
];

/// A figure of a reading, in the unit in which it is aimed at.
type Figure = fn(&Reading) -> Option<f64>;

const CPU: (&str, Figure) = ("CPU, µs a letter", |reading| reading.cpu_us);
const PEAK: (&str, Figure) = ("peak memory, MiB", |reading| reading.peak_bytes.map(mebibytes));
const FLUSHES: (&str, Figure) = ("flushes a letter", |reading| reading.flushes);
const RATE: (&str, Figure) = ("a second", |reading| Some(reading.rate));

/// Medians of single subjects.
const FIGURES: [(Subject, (&str, Figure), Bound); 11] = [
    (Subject::EndToEndSingle, CPU, AtMost(130.0)),
    (Subject::EndToEndBatches, CPU, AtMost(130.0)),
    (Subject::AcceptSingle, PEAK, AtMost(48.0)),
    (Subject::AcceptBatches, PEAK, AtMost(48.0)),
    (Subject::Drain, PEAK, AtMost(48.0)),
    (Subject::SlowSingle, FLUSHES, AtMost(0.05)),
    (Subject::SlowBatches, FLUSHES, AtMost(0.05)),
    (Subject::LargePicture, RATE, AtLeast(750.0)),
    (Subject::LargeText, RATE, AtLeast(750.0)),
    (Subject::DistanceData, RATE, AtLeast(19.0)),
    (Subject::DistanceChunking, RATE, AtLeast(100.0)),
];

/// Milliseconds within which 99 % of single letters are done.
const LATENCIES: [(Subject, f64); 2] = [(Subject::Session, 2.0), (Subject::Urgent, 50.0)];

/// How much more memory the longest queue may take than the shortest, in MiB.
const MORE_MEMORY: f64 = 50.0;

/// How much more CPU a letter may cost with the longest queue than with the shortest: flat, but for a few more levels of an index.
const MORE_CPU: f64 = 1.25;

impl Aim {
    /// Whether it was reached.
    pub(super) fn met(&self) -> bool {
        self.bound.met_by(self.reached)
    }

    /// The same in a word.
    pub(super) fn said(&self) -> &'static str {
        if self.met() { "yes" } else { "no" }
    }

    /// What is wanted, in words.
    pub(super) fn wanted(&self) -> String {
        self.bound.wanted()
    }
}

impl Serialize for Aim {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut aim = serializer.serialize_struct("Aim", 4)?;
        aim.serialize_field("what", &self.what)?;
        aim.serialize_field("wanted", &self.wanted())?;
        aim.serialize_field("reached", &self.reached)?;
        aim.serialize_field("met", &self.met())?;
        aim.end()
    }
}

/// All aims of what was measured.
pub(super) fn of(report: &Report) -> Vec<Aim> {
    let rounds = &report.rounds;
    let ratios = RATIOS.iter().filter_map(|&(subject, peer, least)| {
        let reached = rounds.ratio(subject, peer)?.median;
        Some(Aim { what: format!("{} ÷ {}", subject.name(), peer.name()), bound: AtLeast(least), reached })
    });
    let figures = FIGURES.iter().filter_map(|&(subject, (figure, of), bound)| {
        let reached = rounds.spread(subject, of)?.median;
        Some(Aim { what: format!("{}: {figure}", subject.name()), bound, reached })
    });
    let latencies = LATENCIES.iter().filter_map(|&(subject, most)| {
        let reached = rounds.latency(subject)?.p99;
        Some(Aim { what: format!("{}: 99 % within, ms", subject.name()), bound: AtMost(most), reached })
    });
    let findings = report.findings.iter().flat_map(|finding| {
        let aim = |figure: &crate::finding::Figure| {
            Some(Aim { what: format!("{}: {}", finding.name, figure.what), bound: figure.bound?, reached: figure.value.median })
        };
        finding.figures.iter().filter_map(aim)
    });
    ratios.chain(figures).chain(latencies).chain(of_queues(&report.memory)).chain(findings).collect()
}

/// What the longest queue may cost more than the shortest.
fn of_queues(memory: &[MemoryReading]) -> Vec<Aim> {
    let [shortest, .., longest] = memory else { return Vec::new() };
    let lengths = format!("{} against {} waiting", counted(longest.waiting), counted(shortest.waiting));
    let more = |what: &str, of: fn(&MemoryReading) -> u64| {
        let reached = mebibytes(of(longest)) - mebibytes(of(shortest));
        Aim { what: format!("peak memory, MiB more, {lengths}: {what}"), bound: AtMost(MORE_MEMORY), reached }
    };
    let times = |what: &str, of: fn(&MemoryReading) -> f64| {
        let reached = of(longest) / of(shortest);
        Aim { what: format!("CPU a letter, times as much, {lengths}: {what}"), bound: AtMost(MORE_CPU), reached }
    };
    vec![
        more("fresh start", |reading| reading.fresh_peak_bytes),
        more("after draining", |reading| reading.drained_peak_bytes),
        times("accepting", |reading| reading.accepted_cpu_us),
        times("draining", |reading| reading.drained_cpu_us),
    ]
}
