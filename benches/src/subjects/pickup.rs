//! The pickup directory: a filled outbox goes into a folder, a file each, and every file and name is on disk before its letter counts as sent. Beside it, in the same
//! round, threads of the benchmark that do just that with files of the same size.

use super::{
    PATIENCE,
    deliver::{self, SETTLING},
};
use crate::{bench::Bench, folder_watch::FolderWatch, letter, load::Manner, proc, rounds::Reading, server::Setup, stats::real};
use anyhow::{Context, Result, ensure};
use std::{
    fs::{self, File},
    io::Write,
    path::Path,
    thread,
    time::Instant,
};

/// Files written at a time.
const WRITERS: u16 = 4;

/// From the first file under its final name to the last.
///
/// # Errors
/// If a file is missing, or there is one too many.
pub(crate) async fn measure(bench: &Bench) -> Result<Reading> {
    let letters = bench.scale.pickup_letters;
    let drop = tempfile::Builder::new().prefix("pickup-").tempdir_in(bench.work()).context("making a pickup directory")?;
    let setup = Setup::pickup(drop.path().to_owned(), WRITERS);
    let (house, server) = deliver::filled(bench, setup, 0..letters, Manner::BATCHES).await?;
    let mut watch = FolderWatch::on(drop.path(), ".eml")?;
    let before = server.state()?;
    house.resume().await?;
    let start = watch.wait_for(1, PATIENCE).await?;
    let early = watch.files();
    let end = watch.wait_for(letters, PATIENCE).await?;
    server.settled(real(letters), SETTLING).await?;
    let after = server.state()?;
    server.stop().await?;
    let (files, bytes) = contents(drop.path())?;
    ensure!(files == letters, "the pickup directory has {files} files, not {letters}");
    bench.set_file_size(bytes / letters);
    Ok(Reading {
        rate: deliver::rate(letters - early.min(letters), end - start),
        letter_bytes: Some(bytes / letters),
        ..after.since(&before, letters)
    })
}

/// Files and bytes of a folder.
fn contents(folder: &Path) -> Result<(u64, u64)> {
    let (mut files, mut bytes) = (0, 0);
    for entry in fs::read_dir(folder).context("looking into the pickup directory")? {
        files += 1;
        bytes += entry.and_then(|entry| entry.metadata()).context("looking at a file of the pickup directory")?.len();
    }
    Ok((files, bytes))
}

/// The bare loop: each thread writes a file under a name of its own, flushes it, renames it and flushes the folder, one after the other.
///
/// # Errors
/// If a file cannot be written.
pub(crate) async fn bare(bench: &Bench) -> Result<Reading> {
    let (share, size) = (bench.scale.pickup_letters / u64::from(WRITERS), bench.file_size());
    let drop = tempfile::Builder::new().prefix("bare-").tempdir_in(bench.work()).context("making a folder for the bare loop")?;
    let folder = drop.path().to_owned();
    let text = letter::of_size(usize::try_from(size).context("a letter larger than memory")?);
    let before = proc::read(std::process::id())?;
    let taken = tokio::task::spawn_blocking(move || {
        let start = Instant::now();
        thread::scope(|scope| {
            let (folder, text) = (folder.as_path(), text.as_bytes());
            let writers: Vec<_> = (0..WRITERS).map(|writer| scope.spawn(move || write_files(folder, writer, share, text))).collect();
            writers.into_iter().try_for_each(|writer| writer.join().expect("a writer does not panic"))
        })?;
        Ok::<_, anyhow::Error>(start.elapsed())
    })
    .await
    .context("the bare loop broke off")??;
    let (after, files) = (proc::read(std::process::id())?, share * u64::from(WRITERS));
    Ok(Reading {
        rate: deliver::rate(files, taken),
        cpu_us: Some((after.cpu_seconds - before.cpu_seconds) * 1e6 / real(files)),
        written_bytes: Some(real(after.written_bytes - before.written_bytes) / real(files)),
        letter_bytes: Some(size),
        ..Reading::default()
    })
}

fn write_files(folder: &Path, writer: u16, count: u64, text: &[u8]) -> Result<()> {
    let names = File::open(folder).context("opening the folder")?;
    for number in 0..count {
        let (part, name) = (folder.join(format!("{writer}-{number}.part")), folder.join(format!("{writer}-{number}.eml")));
        let mut file = File::create_new(&part).with_context(|| format!("making {}", part.display()))?;
        file.write_all(text).and_then(|()| file.sync_all()).with_context(|| format!("writing {}", part.display()))?;
        fs::rename(&part, &name).with_context(|| format!("renaming {}", part.display()))?;
        names.sync_all().context("flushing the folder")?;
    }
    Ok(())
}
