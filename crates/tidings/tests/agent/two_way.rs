//! Two-way: the server posts whom a link is for, the agent makes it, and of all who press the button one is handed over.

use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tidings_testkit::browser::{Scheme, dump_dom, screenshot};
use tidings_testkit::http::{self, Reply};
use tidings_testkit::wait;

use crate::house::events::{event, person};
use crate::house::mail::{Mail, judged};
use crate::house::{PATIENCE, sql};
use crate::small_house::{Agent, PAGE, PARAMETER};

/// Asks for a link for this person.
fn link_for(id: &str, to: &str, locale: &str) -> Value {
    event(id, "password.reset_link", json!({"object": person(to, locale), "details": {"account": "ada"}}))
}

/// The link in the letter to this address.
#[track_caller]
fn link_in(mail: &Mail, agent: &Agent, to: &str) -> String {
    let text = judged(&mail.letter_to(to)).text.expect("a text");
    let begin = format!("{}{PAGE}?{PARAMETER}=", agent.url);
    text.split_whitespace().find(|word| word.starts_with(&begin)).unwrap_or_else(|| panic!("no link in {text}")).to_owned()
}

fn part(token: &str, at: usize) -> Value {
    let part = token.split('.').nth(at).expect("a part");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64url")).expect("JSON")
}

/// The token of a link, as it was before it was brought into the link's form.
fn token_of(link: &str) -> String {
    String::from_utf8(URL_SAFE_NO_PAD.decode(link.split_once('=').expect("a parameter").1).expect("base64url")).expect("a text")
}

#[track_caller]
fn code_in(reply: &Reply) -> String {
    assert_eq!(reply.status, 303, "{}", reply.text());
    let location = reply.header("location").expect("a location");
    location.strip_prefix("https://app.nordwind.example/?code=").unwrap_or_else(|| panic!("{location}")).to_owned()
}

fn redeem(agent: &Agent, code: &str) -> Reply {
    let body = json!({"code": code}).to_string();
    http::post(&format!("{}/v1/confirmations", agent.url), Some(&agent.token), "application/json", body.as_bytes()).expect("it answers")
}

#[test]
fn a_link_is_confirmed_once_also_by_two_at_once_and_after_kill_9() {
    let mail = Mail::open();
    let mut agent = Agent::start(mail.addr().port(), |_| {});
    agent.accept(&link_for("1", "ada.king@example.org", "fr"));
    let link = link_in(&mail, &agent, "ada.king@example.org");

    // What the token says, the letter says, and the outbox goes by.
    let token = token_of(&link);
    assert_eq!((part(&token, 0)["alg"].as_str(), part(&token, 0)["typ"].as_str()), (Some("ES256"), Some("reset-link+jwt")));
    let claims = part(&token, 1);
    assert_eq!((claims["sub"].as_str(), claims["iss"].as_str()), (Some("ada.king@example.org"), Some(agent.url.as_str())));
    let (made, end) = (claims["iat"].as_i64().expect("a number"), claims["exp"].as_i64().expect("a number"));
    assert_eq!(end - made, 3 * 3600);
    let item = agent.json(&["outbox", "list", "--to", "ada.king@example.org"])[0].clone();
    let expires: jiff::Timestamp = item["expires_at"].as_str().expect("a text").parse().expect("a moment");
    assert_eq!(expires.as_second(), end);
    let keys = agent.get(&format!("{}/.well-known/jwks.json", agent.url), "en").json();
    assert_eq!(keys["keys"][0]["kid"], part(&token, 0)["kid"]);

    // Looking at it, as programs in mail servers do, uses nothing up.
    for _ in 0..3 {
        let page = agent.get(&link, "de");
        assert_eq!(page.status, 200);
        let text = page.text();
        assert!(text.contains("<html lang=\"fr\">") && text.contains("<form method=\"post\"><button"), "the letter's language: {text}");
        assert!(!text.contains(&token) && !text.contains(link.split_once('=').expect("a parameter").1), "nothing is repeated");
        assert!(!text.contains("<script") && !text.contains("http"), "{text}");
        let policy = page.header("content-security-policy").expect("a policy").to_owned();
        assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
        assert!(policy.contains("form-action 'self' https://app.nordwind.example;"), "{policy}");
        assert_eq!((page.header("referrer-policy"), page.header("cache-control")), (Some("no-referrer"), Some("no-store")));
    }

    // Many press at once: one wins.
    let replies: Vec<Reply> = thread::scope(|scope| {
        let pressing: Vec<_> = (0..8).map(|_| scope.spawn(|| agent.press(&link))).collect();
        pressing.into_iter().map(|one| one.join().expect("it answers")).collect()
    });
    let (won, lost): (Vec<_>, Vec<_>) = replies.into_iter().partition(|reply| reply.status == 303);
    assert_eq!((won.len(), lost.iter().filter(|reply| reply.status == 410).count()), (1, 7));
    assert!(lost[0].text().contains("déjà"), "{}", lost[0].text());
    agent.kill9();

    agent.serve();
    assert_eq!((agent.get(&link, "en").status, agent.press(&link).status), (410, 410), "it is remembered");
    let code = code_in(&won[0]);
    assert_eq!(part(&code, 0)["typ"], "reset-code+jwt");
    let claims = part(&code, 1);
    assert_eq!((claims["sub"].as_str(), claims["aud"].as_str()), (Some("ada.king@example.org"), Some("https://app.nordwind.example/")));
    assert_eq!(claims["exp"].as_i64().expect("a number") - claims["iat"].as_i64().expect("a number"), 60);

    // The application redeems the code, once; a link is no code, and nobody redeems without a token.
    let nobody = http::post(&format!("{}/v1/confirmations", agent.url), None, "application/json", b"{}").expect("it answers");
    assert_eq!((nobody.status, redeem(&agent, &token).status, redeem(&agent, "x").status), (401, 400, 400));
    let redeemed = redeem(&agent, &code);
    assert_eq!(redeemed.status, 200, "{}", redeemed.text());
    assert_eq!((&redeemed.json()["subject"], &redeemed.json()["jti"]), (&json!("ada.king@example.org"), &claims["jti"]));
    assert_eq!(redeem(&agent, &code).status, 410);

    assert!(agent.terminate().success());
    for secret in [&token, &code, link.split_once('=').expect("a parameter").1] {
        assert!(!agent.log().contains(secret), "the log holds {secret}");
    }
    let database = agent.path("tidings-agent-data/tidings.db");
    assert_eq!(sql(&database, "SELECT count(*) FROM event_secret").trim(), "0", "what is sent is erased");
    let said = sql(&database, "SELECT group_concat(data) FROM event");
    assert!(said.contains("***") && !said.contains(PARAMETER), "{said}");
}

