//! What is measured, a subject each.

pub(crate) mod accept;
pub(crate) mod deliver;
pub(crate) mod memory;
pub(crate) mod peers;

use crate::{args::Group, bench::Bench, load::Manner, rounds::Reading};
use anyhow::Result;
use std::time::Duration;

/// The longest wait for a sink to have everything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);

/// A subject of the rounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    /// Accepting, one event a request.
    AcceptSingle,
    /// Accepting, batches of 100.
    AcceptBatches,
    /// From the event to `smtp-sink`, one event a request.
    EndToEndSingle,
    /// From the event to `smtp-sink`, batches of 100.
    EndToEndBatches,
    /// From the event to the counting sink, batches of 100.
    EndToEndCounted,
    /// From a filled outbox to `smtp-sink`.
    Drain,
    /// Postfix as a durable relay.
    Postfix,
    /// Nothing durable.
    Source,
}

/// All subjects in the order of a round.
pub(crate) const SUBJECTS: [Subject; 8] = [
    Subject::AcceptSingle,
    Subject::AcceptBatches,
    Subject::EndToEndSingle,
    Subject::EndToEndBatches,
    Subject::EndToEndCounted,
    Subject::Drain,
    Subject::Postfix,
    Subject::Source,
];

impl Subject {
    /// The name in JSON.
    pub(crate) const fn key(self) -> &'static str {
        match self {
            Self::AcceptSingle => "accept_single",
            Self::AcceptBatches => "accept_batches",
            Self::EndToEndSingle => "end_to_end_single",
            Self::EndToEndBatches => "end_to_end_batches",
            Self::EndToEndCounted => "end_to_end_counted",
            Self::Drain => "drain",
            Self::Postfix => "postfix",
            Self::Source => "source",
        }
    }

    /// The name in the table.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::AcceptSingle => "accept: 64 clients, one event a request",
            Self::AcceptBatches => "accept: 8 clients, batches of 100",
            Self::EndToEndSingle => "event to smtp-sink: 64 clients, one event a request",
            Self::EndToEndBatches => "event to smtp-sink: 8 clients, batches of 100",
            Self::EndToEndCounted => "event to counting sink: 8 clients, batches of 100",
            Self::Drain => "filled outbox to smtp-sink",
            Self::Postfix => "smtp-source to Postfix to smtp-sink",
            Self::Source => "smtp-source to smtp-sink, nothing durable",
        }
    }

    /// The group it belongs to.
    pub(crate) const fn group(self) -> Group {
        match self {
            Self::AcceptSingle | Self::AcceptBatches => Group::Accept,
            Self::EndToEndSingle | Self::EndToEndBatches | Self::EndToEndCounted | Self::Drain => Group::Deliver,
            Self::Postfix => Group::Postfix,
            Self::Source => Group::Source,
        }
    }

    /// Measures it once.
    ///
    /// # Errors
    /// If it cannot be measured, or letters are lost.
    pub(crate) async fn measure(self, bench: &Bench) -> Result<Reading> {
        match self {
            Self::AcceptSingle => accept::measure(bench, Manner::SINGLE).await,
            Self::AcceptBatches => accept::measure(bench, Manner::BATCHES).await,
            Self::EndToEndSingle => deliver::end_to_end(bench, Manner::SINGLE).await,
            Self::EndToEndBatches => deliver::end_to_end(bench, Manner::BATCHES).await,
            Self::EndToEndCounted => deliver::counted(bench, bench.scale.letters).await.map(|(reading, _)| reading),
            Self::Drain => deliver::drain(bench).await,
            Self::Postfix => peers::postfix(bench).await,
            Self::Source => peers::source(bench).await,
        }
    }
}
