//! Reports without a part for programs: what mail servers write for people, as far as its form is known.

use crate::{
    classify::Enhanced,
    dsn::{MOST_RECIPIENTS, bare},
    feedback::from_words,
    mime::Mail,
    report::{Form, Reported, one_line},
};
use tidings_core::bounce::Class;

/// What a text says.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) form: Form,
    pub(crate) reporter: Option<String>,
    pub(crate) recipients: Vec<Reported>,
}

/// Lines of a text that are looked at.
const MOST_LINES: usize = 2000;

/// Reads a text by the form it has; `None` if it is no report.
pub(crate) fn told(mail: &Mail<'_>, words: &str) -> Option<Told> {
    let lines: Vec<&str> = words.lines().take(MOST_LINES).map(str::trim_end).collect();
    let told = qmail(&lines).or_else(|| exim(mail, &lines)).or_else(|| exchange(&lines)).or_else(|| exchange_2000(&lines));
    told.or_else(|| unknown(mail, &lines)).filter(|told| !told.recipients.is_empty())
}

/// QSBMF (D. J. Bernstein, "The qmail-send bounce message format"): a first paragraph that begins `Hi. This is the`, then one for each recipient: `<address>:` and
/// the reason, until the one that begins with a hyphen.
fn qmail(lines: &[&str]) -> Option<Told> {
    let begin = lines.iter().position(|line| !line.is_empty())?;
    let first = lines[begin];
    if !first.starts_with("Hi. This is the") {
        return None;
    }
    let reporter = first.rsplit_once(" at ").map(|(_, host)| host.trim_end_matches(['.', ':']).to_owned());
    let mut recipients = Vec::new();
    let mut paragraph: Option<(String, String)> = None;
    let paragraphs = lines[begin + 1..].iter().skip_while(|line| !line.is_empty());
    for line in paragraphs {
        if line.starts_with('-') {
            break;
        }
        match &mut paragraph {
            Some((address, reason)) if line.is_empty() => {
                recipients.push(from_words(address, reason));
                paragraph = None;
            }
            Some((_, reason)) => {
                reason.push(' ');
                reason.push_str(line);
            }
            None => {
                if let Some((address, reason)) = line.strip_prefix('<').and_then(|rest| rest.rsplit_once(">:")) {
                    paragraph = Some((address.to_owned(), reason.to_owned()));
                }
            }
        }
        if recipients.len() >= MOST_RECIPIENTS {
            break;
        }
    }
    recipients.extend(paragraph.map(|(address, reason)| from_words(&address, &reason)));
    Some(Told { form: Form::Qmail, reporter, recipients })
}

/// Exim (its `bounce_message_file` as shipped): addresses indented by two, what was said below them by four; a warning of delay has the addresses alone.
fn exim(mail: &Mail<'_>, lines: &[&str]) -> Option<Told> {
    let all = lines.iter().take(30).copied().collect::<Vec<_>>().join(" ");
    let ours = all.contains("This message was created automatically by mail delivery software")
        || (mail.fields.has("x-failed-recipients") && all.contains("could not be delivered"));
    if !ours {
        return None;
    }
    let late = all.contains("has not been delivered to one or more") || mail.subject.starts_with("Warning: message");
    let mut recipients: Vec<Reported> = Vec::new();
    let mut last: Option<(String, String)> = None;
    for line in lines {
        if line.starts_with("------") || line.starts_with("No action is required") {
            break;
        }
        let indent = line.len() - line.trim_start().len();
        let text = line.trim();
        if indent == 2 && looks_like_address(text.split_whitespace().next().unwrap_or_default()) {
            recipients.extend(last.take().map(|(address, reason)| from_words(&address, &reason)));
            last = Some((text.split_whitespace().next().unwrap_or_default().to_owned(), String::new()));
        } else if indent >= 4
            && let Some((_, reason)) = &mut last
        {
            reason.push(' ');
            reason.push_str(text);
        }
        if recipients.len() >= MOST_RECIPIENTS {
            break;
        }
    }
    recipients.extend(last.map(|(address, reason)| from_words(&address, &reason)));
    if recipients.is_empty() {
        let failed = mail.fields.all("x-failed-recipients").flat_map(|value| value.split(','));
        recipients
            .extend(failed.map(bare).filter(|address| address.contains('@')).take(MOST_RECIPIENTS).map(|address| from_words(&address, "")));
    }
    if late {
        for recipient in &mut recipients {
            recipient.class = Class::Delayed;
        }
    }
    Some(Told { form: Form::Exim, reporter: None, recipients })
}

