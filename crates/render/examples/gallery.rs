//! Writes every letter of every kind and language into a folder, with a page that shows them all:
//! `cargo run -p tidings-render --example gallery -- FOLDER [TEMPLATES]`.

use std::{error::Error, fmt::Write as _, fs, path::PathBuf};
use tidings_core::kind::KINDS;
use tidings_render::{Organisation, Size, Stationery, StationeryOptions};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let folder = arguments.next().ok_or("usage: gallery FOLDER [TEMPLATES]")?;
    let organisation =
        Organisation { name: "Example & Sons".into(), website: Some("https://www.example.org".into()), ..Organisation::default() };
    let stationery = Stationery::load(StationeryOptions { organisation, templates: arguments.next(), ..StationeryOptions::default() })
        .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))?;
    fs::create_dir_all(&folder)?;
    let mut page = String::from("<!doctype html><meta charset=utf-8><meta name=color-scheme content='light dark'><title>Letters</title>\n");
    for kind in KINDS {
        writeln!(page, "<h2>{}</h2>", kind.name)?;
        for (locale, size) in stationery.locales().iter().flat_map(|l| [(l, Size::Full), (l, Size::Minimal)]) {
            let written = stationery.preview(kind, locale, size)?;
            let name = format!("{}.{locale}.{}", kind.name, if size == Size::Full { "full" } else { "minimal" });
            fs::write(folder.join(format!("{name}.html")), &written.html)?;
            fs::write(folder.join(format!("{name}.txt")), format!("{}\n\n{}", written.subject, written.text))?;
            fs::write(folder.join(format!("{name}.eml")), &written.bytes)?;
            writeln!(page, "<iframe src='{name}.html' title='{name}' width=640 height=760></iframe>")?;
        }
    }
    fs::write(folder.join("index.html"), page)?;
    println!("{}", folder.join("index.html").display());
    Ok(())
}
