//! The first load of a directory from slapd by content synchronisation, by the running server: from its start to the word that the directory is loaded.

use crate::{
    bench::Bench,
    child,
    company::Company,
    finding::{Bound, Finding},
    server::{House, Setup},
    slapd::Slapd,
    stats::{counted, mebibytes, real},
};
use anyhow::{Result, ensure};
use std::time::{Duration, Instant};

/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(45 * 60);
/// The most memory the server may have taken, in MiB.
const AIM_MIB: f64 = 300.0;

/// Fills slapd, has the server read it once, and measures.
///
/// # Errors
/// If slapd cannot be filled, or not every entry arrives.
pub(crate) async fn measure(bench: &Bench) -> Result<Finding> {
    let scale = &bench.scale;
    let company = Company { people: scale.people, groups: scale.groups, memberships: scale.memberships };
    let sizes = [company.people, company.groups, company.memberships].map(counted);
    let mut finding =
        Finding::new("first_load", format!("first load of {} people, {} groups, {} memberships", sizes[0], sizes[1], sizes[2]));
    let filling = Instant::now();
    let slapd = Slapd::start(&company, bench.work()).await?;
    eprintln!(
        "first load: slapd filled in {:.0} s, {:.1} GiB",
        filling.elapsed().as_secs_f64(),
        real(slapd.data_bytes()) / f64::from(1 << 30)
    );
    let house = House::new(bench, Setup::smtp(bench, child::free_address()?).with(directory(&slapd, ""))).await?;
    let start = Instant::now();
    let server = house.serve().await?;
    let before = server.state()?;
    let mut shown = Instant::now();
    loop {
        let books = server.books().await?;
        if books.loaded {
            ensure!(
                (books.objects - real(company.objects())).abs() < 0.5,
                "{} objects are mirrored, not {}",
                books.objects,
                company.objects()
            );
            break;
        }
        ensure!(start.elapsed() < PATIENCE, "{} objects after {PATIENCE:?}", books.objects);
        if shown.elapsed() > Duration::from_secs(15) {
            eprintln!("first load: {:.0} objects after {:.0} s", books.objects, start.elapsed().as_secs_f64());
            shown = Instant::now();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let (taken, after) = (start.elapsed(), server.state()?);
    server.stop().await?;
    let reading = after.since(&before, company.objects());
    finding.add("seconds", [taken.as_secs_f64()], None);
    finding.add("objects a second", [real(company.objects()) / taken.as_secs_f64()], None);
    finding.add("memberships a second", [real(company.memberships) / taken.as_secs_f64()], None);
    finding.add("CPU of the server, µs an object", reading.cpu_us, None);
    finding.add("written bytes an object", reading.written_bytes, None);
    finding.add("stored bytes an object", [real(house.data_bytes()) / real(company.objects())], None);
    finding.add("peak memory, MiB", [mebibytes(after.process.peak_bytes)], Some(Bound::AtMost(AIM_MIB)));
    slapd.stop().await?;
    Ok(finding)
}

/// The section of a directory that is read from this slapd.
pub(super) fn directory(slapd: &Slapd, more: &str) -> String {
    let base = crate::company::SUFFIX;
    format!("\n[[directory]]\nname = \"corp\"\nsource = \"ldap\"\nurl = \"{}\"\nbase = \"{base}\"\nway = \"sync\"\n{more}", slapd.url())
}
