//! What is generated or drawn from the code is still what the code says.

mod house;

use std::path::{Path, PathBuf};

use tidings_testkit::folder::Folder;
use tidings_testkit::process::Program;

use house::PATIENCE;

fn script(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace is there").join(name);
    assert!(path.is_file(), "{} is not there", path.display());
    path
}

#[track_caller]
fn assert_right(program: Program) {
    let folder = Folder::new("docs");
    let ended = program.run(folder.path(), PATIENCE);
    assert!(ended.status.success(), "{}{}", ended.stdout, ended.stderr);
}

#[test]
fn the_generated_texts_are_fresh() {
    assert_right(Program::new(script("docs/generate")).args(["--check"]).env("TIDINGS_BIN", env!("CARGO_BIN_EXE_tidings")));
}

#[test]
fn the_crate_graph_in_words_matches_the_manifests() {
    assert_right(Program::new(script("docs/check-crate-graph")));
}
