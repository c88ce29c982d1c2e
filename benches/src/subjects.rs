//! What is measured, a subject each.

pub(crate) mod accept;
pub(crate) mod backlog;
pub(crate) mod change;
pub(crate) mod crowd;
pub(crate) mod deciding;
pub(crate) mod deliver;
pub(crate) mod distance;
pub(crate) mod first_load;
pub(crate) mod memory;
pub(crate) mod nodes;
pub(crate) mod on_postgres;
pub(crate) mod peers;
pub(crate) mod pickup;
pub(crate) mod session;
pub(crate) mod urgent;
pub(crate) mod vacuum;

use crate::{
    args::Group,
    bench::Bench,
    events::Story,
    load::Manner,
    rounds::Reading,
    server::LetterSize::{Pictured, Usual},
};
use anyhow::Result;
use std::time::Duration;

/// The longest wait for a sink to have everything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);

/// What a flush takes longer on the disk that stands for a common one.
const SLOW_FLUSH: Duration = Duration::from_millis(2);

/// How events with large letters are posted: one a request, from 16 clients.
const LARGE: Manner = Manner { clients: 16, batch: 1, story: Story::Joined };

/// A subject of the rounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    /// Accepting, one event a request.
    AcceptSingle,
    /// Accepting, batches of 100.
    AcceptBatches,
    /// From the event to `smtp-sink`, one event a request.
    EndToEndSingle,
    /// The same with slow flushes.
    SlowSingle,
    /// From the event to `smtp-sink`, batches of 100.
    EndToEndBatches,
    /// The same with slow flushes.
    SlowBatches,
    /// From the event to the counting sink, batches of 100.
    EndToEndCounted,
    /// From a filled outbox to `smtp-sink`.
    Drain,
    /// Letters of 100 KB, most of it a picture that all share.
    LargePicture,
    /// Letters of 100 KB, most of it text of their own.
    LargeText,
    /// One session to a distant relay, by DATA.
    DistanceData,
    /// One session to a distant relay that offers CHUNKING.
    DistanceChunking,
    /// One session of small letters.
    Session,
    /// Urgent letters while others wait.
    Urgent,
    /// Into the pickup directory.
    Pickup,
    /// The bare loop beside it.
    PickupBare,
    /// Postfix as a durable relay.
    Postfix,
    /// Nothing durable.
    Source,
}

