//! What is generated or drawn from the code is still what the code says.

mod house;

use std::fs;
use std::path::{Path, PathBuf};

use tidings_testkit::process::Program;

use house::{PATIENCE, run};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace is there")
}

#[track_caller]
fn assert_fresh(file: &str, command: &[&str]) {
    let path = root().join(file);
    let kept = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let ended = run(command);
    assert!(ended.status.success(), "{}", ended.stderr);
    let line = kept.lines().zip(ended.stdout.lines()).position(|(kept, made)| kept != made);
    assert!(
        kept == ended.stdout,
        "{file} is stale (first difference in line {}): tidings {} > {file}",
        line.map_or_else(|| kept.lines().count().min(ended.stdout.lines().count()) + 1, |line| line + 1),
        command.join(" ")
    );
}

#[test]
fn the_configuration_reference_is_fresh() {
    assert_fresh("docs/configuration.md", &["config", "reference"]);
}

#[test]
fn the_configuration_sample_is_fresh() {
    assert_fresh("packaging/tidings.toml", &["config", "sample"]);
}

#[test]
fn the_crate_graph_in_words_matches_the_manifests() {
    let script = root().join("docs/check-crate-graph");
    assert!(script.is_file(), "{} is not there", script.display());
    let folder = tidings_testkit::folder::Folder::new("graph");
    let ended = Program::new(&script).run(folder.path(), PATIENCE);
    assert!(ended.status.success(), "{}{}", ended.stdout, ended.stderr);
}
