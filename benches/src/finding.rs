//! Figures of subjects that are not letters a second: what was found, and what is aimed at.

use crate::stats::{Latency, Spread, shown};
use serde::Serialize;

/// What is wanted of a figure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Bound {
    /// Not less.
    AtLeast(f64),
    /// Not more.
    AtMost(f64),
}

impl Bound {
    /// Whether a value is as wanted.
    pub(crate) fn met_by(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
        }
    }

    /// In words.
    pub(crate) fn wanted(self) -> String {
        match self {
            Self::AtLeast(least) => format!("at least {}", shown(least)),
            Self::AtMost(most) => format!("at most {}", shown(most)),
        }
    }
}

/// One figure.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figure {
    /// What it is, with its unit.
    pub(crate) what: String,
    /// What it came to; of several rounds the spread.
    pub(crate) value: Spread,
    /// What is aimed at, of the median.
    #[serde(skip)]
    pub(crate) bound: Option<Bound>,
}

/// What was found of one subject.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Finding {
    /// The subject's name in JSON.
    pub(crate) key: &'static str,
    /// Its name in the table, with its size.
    pub(crate) name: String,
    /// The figures.
    pub(crate) figures: Vec<Figure>,
}

impl Finding {
    /// Nothing found yet.
    pub(crate) fn new(key: &'static str, name: String) -> Self {
        Self { key, name, figures: Vec::new() }
    }

    /// Adds a figure of one or several rounds; none is added of no rounds.
    pub(crate) fn add(&mut self, what: impl Into<String>, values: impl IntoIterator<Item = f64>, bound: Option<Bound>) {
        if let Some(value) = Spread::of(values) {
            self.figures.push(Figure { what: what.into(), value, bound });
        }
    }

    /// Adds how long single things took, of which 99 % are to be done within `most` milliseconds.
    pub(crate) fn add_latency(&mut self, what: &str, times_ms: &[f64], most: f64) {
        let Some(latency) = Latency::of(times_ms.iter().copied()) else { return };
        self.add(format!("{what}: half within, ms"), [latency.p50], None);
        self.add(format!("{what}: 99 % within, ms"), [latency.p99], Some(Bound::AtMost(most)));
        self.add(format!("{what}: longest, ms"), [latency.longest], None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_of_no_rounds_is_none() {
        let mut finding = Finding::new("x", "x".to_owned());
        finding.add("nothing", [], None);
        finding.add("something", [1.0, 3.0], Some(Bound::AtLeast(2.0)));
        finding.add_latency("a thing", &[1.0, 2.0], 1.5);
        let met: Vec<_> = finding.figures.iter().map(|figure| figure.bound.map(|bound| bound.met_by(figure.value.median))).collect();
        assert_eq!(met, [Some(true), None, Some(false), None]);
    }
}