#[test]
fn a_link_that_was_changed_in_any_place_leads_nowhere_and_the_right_one_still_works() {
    let mail = Mail::open();
    let agent = Agent::start(mail.addr().port(), |_| {});
    agent.accept(&link_for("1", "ada.king@example.org", "en"));
    let link = link_in(&mail, &agent, "ada.king@example.org");
    let (begin, token) = link.split_once('=').expect("a parameter");
    let mut seen = [0_u32; 2];
    for at in 0..token.len() {
        let mut forged = token.as_bytes().to_vec();
        forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
        let reply = agent.press(&format!("{begin}={}", String::from_utf8(forged).expect("letters")));
        match reply.status {
            400 => seen[0] += 1,
            429 => seen[1] += 1,
            other => panic!("a token changed at {at} is answered with {other}"),
        }
    }
    assert!(seen[0] >= 20 && seen[1] > 0, "after so many guesses in a minute nobody says why: {seen:?}");
    let stranger = Agent::start(mail.addr().port(), |_| {});
    stranger.accept(&link_for("1", "grace@example.org", "en"));
    let foreign = link_in(&mail, &stranger, "grace@example.org").replace(&stranger.url, &agent.url);
    assert!([400, 429].contains(&agent.press(&foreign).status));
    for garbage in ["", "x", "%00", "a=b", &"x".repeat(10_000), "%3Cscript%3Ealert(1)%3C/script%3E"] {
        let page = stranger.get(&format!("{}{PAGE}?{PARAMETER}={garbage}", stranger.url), "de-CH, en;q=0.5");
        assert_eq!(page.status, 400, "{garbage}");
        assert!(page.text().contains("Dieser Link ist nicht gültig") && !page.text().contains("alert"), "{}", page.text());
    }
    assert_eq!(stranger.press(&format!("{}{PAGE}", stranger.url)).status, 400);
    let twice = agent.press(&format!("{link}&{PARAMETER}={token}"));
    assert!([400, 429].contains(&twice.status), "given twice it is nobody's link");
    assert_eq!(agent.get(&link, "en").status, 200, "nobody is locked out by others' guesses");
    assert_eq!(agent.press(&link).status, 303);
}

#[test]
fn a_link_ends_when_its_letter_says() {
    let mail = Mail::open();
    let agent = Agent::start(mail.addr().port(), |settings| {
        settings["PasswordResetSettings"]["TokenBuildingSettings"] = json!({"ValidFor": "00:00:20"});
        settings["Tidings"]["HandOverUri"] = json!("https://elsewhere.nordwind.example/go?x=1");
    });
    agent.accept(&link_for("1", "ada.king@example.org", "en"));
    agent.accept(&link_for("2", "grace.hopper@example.org", "en"));
    let (one, other) = (link_in(&mail, &agent, "ada.king@example.org"), link_in(&mail, &agent, "grace.hopper@example.org"));
    let handed = agent.press(&other);
    assert!(handed.header("location").is_some_and(|to| to.starts_with("https://elsewhere.nordwind.example/go?x=1&code=")), "{handed:?}");
    let end = part(&token_of(&one), 1)["exp"].as_i64().expect("a number");
    let page = wait::until("the link to end", PATIENCE, || Some(agent.get(&one, "en")).filter(|page| page.status != 200));
    assert!(jiff::Timestamp::now().as_second() >= end);
    assert_eq!(page.status, 410);
    assert!(page.text().contains("This link has expired"), "{}", page.text());
    assert_eq!(agent.press(&one).status, 410);
    assert!(agent.press(&one).header("location").is_none());
}

