//! Rounds: every subject once, in turn, so that a machine that drifts favours nobody.

use crate::{
    bench::Bench,
    stats::{Latency, Spread, shown},
    subjects::{SUBJECTS, Subject},
};
use serde::{Serialize, Serializer};

/// What one subject came to in one round.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Reading {
    /// Events or letters a second.
    pub(crate) rate: f64,
    /// CPU time of the durable program a letter, in microseconds.
    pub(crate) cpu_us: Option<f64>,
    /// The most resident memory, in bytes.
    pub(crate) peak_bytes: Option<u64>,
    /// Bytes of the database a waiting letter.
    pub(crate) stored_bytes: Option<f64>,
    /// Bytes handed to the disk a letter.
    pub(crate) written_bytes: Option<f64>,
    /// Flushes of the durable program a letter.
    pub(crate) flushes: Option<f64>,
    /// The mean size of a letter on the wire or in its file, in bytes.
    pub(crate) letter_bytes: Option<u64>,
    /// How long single letters took, in milliseconds.
    #[serde(rename = "latency_ms", serialize_with = "percentiles")]
    pub(crate) latencies_ms: Vec<f64>,
    /// Letters that did not arrive, where Message-IDs are counted.
    pub(crate) lost: Option<u64>,
    /// Letters that arrived again, where Message-IDs are counted.
    pub(crate) duplicates: Option<u64>,
}

/// Thousands of single times would hide the rest of the results.
fn percentiles<S: Serializer>(times: &[f64], serializer: S) -> Result<S::Ok, S::Error> {
    Latency::of(times.iter().copied()).serialize(serializer)
}

/// All rounds.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    /// Each subject with its reading in each round; `None` where it failed.
    pub(crate) subjects: Vec<(Subject, Vec<Option<Reading>>)>,
    /// What failed, in words.
    pub(crate) failures: Vec<String>,
}

/// Runs the rounds. A subject that fails is noted and left out of later rounds.
pub(crate) async fn run(bench: &Bench) -> Rounds {
    let chosen = SUBJECTS.into_iter().filter(|subject| subject.groups().iter().any(|&group| bench.measures(group)));
    let mut rounds = Rounds { subjects: chosen.map(|subject| (subject, Vec::new())).collect(), failures: Vec::new() };
    for round in 1..=bench.scale.rounds {
        for (subject, readings) in &mut rounds.subjects {
            if readings.iter().any(Option::is_none) {
                readings.push(None);
                continue;
            }
            match subject.measure(bench).await {
                Ok(reading) => {
                    let latency = Latency::of(reading.latencies_ms.iter().copied());
                    let latency = latency.map_or_else(String::new, |latency| format!(", 99 % within {} ms", shown(latency.p99)));
                    eprintln!("round {round}/{}: {}: {}/s{latency}", bench.scale.rounds, subject.name(), shown(reading.rate));
                    readings.push(Some(reading));
                }
                Err(error) => {
                    eprintln!("round {round}/{}: {} failed: {error:#}", bench.scale.rounds, subject.name());
                    rounds.failures.push(format!("{}, round {round}: {error:#}", subject.name()));
                    readings.push(None);
                }
            }
        }
    }
    rounds
}

impl Rounds {
    /// The spread of one figure of a subject.
    pub(crate) fn spread(&self, subject: Subject, figure: impl Fn(&Reading) -> Option<f64>) -> Option<Spread> {
        Spread::of(self.readings(subject).iter().flatten().filter_map(figure))
    }

    /// How long single letters of a subject took, all rounds together.
    pub(crate) fn latency(&self, subject: Subject) -> Option<Latency> {
        Latency::of(self.readings(subject).iter().flatten().flat_map(|reading| reading.latencies_ms.iter().copied()))
    }

    /// The ratio of two subjects' rates, taken within each round.
    pub(crate) fn ratio(&self, subject: Subject, to: Subject) -> Option<Spread> {
        let pairs = self.readings(subject).iter().zip(self.readings(to));
        Spread::of(pairs.filter_map(|(one, other)| Some(one.as_ref()?.rate / other.as_ref()?.rate)))
    }

    /// The readings of a subject, a round each; empty if it was not measured.
    pub(crate) fn readings(&self, subject: Subject) -> &[Option<Reading>] {
        self.subjects.iter().find(|(found, _)| *found == subject).map_or(&[], |(_, readings)| readings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_taken_within_a_round_and_failed_rounds_count_nothing() {
        let reading = |rate: f64| Some(Reading { rate, ..Reading::default() });
        let rounds = Rounds {
            subjects: vec![
                (Subject::EndToEndSingle, vec![reading(1_000.0), reading(4_000.0), None]),
                (Subject::Postfix, vec![reading(100.0), reading(800.0), reading(900.0)]),
            ],
            failures: Vec::new(),
        };
        let ratio = rounds.ratio(Subject::EndToEndSingle, Subject::Postfix).unwrap();
        assert_eq!(ratio, Spread { median: 7.5, min: 5.0, max: 10.0 });
        assert_eq!(rounds.ratio(Subject::EndToEndSingle, Subject::Source), None);
    }
}