/// Exchange since 2007 and Exchange Online: "Diagnostic information for administrators" with the generating server, then for each recipient the address on a line of
/// its own and what was said: `#550 5.1.1 RESOLVER.ADR.RecipNotFound; not found ##` or `Remote Server returned '550 …'`.
fn exchange(lines: &[&str]) -> Option<Told> {
    let begin = lines.iter().position(|line| {
        let line = line.trim();
        line.starts_with("Diagnostic information for administrators") || line.starts_with("Diagnoseinformationen für Administratoren")
    })?;
    let lines = &lines[begin + 1..];
    let reporter = lines.iter().find_map(|line| line.trim().split_once(": ").filter(|(name, _)| name.to_lowercase().contains("server")));
    let reporter = reporter.map(|(_, host)| host.trim().to_owned());
    let mut recipients = Vec::new();
    let mut last: Option<(String, String)> = None;
    for line in lines.iter().map(|line| line.trim()) {
        if line.starts_with("Original message headers") || line.starts_with("Ursprüngliche Nachrichtenkopfzeilen") {
            break;
        }
        if looks_like_address(line) {
            recipients.extend(last.take().map(|(address, reason)| from_words(&address, &reason)));
            last = Some((line.to_owned(), String::new()));
        } else if let Some((_, reason)) = &mut last {
            reason.push(' ');
            reason.push_str(line.trim_start_matches('#').trim_end_matches('#'));
        }
        if recipients.len() >= MOST_RECIPIENTS {
            break;
        }
    }
    recipients.extend(last.map(|(address, reason)| from_words(&address, &reason)));
    Some(Told { form: Form::Exchange, reporter, recipients })
}

/// Exchange before 2007: "The following recipient(s) could not be reached:", `address on date`, the reason, and `<host #5.1.1>`.
fn exchange_2000(lines: &[&str]) -> Option<Told> {
    let begin = lines.iter().position(|line| {
        let line = line.trim();
        line.starts_with("The following recipient(s) could not be reached")
            || line.starts_with("The following recipient(s) cannot be reached")
    })?;
    let (mut recipients, mut reporter) = (Vec::new(), None);
    let mut last: Option<(String, String)> = None;
    for line in lines[begin + 1..].iter().map(|line| line.trim()) {
        let first = line.split_whitespace().next().unwrap_or_default();
        if looks_like_address(first) && line.contains(" on ") {
            recipients.extend(last.take().map(|(address, reason)| from_words(&address, &reason)));
            last = Some((first.to_owned(), String::new()));
        } else if let Some((_, reason)) = &mut last {
            if let Some((host, _)) = line.strip_prefix('<').and_then(|rest| rest.split_once(" #")) {
                reporter.get_or_insert_with(|| one_line(host));
            }
            reason.push(' ');
            reason.push_str(line);
        }
        if recipients.len() >= MOST_RECIPIENTS {
            break;
        }
    }
    recipients.extend(last.map(|(address, reason)| from_words(&address, &reason)));
    Some(Told { form: Form::Exchange, reporter, recipients })
}

/// Who writes when a mail server writes.
const DAEMONS: &[&str] = &["mailer-daemon", "postmaster", "mail delivery", "mailerdaemon", "microsoftexchange"];

/// How subjects of other reports begin.
const SUBJECTS: &[&str] = &[
    "undeliverable",
    "undelivered mail",
    "delivery status notification",
    "mail delivery failed",
    "mail delivery failure",
    "delivery failure",
    "failure notice",
    "returned mail",
    "unzustellbar",
    "non remis",
    "message undeliverable",
];

/// A text of no known form: taken for a report only if a mail server wrote it under such a subject, or if its header names failed recipients. An address is one
/// that stands near a code or a word for failure.
fn unknown(mail: &Mail<'_>, lines: &[&str]) -> Option<Told> {
    let (from, subject) = (mail.fields.get("from").unwrap_or_default().to_lowercase(), mail.subject.trim().to_lowercase());
    let by_daemon =
        DAEMONS.iter().any(|name| from.contains(name)) || mail.fields.get("return-path").is_some_and(|path| path.trim() == "<>");
    let named: Vec<String> = mail
        .fields
        .all("x-failed-recipients")
        .flat_map(|value| value.split(','))
        .map(bare)
        .filter(|name| name.contains('@'))
        .take(MOST_RECIPIENTS)
        .collect();
    if named.is_empty() && !(by_daemon && SUBJECTS.iter().any(|words| subject.starts_with(words))) {
        return None;
    }
    let body: Vec<&str> = lines.iter().copied().take_while(|line| !line.to_lowercase().contains("original message")).take(200).collect();
    if !named.is_empty() {
        let words = body.join(" ");
        let recipients = named.iter().map(|name| from_words(name, &words)).collect();
        return Some(Told { form: Form::Text, reporter: None, recipients });
    }
    let mut recipients: Vec<Reported> = Vec::new();
    for (place, line) in body.iter().enumerate() {
        let address =
            line.split(|c: char| c.is_whitespace() || matches!(c, '<' | '>' | '(' | ')' | ',' | ';' | '"' | '\'')).find_map(|word| {
                let word = word.trim_end_matches([':', '.']);
                looks_like_address(word).then(|| word.to_owned())
            });
        let Some(address) = address else { continue };
        let near = body[place..body.len().min(place + 6)].join(" ");
        let about =
            Enhanced::find(&near).is_some() || from_words(&address, &near).class == Class::Hard || near.to_lowercase().contains("fail");
        let known = recipients.iter().any(|one| one.names.contains(&address));
        if about && !known && recipients.len() < MOST_RECIPIENTS {
            recipients.push(from_words(&address, &near));
        }
    }
    Some(Told { form: Form::Text, reporter: None, recipients })
}

fn looks_like_address(word: &str) -> bool {
    let word = word.trim_matches(['<', '>']);
    word.len() <= 320
        && word.split_once('@').is_some_and(|(local, domain)| {
            !local.is_empty()
                && domain.contains('.')
                && !domain.contains('@')
                && !word.contains(char::is_whitespace)
                && !domain.ends_with('.')
        })
}