#[test]
fn what_the_server_must_not_say_about_a_link_is_refused_and_a_repeated_event_makes_no_second_letter() {
    let mail = Mail::open();
    let agent = Agent::start(mail.addr().port(), |_| {});
    let mut given = link_for("1", "ada.king@example.org", "en");
    given["data"]["details"] = json!({"link": "https://evil.example.org/", "expires_at": "2026-12-01T00:00:00Z"});
    given["data"]["object"].as_object_mut().expect("an object").remove("id");
    let refused = agent.post(&given);
    assert_eq!(refused.status, 422);
    let pointers: Vec<String> = refused.json()["errors"]
        .as_array()
        .expect("errors")
        .iter()
        .map(|one| one["pointer"].as_str().expect("a text").to_owned())
        .collect();
    assert_eq!(pointers, ["/data/details/link", "/data/details/expires_at", "/data/object/id"]);
    for _ in 0..2 {
        agent.accept(&link_for("2", "ada.king@example.org", "en"));
    }
    let link = link_in(&mail, &agent, "ada.king@example.org");
    assert_eq!(agent.json(&["outbox", "list"]).as_array().map(Vec::len), Some(1));
    assert_eq!(agent.press(&link).status, 303);
}

#[test]
fn a_new_key_signs_and_the_one_before_still_verifies() {
    let mail = Mail::open();
    let mut agent = Agent::start(mail.addr().port(), |_| {});
    agent.accept(&link_for("1", "ada.king@example.org", "en"));
    let old = link_in(&mail, &agent, "ada.king@example.org");
    let added = agent.command(&["agent", "--add-key"]);
    assert!(added.status.success() && added.stdout.contains("link-keys/0002.pem"), "{} {}", added.stdout, added.stderr);
    assert!(agent.terminate().success());
    agent.serve();
    agent.accept(&link_for("2", "grace.hopper@example.org", "en"));
    let new = link_in(&mail, &agent, "grace.hopper@example.org");
    let key = |link: &str| part(&token_of(link), 0)["kid"].as_str().expect("a text").to_owned();
    assert_ne!(key(&old), key(&new));
    let keys = agent.get(&format!("{}/.well-known/jwks.json", agent.url), "en").json();
    let names: Vec<&str> = keys["keys"].as_array().expect("keys").iter().filter_map(|one| one["kid"].as_str()).collect();
    assert_eq!(names, [key(&new), key(&old)]);
    assert_eq!((agent.press(&old).status, agent.press(&new).status), (303, 303));
}

#[test]
fn a_letter_waits_through_an_outage_and_kill_9() {
    let mail = Mail::open();
    let mut agent = Agent::start(mail.addr().port(), |settings| {
        settings["PasswordResetSettings"]["TokenBuildingSettings"] = json!({"ValidFor": "00:10:00"});
    });
    mail.close();
    agent.accept(&link_for("1", "ada.king@example.org", "en"));
    agent.kill9();
    agent.serve();
    let state = agent.json(&["outbox", "list"])[0]["state"].clone();
    assert!(state == "waiting" || state == "claimed", "{state}");
    mail.reopen();
    let link = link_in(&mail, &agent, "ada.king@example.org");
    assert_eq!(agent.press(&link).status, 303);
    assert_eq!(mail.count(), 1);
}

#[test]
fn a_reader_sees_the_page_in_a_browser() {
    let mail = Mail::open();
    let agent = Agent::start(mail.addr().port(), |settings| {
        settings["Tidings"]["Organisation"]["Colour"] = json!("#1f6f8b");
    });
    agent.accept(&link_for("1", "ada.king@example.org", "de"));
    let link = link_in(&mail, &agent, "ada.king@example.org");
    let pictures = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("agent");
    std::fs::create_dir_all(&pictures).expect("our own folder");
    for (scheme, name) in [(Scheme::Light, "light"), (Scheme::Dark, "dark")] {
        let picture = screenshot(&link, &pictures.join(format!("confirm.{name}.png")), (800, 600), scheme);
        assert_eq!((picture.width, picture.height), (800, 600));
    }
    let page = dump_dom(&link);
    assert!(page.contains("Neues Passwort wählen") && page.contains("<button type=\"submit\">Weiter</button>"), "{page}");
    // A browser has been there several times, and the link is as good as new.
    assert_eq!(agent.press(&link).status, 303);
}
