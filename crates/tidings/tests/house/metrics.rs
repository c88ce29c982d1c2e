//! A reader for the Prometheus text format, as much of it as the tests need.

/// What `/metrics` said.
pub(crate) struct Metrics {
    /// Name, labels as written between the braces, value.
    samples: Vec<(String, String, f64)>,
    /// The names that have a HELP and a TYPE line.
    described: Vec<String>,
}

impl Metrics {
    pub(super) fn parse(text: &str) -> Self {
        let mut samples = Vec::new();
        let mut described = Vec::new();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            if let Some(name) = line.strip_prefix("# TYPE ") {
                described.push(name.split(' ').next().unwrap_or_default().to_owned());
            }
            if line.starts_with('#') {
                continue;
            }
            let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line}"));
            let (name, labels) = name.split_once('{').map_or((name, ""), |(name, labels)| (name, labels.trim_end_matches('}')));
            let value = value.parse().unwrap_or_else(|error| panic!("no number ({error}): {line}"));
            samples.push((name.to_owned(), labels.to_owned(), value));
        }
        Self { samples, described }
    }

    /// Whether the metric is there at all.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.described.iter().any(|known| known == name)
    }

    /// The sum of the samples of this name whose labels contain all of these, written `lane="codes"`; 0 if there are none.
    pub(crate) fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        let fits = |(found, written, _): &&(String, String, f64)| {
            found == name && labels.iter().all(|label| written.split(',').any(|one| one == *label))
        };
        self.samples.iter().filter(fits).map(|(_, _, value)| value).sum()
    }
}
