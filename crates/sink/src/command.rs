//! Command lines parsed (RFC 5321 §4.1), strictly: a client that is sloppy here is told.

use crate::reply::Reply;

/// One parameter of MAIL or RCPT (RFC 5321 §4.1.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// The keyword in upper case.
    pub keyword: String,
    /// What stands after the `=`.
    pub value: Option<String>,
}

/// A command, well formed by itself. Whether it comes at the right time is for the session to say.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Hello { name: String, extended: bool },
    Mail { path: String, parameters: Vec<Parameter> },
    Rcpt { path: String, parameters: Vec<Parameter> },
    Data,
    Bdat { size: u64, last: bool },
    StartTls,
    Auth { mechanism: String, initial: Option<String> },
    Rset,
    Noop,
    Vrfy,
    Help,
    Quit,
}

/// Parses a line without its CRLF.
///
/// # Errors
/// The reply that says what is wrong.
pub(crate) fn parse(line: &str) -> Result<Command, Reply> {
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    let rest = rest.trim_end_matches(' ');
    let bare = |command: Command| if rest.is_empty() { Ok(command) } else { Err(Reply::bad_argument("no argument allowed here")) };
    match verb.to_ascii_uppercase().as_str() {
        "EHLO" => hello(rest, true),
        "HELO" => hello(rest, false),
        "MAIL" => {
            let (path, parameters) = path_and_parameters(rest, "FROM:")?;
            if !path.is_empty() {
                mailbox(&path)?;
            }
            Ok(Command::Mail { path, parameters })
        }
        "RCPT" => {
            let (path, parameters) = path_and_parameters(rest, "TO:")?;
            if !path.eq_ignore_ascii_case("postmaster") {
                mailbox(&path)?;
            }
            Ok(Command::Rcpt { path, parameters })
        }
        "DATA" => bare(Command::Data),
        "BDAT" => bdat(rest),
        "STARTTLS" => bare(Command::StartTls),
        "AUTH" => auth(rest),
        "RSET" => bare(Command::Rset),
        "QUIT" => bare(Command::Quit),
        "NOOP" => Ok(Command::Noop),
        "HELP" => Ok(Command::Help),
        "VRFY" if !rest.is_empty() => Ok(Command::Vrfy),
        "VRFY" => Err(Reply::bad_argument("whom?")),
        "EXPN" => Err(Reply::new(502, "5.5.1", "not implemented")),
        _ => Err(Reply::new(500, "5.5.2", "unknown command")),
    }
}

fn hello(name: &str, extended: bool) -> Result<Command, Reply> {
    if name.is_empty() || name.contains(' ') {
        return Err(Reply::bad_argument("one host name or address literal, please"));
    }
    Ok(Command::Hello { name: name.to_owned(), extended })
}

fn bdat(rest: &str) -> Result<Command, Reply> {
    let (size, last) = match rest.split_once(' ') {
        None => (rest, false),
        Some((size, last)) if last.eq_ignore_ascii_case("LAST") => (size, true),
        Some(_) => return Err(Reply::bad_argument("BDAT size [LAST]")),
    };
    if size.is_empty() || !size.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Reply::bad_argument("BDAT size [LAST]"));
    }
    Ok(Command::Bdat { size: size.parse().map_err(|_| Reply::bad_argument("that is no size"))?, last })
}

fn auth(rest: &str) -> Result<Command, Reply> {
    let mut words = rest.split(' ');
    match (words.next(), words.next(), words.next()) {
        (Some(mechanism), initial, None) if !mechanism.is_empty() => {
            Ok(Command::Auth { mechanism: mechanism.to_ascii_uppercase(), initial: initial.map(str::to_owned) })
        }
        _ => Err(Reply::bad_argument("AUTH mechanism [initial response]")),
    }
}

fn path_and_parameters(rest: &str, keyword: &str) -> Result<(String, Vec<Parameter>), Reply> {
    let wrong = || Reply::new(501, "5.5.2", format!("{keyword}<address> [parameters]"));
    let after = match rest.get(..keyword.len()) {
        Some(start) if start.eq_ignore_ascii_case(keyword) => &rest[keyword.len()..],
        _ => return Err(wrong()),
    };
    let inside = after.strip_prefix('<').ok_or_else(wrong)?;
    let end = end_of_path(inside).ok_or_else(wrong)?;
    let (path, tail) = (&inside[..end], &inside[end + 1..]);
    if !tail.is_empty() && !tail.starts_with(' ') {
        return Err(wrong());
    }
    let parameters = tail.split(' ').filter(|word| !word.is_empty()).map(parameter).collect::<Result<_, _>>()?;
    Ok((path.to_owned(), parameters))
}

/// The index of the `>` that closes the path; those inside a quoted local part do not.
fn end_of_path(text: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '>' if !quoted => return Some(at),
            _ => {}
        }
    }
    None
}

