//! A watched folder.

use crate::house::{House, text_of};
use std::{fs, time::Duration};
use tidings_store::Mirror;

const STAFF: &str = "key,name,mail,Dept\nu1,Ada,ada@example.org,\nu2,Grace,no address,\n";

#[tokio::test]
async fn a_file_is_taken_once_it_is_complete_and_moved_away_with_a_report() {
    let house = House::new().await;
    let mut watch = house.watch();
    let inbox = house.inbox();
    fs::write(inbox.join("staff.csv.part"), STAFF).unwrap();
    fs::write(inbox.join("staff.csv"), &STAFF[..20]).unwrap();
    assert!(watch.look().await.unwrap().is_empty(), "a file that was not there before may still be written");
    fs::write(inbox.join("staff.csv"), STAFF).unwrap();
    assert!(watch.look().await.unwrap().is_empty(), "it has grown since");
    let reports = watch.look().await.unwrap();
    assert_eq!(reports.len(), 1);
    assert_eq!(house.keys().await, ["u1"]);
    assert!(!inbox.join("staff.csv").exists() && inbox.join("staff.csv.part").exists());
    assert_eq!(text_of(&inbox.join("done/staff.csv")), STAFF);
    let report = text_of(&inbox.join("done/staff.csv.report.txt"));
    assert!(report.starts_with("staff.csv (full file): taken: 2 rows, 1 row that cannot be read; 1 objects changed"), "{report}");
    assert!(report.contains("staff.csv:3: mail: `no address` is not a mail address"), "{report}");
}

#[tokio::test]
async fn a_refused_file_lies_apart_is_told_once_and_so_is_its_end() {
    let house = House::new().await;
    let inbox = house.inbox();
    fs::write(inbox.join("staff.csv"), "id,Dept\n1,\n").unwrap();
    let running = tokio::spawn(house.watch().run());
    until(|| inbox.join("failed/staff.csv.report.txt").exists() && !inbox.join("staff.csv").exists()).await;
    until_async(async || Mirror::directory(&*house.store, "hr").await.unwrap().failed_at.is_some()).await;
    assert_eq!(house.told().await, ["connector.failed hr"]);
    // It is watched: what is half written must not be seen.
    fs::write(inbox.join("staff.csv.part"), STAFF).unwrap();
    fs::rename(inbox.join("staff.csv.part"), inbox.join("staff.csv")).unwrap();
    until_async(async || Mirror::directory(&*house.store, "hr").await.unwrap().failed_at.is_none()).await;
    assert_eq!(house.told().await, ["connector.failed hr", "connector.recovered hr"]);
    running.abort();
}

#[tokio::test]
async fn full_and_delta_files_are_taken_in_the_order_in_which_they_were_written() {
    let house = House::new().await;
    let inbox = house.inbox();
    let written = |name: &str, text: &str, age: u64| {
        fs::write(inbox.join(name), text).unwrap();
        let file = fs::File::options().write(true).open(inbox.join(name)).unwrap();
        file.set_modified(file.metadata().unwrap().modified().unwrap() - Duration::from_secs(age)).unwrap();
    };
    written("b.delta.csv", "key,change,name\nu1,modify,Ada L.\n", 10);
    written("z.csv", "key,name,mail,Dept\nu1,Ada,ada@example.org,\n", 20);
    written("a.delta.csv", "key,change\nu1,delete\n", 5);
    let mut watch = house.watch();
    watch.look().await.unwrap();
    let names: Vec<String> = watch.look().await.unwrap().into_iter().map(|report| report.file).collect();
    assert_eq!(names, ["z.csv", "b.delta.csv", "a.delta.csv"]);
    assert_eq!(house.told().await, ["object.changed u1", "object.deleted u1"]);
    // The same name again does not write over what lies there.
    written("z.csv", "key,name,mail,Dept\nu1,Ada,ada@example.org,\n", 0);
    watch.look().await.unwrap();
    watch.look().await.unwrap();
    assert!(inbox.join("done/2-z.csv").exists() && inbox.join("done/2-z.csv.report.txt").exists());
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_a_failure_of_the_source() {
    let mut house = House::new().await;
    house.plan.folder = Some(house.inbox().join("nowhere"));
    let running = tokio::spawn(house.watch().run());
    until_async(async || Mirror::directory(&*house.store, "hr").await.unwrap().failure.is_some()).await;
    let failure = Mirror::directory(&*house.store, "hr").await.unwrap().failure.unwrap();
    assert!(failure.contains("nowhere") && failure.contains("No such file"), "{failure}");
    running.abort();
}

async fn until(mut holds: impl FnMut() -> bool) {
    until_async(async || holds()).await;
}

async fn until_async(mut holds: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while !holds().await {
        assert!(tokio::time::Instant::now() < deadline, "waited in vain");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
