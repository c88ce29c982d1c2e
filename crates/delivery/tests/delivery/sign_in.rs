//! The choice of a mechanism and its end, against scripted relays: what real ones never do wrong at the same time.

use crate::{
    scripts::server,
    sessions::{Batch, deliver, short_end},
};
use tidings_delivery::{
    Secret,
    courier::SessionEnd,
    plan::{AuthMechanism, AuthPlan, SmtpPlan},
};

const LETTER: &str = "C: MAIL\nS: 250 ok\nC: RCPT\nS: 250 ok\nC: DATA\nS: 354 go\nC: .\nS: 250 2.0.0 taken\nC: QUIT\nS: 221 bye\n";

fn hello(mechanisms: &str) -> String {
    format!("S: 220 hello\nC: EHLO\nS: 250-relay\nS: 250 AUTH {mechanisms}\n")
}

fn with_password(plan: SmtpPlan, mechanism: AuthMechanism) -> SmtpPlan {
    let auth = AuthPlan::new("ada", Secret::new("s3cret"), &plan.host, plan.port, plan.tls).allow_cleartext(true);
    SmtpPlan { auth: Some(auth.mechanism(mechanism)), ..plan }
}

/// Plays a script to one session; its end, and what the relay heard of AUTH.
async fn play(script: String, mechanism: AuthMechanism) -> (SessionEnd, Vec<String>) {
    let (plan, playing) = server(vec![script]).await;
    let end = deliver(with_password(plan, mechanism), &mut Batch::letters(1)).await;
    let heard = playing.await.unwrap().remove(0);
    (end, heard.into_iter().filter(|line| line.starts_with("AUTH") || line == "*").map(|line| short(&line)).collect())
}

/// `AUTH PLAIN …` without what follows.
fn short(line: &str) -> String {
    line.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn a_mechanism_that_is_not_there_after_all_gives_way_to_the_next() {
    for refusal in ["504 5.5.4 Unrecognized authentication type", "534 5.7.9 mechanism is too weak", "538 5.7.11 encryption required"] {
        let hello = hello("LOGIN PLAIN CRAM-MD5 SCRAM-SHA-256");
        let script = format!(
            "{hello}C: AUTH SCRAM-SHA-256\nS: {refusal}\nC: AUTH CRAM-MD5\nS: {refusal}\nC: AUTH PLAIN\nS: 235 2.7.0 welcome\n{LETTER}"
        );
        let (end, heard) = play(script, AuthMechanism::Auto).await;
        assert_eq!((end, heard), (SessionEnd::Done, ["AUTH SCRAM-SHA-256", "AUTH CRAM-MD5", "AUTH PLAIN"].map(str::to_owned).to_vec()));
    }
}

#[tokio::test]
async fn a_refused_password_is_tried_by_no_other_mechanism() {
    for (refusal, wanted) in
        [("535 5.7.8 wrong", "auth auth"), ("454 4.7.0 not now", "busy auth"), ("550 5.7.30 no basic authentication", "auth auth")]
    {
        let script = [hello("PLAIN LOGIN").as_str(), "C: AUTH PLAIN\n", &format!("S: {refusal}\nSTAY")].concat();
        let (end, heard) = play(script, AuthMechanism::Auto).await;
        assert_eq!((short_end(&end).as_str(), heard.len()), (wanted, 1), "{heard:?}");
    }
}

#[tokio::test]
async fn a_chosen_mechanism_is_the_only_one() {
    let script = [hello("PLAIN LOGIN CRAM-MD5").as_str(), "C: AUTH CRAM-MD5\nS: 504 5.5.4 not known\nSTAY"].concat();
    let (end, heard) = play(script, AuthMechanism::CramMd5).await;
    assert_eq!((short_end(&end).as_str(), heard), ("auth auth", vec!["AUTH CRAM-MD5".to_owned()]));
}

#[tokio::test]
async fn a_relay_that_lets_in_without_proving_itself_gets_no_letter() {
    for (script, words) in [
        ("C: AUTH SCRAM-SHA-1\nS: 235 2.7.0 come in\nSTAY", "did not prove that it knows the password"),
        ("C: AUTH SCRAM-SHA-1\nS: 334 cj14LHM9UVNYQyxpPTQwOTY=\nSTAY", "belongs to another sign-in"),
        ("C: AUTH SCRAM-SHA-1\nS: 334 %%%\nSTAY", "not base64"),
        ("C: AUTH SCRAM-SHA-1\nS: 334 \nSTAY", "no SCRAM challenge"),
        ("C: AUTH SCRAM-SHA-1\nS: 250 what\nSTAY", "unexpected answer to AUTH"),
    ] {
        let (plan, playing) = server(vec![[hello("SCRAM-SHA-1").as_str(), script].concat()]).await;
        let mut batch = Batch::letters(1);
        let end = deliver(with_password(plan, AuthMechanism::Auto), &mut batch).await;
        assert!(format!("{end:?}").contains(words), "{end:?} does not say {words}");
        assert_eq!(batch.loads.len(), 1, "no letter was taken");
        let heard = playing.await.unwrap().remove(0);
        assert!(!heard.iter().any(|line| line.starts_with("MAIL")), "{heard:?}");
    }
}

#[tokio::test]
async fn a_relay_that_never_stops_asking_is_left() {
    let challenges = "S: 334 VXNlcm5hbWU6\nC: \n".repeat(20);
    let script = [hello("LOGIN").as_str(), "C: AUTH LOGIN\n", &challenges].concat();
    let (end, heard) = play(script, AuthMechanism::Auto).await;
    assert_eq!((short_end(&end).as_str(), heard), ("protocol auth", vec!["AUTH LOGIN".to_owned(), "*".to_owned()]));
}
