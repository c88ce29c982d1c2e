//! Pickup directories and files.

use crate::sessions::{Batch, short_end};
use std::{fs, sync::Arc, time::Duration};
use tidings_core::{Clock, testing::FixedClock};
use tidings_delivery::{courier::Courier as _, file::FileCourier, pickup::PickupCourier, plan::PickupPlan};

#[tokio::test]
async fn a_reader_of_the_folder_never_sees_half_a_letter() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    let watching = std::thread::spawn(move || {
        let deadline = std::time::Instant::now() + Duration::from_secs(240);
        let mut seen = std::collections::HashSet::new();
        while seen.len() < 200 && std::time::Instant::now() < deadline {
            for entry in fs::read_dir(&path).unwrap() {
                let entry = entry.unwrap();
                let name = entry.file_name().into_string().unwrap();
                let extension = entry.path().extension().map(|e| e.to_string_lossy().into_owned()).unwrap_or_default();
                assert!(extension != "tmp", "a name that mail servers use themselves: {name}");
                if extension == "eml" && seen.insert(name.clone()) {
                    let text = fs::read_to_string(entry.path()).unwrap();
                    assert!(text.starts_with("X-Sender: house@example.org\r\nX-Receiver: reader"), "{text}");
                    assert!(text.ends_with("hello\r\n"), "half a letter: {text}");
                }
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        seen.len()
    });
    let mut batch = Batch::letters(200);
    let end = PickupCourier::new(PickupPlan::new(folder.path())).session(&mut batch).await;
    assert_eq!(short_end(&end), "done");
    assert_eq!(batch.short(), vec!["sent"; 200]);
    assert_eq!(tokio::task::spawn_blocking(move || watching.join().unwrap()).await.unwrap(), 200);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 200, "something was left behind");
}

#[tokio::test]
async fn a_second_attempt_hands_nothing_over_twice() {
    let folder = tempfile::tempdir().unwrap();
    let courier = PickupCourier::new(PickupPlan::new(folder.path()));
    courier.session(&mut Batch::letters(3)).await;
    let mut again = Batch::letters(3);
    courier.session(&mut again).await;
    assert_eq!(again.short(), ["sent", "sent", "sent"]);
    assert!(again.outcomes.iter().all(|(_, outcome)| format!("{outcome:?}").contains("earlier attempt")), "{:?}", again.outcomes);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
}

#[tokio::test]
async fn a_folder_that_is_not_there_holds_the_relay_and_no_letter() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("Pickup");
    fs::write(folder.path().join("file"), "").unwrap();
    for (path, words) in [(missing, "does not exist"), (folder.path().join("file"), "a file stands where")] {
        let mut batch = Batch::letters(2);
        let end = PickupCourier::new(PickupPlan::new(path)).session(&mut batch).await;
        assert_eq!((short_end(&end).as_str(), batch.loads.len()), ("folder write", 2));
        assert!(format!("{end:?}").contains(words), "{end:?}");
    }
}

#[tokio::test]
async fn a_full_disk_is_trouble_of_the_folder() {
    // /dev/full answers every write with "no space left on device".
    let clock: Arc<dyn Clock> = Arc::new(FixedClock::at("2026-11-21T09:00:00Z"));
    let mut batch = Batch::letters(1);
    let end = FileCourier::new("/dev/full".into(), clock).session(&mut batch).await;
    assert_eq!((short_end(&end).as_str(), batch.short().join("").as_str()), ("folder write", "returned"));
    assert!(format!("{end:?}").contains("the disk is full"), "{end:?}");
}

#[tokio::test]
async fn the_file_courier_appends_letters_that_an_mbox_reader_can_part() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mail.mbox");
    let clock: Arc<dyn Clock> = Arc::new(FixedClock::at("2026-11-21T09:00:00Z"));
    let courier = FileCourier::new(path.clone(), clock);
    let mut batch = Batch::of([
        crate::sessions::load(1, "ada@example.org", "From here on\r\n>From there"),
        crate::sessions::load(2, "bob@example.org", "two"),
    ]);
    courier.session(&mut batch).await;
    courier.session(&mut Batch::letters(1)).await;
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text.matches("\nFrom ").count() + 1, 3, "{text}");
    assert!(
        text.starts_with("From house@example.org Sat Nov 21 09:00:00 2026\nX-Envelope-To: ada@example.org\nMessage-ID: <1@house>\n"),
        "{text}"
    );
    assert!(text.contains("\n>From here on\n>>From there\n"), "{text}");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}
