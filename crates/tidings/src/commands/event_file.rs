//! Reads CloudEvents from a file or standard input: one JSON object, a JSON array, or one object a line.

use crate::exit::Misuse;
use anyhow::{Context, Result};
use serde_json::Value;
use std::{io::Read, path::Path};

/// The events of a file; `-` is standard input.
///
/// # Errors
/// [`Misuse`] with file, line and column if it is not JSON.
pub fn read(path: &Path) -> Result<Vec<Value>> {
    let (name, bytes) = if path == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin().lock().read_to_end(&mut bytes).context("reading standard input")?;
        ("standard input".to_owned(), bytes)
    } else {
        (path.display().to_string(), std::fs::read(path).with_context(|| format!("reading {}", path.display()))?)
    };
    parse(&name, &bytes)
}

fn parse(name: &str, bytes: &[u8]) -> Result<Vec<Value>> {
    let mut events = Vec::new();
    let mut stream = serde_json::Deserializer::from_slice(bytes).into_iter::<Value>();
    loop {
        let at = stream.byte_offset();
        match stream.next() {
            None => break,
            Some(Ok(Value::Array(list))) => events.extend(list),
            Some(Ok(one)) => events.push(one),
            Some(Err(error)) => {
                // The parser counts from the start of each value of the stream on; the place in the file is what helps.
                let before = &bytes[..at];
                let line = before.split(|b| *b == b'\n').count() - 1;
                let (line, column) =
                    if line > 0 && error.line() == 1 { (line + 1, error.column()) } else { (error.line(), error.column()) };
                return Err(Misuse(format!("{name}:{line}:{column}: not JSON: {error}")).into());
            }
        }
    }
    if events.is_empty() {
        return Err(Misuse(format!("{name}: holds no events")).into());
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_an_array_and_lines_are_read() {
        assert_eq!(parse("x", b"{\"a\":1}").unwrap().len(), 1);
        assert_eq!(parse("x", b"[{\"a\":1},{\"a\":2}]").unwrap().len(), 2);
        assert_eq!(parse("x", b"{\"a\":1}\n{\"a\":2}\n\n{\"a\":3}\n").unwrap().len(), 3);
    }

    #[test]
    fn what_is_not_json_is_named_with_its_place() {
        let error = parse("events.json", b"{\"a\":1}\n{\"a\":}\n").unwrap_err().to_string();
        assert!(error.starts_with("events.json:2:"), "{error}");
        assert_eq!(parse("events.json", b"  ").unwrap_err().to_string(), "events.json: holds no events");
    }
}