fn parameter(word: &str) -> Result<Parameter, Reply> {
    let (keyword, value) = word.split_once('=').map_or((word, None), |(keyword, value)| (keyword, Some(value)));
    let sound = keyword.starts_with(|c: char| c.is_ascii_alphanumeric())
        && keyword.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && value.is_none_or(|v| !v.is_empty() && !v.contains(|c: char| c == '=' || c.is_ascii_control()));
    if !sound {
        return Err(Reply::bad_argument("that is no parameter"));
    }
    Ok(Parameter { keyword: keyword.to_ascii_uppercase(), value: value.map(str::to_owned) })
}

/// A mailbox as RFC 5321 §4.1.2 has it, in outline: parts and their lengths (§4.5.3.1), no control characters, no stray spaces.
fn mailbox(address: &str) -> Result<(), Reply> {
    let wrong = |text: &'static str| Err(Reply::new(501, "5.1.3", text));
    let Some((local, domain)) = address.rsplit_once('@') else {
        return wrong("an address has a local part and a domain");
    };
    let quoted = local.len() >= 2 && local.starts_with('"') && local.ends_with('"');
    let stray = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '<' | '>' | '(' | ')' | ',' | ';' | ':' | '@' | '"' | '\\');
    if local.is_empty() || local.len() > 64 || (!quoted && (local.contains(stray) || local.split('.').any(str::is_empty))) {
        return wrong("bad local part");
    }
    let literal = domain.starts_with('[') && domain.ends_with(']');
    if domain.is_empty() || domain.len() > 255 || (!literal && (domain.contains(stray) || domain.split('.').any(str::is_empty))) {
        return wrong("bad domain");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(line: &str) -> u16 {
        parse(line).expect_err(line).code
    }

    #[test]
    fn mail_and_rcpt_keep_path_and_parameters() {
        let Command::Mail { path, parameters } = parse("mail from:<a@example.org> size=10 Body=8BITMIME SMTPUTF8").expect("good") else {
            panic!("not MAIL")
        };
        assert_eq!(path, "a@example.org");
        let seen: Vec<_> = parameters.iter().map(|p| (p.keyword.as_str(), p.value.as_deref())).collect();
        assert_eq!(seen, [("SIZE", Some("10")), ("BODY", Some("8BITMIME")), ("SMTPUTF8", None)]);
        assert_eq!(parse("MAIL FROM:<>"), Ok(Command::Mail { path: String::new(), parameters: vec![] }));
        assert_eq!(parse("RCPT TO:<Postmaster>"), Ok(Command::Rcpt { path: "Postmaster".into(), parameters: vec![] }));
        let quoted = r#"RCPT TO:<"a>b\" c"@example.org> NOTIFY=NEVER"#;
        assert!(
            matches!(parse(quoted), Ok(Command::Rcpt { path, parameters }) if path == r#""a>b\" c"@example.org"# && parameters.len() == 1)
        );
    }

    #[test]
    fn sloppy_paths_are_refused() {
        for line in [
            "MAIL FROM: <a@example.org>",
            "MAIL FROM:a@example.org",
            "MAIL FROM:<a@example.org",
            "MAIL FROM:<a@example.org>SIZE=1",
            "MAIL FROM:<a b@example.org>",
            "MAIL FROM:<a..b@example.org>",
            "MAIL FROM:<a@>",
            "MAIL FROM:<a@exa mple.org>",
            "MAIL FROM:<a@example.org> =1",
            "MAIL FROM:<a@example.org> SIZE=",
            "MAIL",
            "RCPT TO:<>",
            "RCPT TO:<ada>",
            "RCPT FROM:<a@example.org>",
        ] {
            assert_eq!(code(line), 501, "{line}");
        }
        assert_eq!(code(&format!("RCPT TO:<{}@example.org>", "x".repeat(65))), 501);
    }

    #[test]
    fn other_commands_parse_or_say_why_not() {
        assert_eq!(parse("BDAT 12 last"), Ok(Command::Bdat { size: 12, last: true }));
        assert_eq!(parse("BDAT 0"), Ok(Command::Bdat { size: 0, last: false }));
        assert_eq!(parse("AUTH plain ="), Ok(Command::Auth { mechanism: "PLAIN".into(), initial: Some("=".into()) }));
        assert_eq!(parse("NOOP whatever"), Ok(Command::Noop));
        for (line, expected) in [
            ("BDAT", 501),
            ("BDAT +1", 501),
            ("BDAT 1 FIRST", 501),
            ("AUTH", 501),
            ("DATA now", 501),
            ("EHLO", 501),
            ("EXPN staff", 502),
            ("VRFY", 501),
            ("XYZZY", 500),
            ("", 500),
            ("MAILé", 500),
        ] {
            assert_eq!(code(line), expected, "{line}");
        }
        assert_eq!(code("MAIL FROMé:<a@b>"), 501);
    }
}