/// All subjects in the order of a round: what is compared stands together.
pub(crate) const SUBJECTS: [Subject; 18] = [
    Subject::AcceptSingle,
    Subject::AcceptBatches,
    Subject::EndToEndSingle,
    Subject::SlowSingle,
    Subject::EndToEndBatches,
    Subject::SlowBatches,
    Subject::EndToEndCounted,
    Subject::Drain,
    Subject::LargePicture,
    Subject::LargeText,
    Subject::DistanceData,
    Subject::DistanceChunking,
    Subject::Session,
    Subject::Urgent,
    Subject::Pickup,
    Subject::PickupBare,
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
            Self::SlowSingle => "slow_flush_single",
            Self::EndToEndBatches => "end_to_end_batches",
            Self::SlowBatches => "slow_flush_batches",
            Self::EndToEndCounted => "end_to_end_counted",
            Self::Drain => "drain",
            Self::LargePicture => "large_picture",
            Self::LargeText => "large_text",
            Self::DistanceData => "distance_data",
            Self::DistanceChunking => "distance_chunking",
            Self::Session => "session",
            Self::Urgent => "urgent",
            Self::Pickup => "pickup",
            Self::PickupBare => "pickup_bare",
            Self::Postfix => "postfix",
            Self::Source => "source",
        }
    }

    /// The name in the table.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::AcceptSingle => "accept, one event a request",
            Self::AcceptBatches => "accept, batches of 100",
            Self::EndToEndSingle => "event to smtp-sink, one event a request",
            Self::SlowSingle => "event to smtp-sink, slow flushes, one event a request",
            Self::EndToEndBatches => "event to smtp-sink, batches of 100",
            Self::SlowBatches => "event to smtp-sink, slow flushes, batches of 100",
            Self::EndToEndCounted => "event to counting sink, batches of 100",
            Self::Drain => "filled outbox to smtp-sink",
            Self::LargePicture => "100 KB letters, a picture inside",
            Self::LargeText => "100 KB letters, text of their own",
            Self::DistanceData => "50 ms away, one session, DATA",
            Self::DistanceChunking => "50 ms away, one session, CHUNKING offered",
            Self::Session => "1 KB letters, one session",
            Self::Urgent => "urgent letters while others wait",
            Self::Pickup => "filled outbox to pickup directory, 4 writers",
            Self::PickupBare => "bare loop into a folder, 4 threads",
            Self::Postfix => "smtp-source to Postfix to smtp-sink",
            Self::Source => "smtp-source to smtp-sink",
        }
    }

    /// The groups that measure it.
    pub(crate) const fn groups(self) -> &'static [Group] {
        match self {
            Self::AcceptSingle | Self::AcceptBatches => &[Group::Accept],
            Self::EndToEndSingle | Self::EndToEndBatches => &[Group::Deliver, Group::Flush],
            Self::EndToEndCounted | Self::Drain => &[Group::Deliver],
            Self::SlowSingle | Self::SlowBatches => &[Group::Flush],
            Self::LargePicture | Self::LargeText => &[Group::Large],
            Self::DistanceData | Self::DistanceChunking => &[Group::Distance],
            Self::Session => &[Group::Session],
            Self::Urgent => &[Group::Urgent],
            Self::Pickup | Self::PickupBare => &[Group::Pickup],
            Self::Postfix => &[Group::Postfix],
            Self::Source => &[Group::Source],
        }
    }

    /// Whether its rate says something beside those of Postfix and its tools: the usual letter, loopback, as fast as it goes.
    pub(crate) const fn is_compared(self) -> bool {
        !matches!(
            self,
            Self::LargePicture
                | Self::LargeText
                | Self::DistanceData
                | Self::DistanceChunking
                | Self::Session
                | Self::Urgent
                | Self::Pickup
                | Self::PickupBare
        )
    }

    /// Measures it once.
    ///
    /// # Errors
    /// If it cannot be measured, or letters are lost.
    pub(crate) async fn measure(self, bench: &Bench) -> Result<Reading> {
        let (letters, large) = (bench.scale.letters, bench.scale.large_letters);
        match self {
            Self::AcceptSingle => accept::measure(bench, Manner::SINGLE).await,
            Self::AcceptBatches => accept::measure(bench, Manner::BATCHES).await,
            Self::EndToEndSingle => deliver::end_to_end(bench, Manner::SINGLE, Duration::ZERO).await,
            Self::SlowSingle => deliver::end_to_end(bench, Manner::SINGLE, SLOW_FLUSH).await,
            Self::EndToEndBatches => deliver::end_to_end(bench, Manner::BATCHES, Duration::ZERO).await,
            Self::SlowBatches => deliver::end_to_end(bench, Manner::BATCHES, SLOW_FLUSH).await,
            Self::EndToEndCounted => Ok(deliver::counted(bench, letters, Manner::BATCHES, Usual).await?.0),
            Self::Drain => deliver::drain(bench).await,
            Self::LargePicture => Ok(deliver::counted(bench, large, LARGE, Pictured).await?.0),
            Self::LargeText => Ok(deliver::counted(bench, large, LARGE.telling(Story::Long), Usual).await?.0),
            Self::DistanceData => distance::measure(bench, false).await,
            Self::DistanceChunking => distance::measure(bench, true).await,
            Self::Session => session::measure(bench).await,
            Self::Urgent => urgent::measure(bench).await,
            Self::Pickup => pickup::measure(bench).await,
            Self::PickupBare => pickup::bare(bench).await,
            Self::Postfix => peers::postfix(bench).await,
            Self::Source => peers::source(bench).await,
        }
    }
}
