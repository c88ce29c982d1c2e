//! Headless Chromium: pictures of pages in light and dark, and their document after loading.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::folder::Folder;
use crate::process::{Ended, Program, installed};

/// Time for one page.
const PATIENCE: Duration = Duration::from_secs(90);

/// Which colours the reader prefers (`prefers-color-scheme`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Dark letters on light ground.
    Light,
    /// Light letters on dark ground.
    Dark,
}

/// A picture of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// The PNG file.
    pub path: PathBuf,
    /// Its width in pixels.
    pub width: u32,
    /// Its height in pixels.
    pub height: u32,
}

/// Takes a picture of `page`, a URL or the path of an HTML file, into the PNG file `to`, in a window of this size.
///
/// # Panics
/// If Chromium is not installed, does not end within 90 seconds, or leaves no picture.
pub fn screenshot(page: &str, to: &Path, (width, height): (u32, u32), scheme: Scheme) -> Picture {
    let to = std::path::absolute(to).expect("a path can be made absolute");
    // Chromium's numbers of PreferredColorScheme: 0 dark, 1 light.
    let scheme = match scheme {
        Scheme::Dark => 0,
        Scheme::Light => 1,
    };
    let ended = chromium(&[
        format!("--screenshot={}", to.display()),
        format!("--window-size={width},{height}"),
        format!("--blink-settings=preferredColorScheme={scheme}"),
        "--hide-scrollbars".to_owned(),
        "--force-device-scale-factor=1".to_owned(),
        url(page),
    ]);
    let bytes = fs::read(&to).unwrap_or_else(|error| panic!("no picture of {page} ({error}); Chromium said: {}", ended.stderr));
    let (width, height) = png_size(&bytes).unwrap_or_else(|| panic!("{} is no PNG", to.display()));
    Picture { path: to, width, height }
}

/// The document of `page`, a URL or the path of an HTML file, as it stands after loading and running its scripts.
///
/// # Panics
/// As [`screenshot`].
pub fn dump_dom(page: &str) -> String {
    chromium(&["--dump-dom".to_owned(), url(page)]).stdout
}

fn chromium(arguments: &[String]) -> Ended {
    let folder = Folder::new("browser");
    let common = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--no-default-browser-check",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--disable-extensions",
    ];
    let ended = Program::new(installed("chromium", "chromium"))
        .args(common)
        .args([format!("--user-data-dir={}", folder.join("profile").display())])
        .args(arguments)
        .env("HOME", folder.path())
        .run(folder.path(), PATIENCE);
    assert!(ended.status.success(), "Chromium ended with {}: {}", ended.status, ended.stderr);
    ended
}

fn url(page: &str) -> String {
    if page.contains("://") || page.starts_with("data:") || page == "about:blank" {
        return page.to_owned();
    }
    let path = std::path::absolute(page).expect("a path can be made absolute");
    assert!(path.is_file(), "there is no page {}", path.display());
    let text = path.display().to_string();
    let escaped: String = text
        .bytes()
        .map(|b| match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b'~' => char::from(b).to_string(),
            _ => format!("%{b:02X}"),
        })
        .collect();
    format!("file://{escaped}")
}

/// Width and height from the first chunk of a PNG file.
fn png_size(bytes: &[u8]) -> Option<(u32, u32)> {
    let head = bytes.strip_prefix(b"\x89PNG\r\n\x1a\n")?;
    let number = |at: usize| head.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes);
    (head.get(4..8)? == b"IHDR").then(|| Some((number(8)?, number(12)?)))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_stands_in_the_first_chunk() {
        let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR".to_vec();
        png.extend_from_slice(&[0, 0, 3, 32, 0, 0, 2, 88]);
        assert_eq!(png_size(&png), Some((800, 600)));
        assert_eq!(png_size(&png[..20]), None);
        assert_eq!(png_size(b"GIF89a"), None);
    }
}
