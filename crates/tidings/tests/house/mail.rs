//! The mail sink with a runtime of its own, so that synchronous tests can hold it.

use std::io;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use tidings_sink::{Received, Sink, SinkOptions};
use tidings_testkit::judge::{Verdict, judge_bytes};
use tokio::runtime::Runtime;

use super::PATIENCE;

/// A mail sink on a port of its own. What is not here is [`Sink`]'s.
pub(crate) struct Mail {
    sink: Sink,
    runtime: Runtime,
}

impl Mail {
    /// A sink with every extension, without TLS and users.
    pub(crate) fn open() -> Self {
        Self::open_with(SinkOptions::default())
    }

    /// A sink with these options.
    pub(crate) fn open_with(options: SinkOptions) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime can be made");
        let entered = runtime.enter();
        let sink = Sink::listen("127.0.0.1:0".parse().expect("an address"), options).expect("a loopback port is free");
        drop(entered);
        Self { sink, runtime }
    }

    /// Plays an outage: the port is closed and every session cut where it stands.
    pub(crate) fn close(&self) {
        self.runtime.block_on(self.sink.close());
    }

    /// Ends the outage.
    pub(crate) fn reopen(&self) {
        let _entered = self.runtime.enter();
        self.sink.reopen().expect("its port was kept");
    }

    /// Changes what the sink announces and allows, for sessions from now on.
    pub(crate) fn reconfigure(&self, options: SinkOptions) -> io::Result<()> {
        self.sink.reconfigure(options)
    }

    /// Waits until so many letters have come since the sink was opened; those kept.
    #[track_caller]
    pub(crate) fn wait_for(&self, letters: u64) -> Vec<Arc<Received>> {
        self.wait_for_within(letters, PATIENCE)
    }

    /// Likewise, with this much patience.
    #[track_caller]
    pub(crate) fn wait_for_within(&self, letters: u64, patience: Duration) -> Vec<Arc<Received>> {
        match self.runtime.block_on(self.sink.wait_for(letters, patience)) {
            Ok(letters) => letters,
            Err(late) => panic!("{letters} letters were to come: {late}"),
        }
    }

    /// Waits for a letter to this address; the first one.
    #[track_caller]
    pub(crate) fn letter_to(&self, address: &str) -> Arc<Received> {
        let there = |letters: &[Arc<Received>]| letters.iter().any(|letter| letter.to.iter().any(|to| to.eq_ignore_ascii_case(address)));
        if let Err(late) = self.runtime.block_on(self.sink.wait_until(there, PATIENCE)) {
            panic!("a letter to {address} was to come: {late}");
        }
        self.sink.letters_to(address).remove(0)
    }
}

impl Deref for Mail {
    type Target = Sink;

    fn deref(&self) -> &Sink {
        &self.sink
    }
}

/// The independent judge's word on a letter, which must be without fault.
#[track_caller]
pub(crate) fn judged(letter: &Received) -> Verdict {
    let verdict = judge_bytes(&letter.bytes);
    verdict.assert_clean();
    verdict
}

/// The Message-ID without its angle brackets.
#[track_caller]
pub(crate) fn message_id(letter: &Received) -> String {
    letter.header("Message-ID").expect("every letter has a Message-ID").trim_matches(['<', '>']).to_owned()
}
