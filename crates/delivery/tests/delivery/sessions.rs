//! One session at a time: a source of loads that keeps the outcomes.

use async_trait::async_trait;
use std::{collections::VecDeque, net::SocketAddr, time::Duration};
use tidings_core::{
    Address, Id,
    guard::{EnvironmentGuard, Mode, Verdict},
    outbox::{Outcome, Refusal, Role},
};
use tidings_delivery::{
    courier::{Courier as _, Load, SessionEnd, Source},
    plan::{Limits, SmtpPlan, Timeouts, TlsMode},
    smtp::SmtpCourier,
};

pub(crate) fn load(number: i64, to: &str, text: &str) -> Load {
    let guard = EnvironmentGuard::new(Mode::Live, None, None, vec![]);
    let Verdict::Send(to) = guard.admit(&Address::parse(to).unwrap(), Role::To) else { panic!("a live guard sends") };
    let sender = Some(Address::parse("house@example.org").unwrap());
    let bytes = format!("Message-ID: <{number}@house>\r\nSubject: {number}\r\n\r\n{text}\r\n");
    Load::new(Id::from_number(number), to, sender, bytes.into_bytes().into(), format!("{number}@house"))
}

#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) loads: VecDeque<Load>,
    pub(crate) outcomes: Vec<(i64, Outcome)>,
    pub(crate) opened: bool,
}

impl Batch {
    pub(crate) fn of(loads: impl IntoIterator<Item = Load>) -> Self {
        Self { loads: loads.into_iter().collect(), ..Self::default() }
    }

    pub(crate) fn letters(count: i64) -> Self {
        Self::of((1..=count).map(|n| load(n, &format!("reader{n}@example.org"), "hello")))
    }

    /// In short, in the order of the letters: `sent`, `transient rcpt`, `unknown` …
    pub(crate) fn short(&self) -> Vec<String> {
        let mut outcomes = self.outcomes.clone();
        outcomes.sort_by_key(|(number, _)| *number);
        outcomes.into_iter().map(|(_, outcome)| short(&outcome)).collect()
    }
}

pub(crate) fn short(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Sent { .. } => "sent".to_owned(),
        Outcome::Refused(Refusal::Transient { stage, .. }) => format!("transient {stage}"),
        Outcome::Refused(Refusal::Permanent { stage, .. }) => format!("permanent {stage}"),
        Outcome::Unknown { .. } => "unknown".to_owned(),
        Outcome::Returned { .. } => "returned".to_owned(),
        Outcome::Withheld { .. } => "withheld".to_owned(),
        Outcome::Barred { .. } => "barred".to_owned(),
    }
}

/// `done`, `limit` or `kind stage` of the trouble.
pub(crate) fn short_end(end: &SessionEnd) -> String {
    match end {
        SessionEnd::Done => "done".to_owned(),
        SessionEnd::Limit => "limit".to_owned(),
        SessionEnd::Trouble(trouble) => format!("{} {}", trouble.kind.as_str(), trouble.stage),
    }
}

#[async_trait]
impl Source for Batch {
    fn try_next(&mut self) -> Option<Load> {
        self.loads.pop_front()
    }

    async fn next(&mut self) -> Option<Load> {
        self.loads.pop_front()
    }

    fn report(&mut self, item: Id, outcome: Outcome) {
        let number = item.number();
        assert!(!self.outcomes.iter().any(|(other, _)| *other == number), "letter {number} was reported twice");
        self.outcomes.push((number, outcome));
    }

    fn opened(&mut self) {
        self.opened = true;
    }
}

pub(crate) fn plan(addr: SocketAddr) -> SmtpPlan {
    SmtpPlan { tls: TlsMode::None, helo: "house.example.org".to_owned(), ..SmtpPlan::new(addr.ip().to_string(), addr.port()) }
}

pub(crate) fn short_timeouts() -> Timeouts {
    Timeouts { connect: Duration::from_secs(5), command: Duration::from_secs(5), final_dot: Duration::from_secs(5) }
}

pub(crate) async fn run(courier: &SmtpCourier, batch: &mut Batch) -> SessionEnd {
    let end = tokio::time::timeout(Duration::from_secs(20), courier.session(batch)).await.expect("the session ends by itself");
    let taken = batch.outcomes.len();
    assert!(taken > 0 || !batch.loads.is_empty() || batch.opened, "nothing happened at all");
    end
}

pub(crate) async fn deliver(plan: SmtpPlan, batch: &mut Batch) -> SessionEnd {
    run(&SmtpCourier::new(plan, Limits::default(), short_timeouts()), batch).await
}
