//! Every broken configuration that we can imagine, each a folder of `tests/broken` with the exact messages it must give.

use std::{fs, path::Path};
use tidings_config::{LoadOptions, load_with};

fn env(name: &str) -> Option<String> {
    (name == "TIDINGS_TEST_PASSWORD").then(|| "geheim".to_owned())
}

#[test]
fn every_broken_configuration_gives_its_messages() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/broken");
    // What was really said lands here, for whoever changes a message.
    let actual_root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("broken");
    let mut cases: Vec<_> = fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    cases.sort();
    let mut wrong = Vec::new();
    for case in &cases {
        let name = case.file_name().unwrap().to_str().unwrap();
        // Without a tidings.toml it is an agent's file.
        let file = ["tidings.toml", "appsettings.json"].map(|name| case.join(name)).into_iter().find(|file| file.exists()).unwrap();
        let said = match load_with(&file, &env, LoadOptions { check_folders: true }) {
            Ok(_) => "it loads without a problem\n".to_owned(),
            Err(problems) => format!("{problems}\n").replace(&format!("{}/", case.display()), ""),
        };
        let expected = fs::read_to_string(case.join("expected.txt")).unwrap_or_else(|_| "(there is no expected.txt)\n".to_owned());
        if said != expected {
            fs::create_dir_all(actual_root.join(name)).unwrap();
            fs::write(actual_root.join(name).join("expected.txt"), &said).unwrap();
            wrong.push(format!("--- {name}\nexpected:\n{expected}said:\n{said}"));
        }
    }
    assert!(cases.len() >= 35, "only {} cases", cases.len());
    assert!(
        wrong.is_empty(),
        "{} of {} cases, what was said lies in {}\n{}",
        wrong.len(),
        cases.len(),
        actual_root.display(),
        wrong.join("\n")
    );
}

#[test]
fn a_file_that_is_not_there_is_a_problem_without_a_place() {
    let problems = load_with(Path::new("/nowhere/tidings.toml"), &env, LoadOptions::default()).unwrap_err();
    assert_eq!(problems.to_string(), "/nowhere/tidings.toml: cannot be read: there is no such file");
}
