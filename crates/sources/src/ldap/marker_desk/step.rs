//! One step with one marker: its token, its clearing, or its end, and what is noted of that before and after.

use super::{
    super::{
        control,
        error::{ASSERTION_FAILED, INAPPROPRIATE_MATCHING, LdapError, NO_SUCH_ATTRIBUTE, NO_SUCH_OBJECT, REFERRAL, UNWILLING},
        marker::{self, End, Seen, Verdict},
        message::{Control, Modification},
    },
    Desk, Line, NO_LETTER, NOT_SENT,
};
use std::{sync::atomic::Ordering, time::Duration};
use tidings_core::time::later;
use tidings_intake::IntakeError;
use tidings_store::{Marker, MarkerState, MarkerStep, StoreError};
use tokio::time::Instant;

/// No server lags behind for longer: what it says is the truth then, as after a restored backup.
const LAG: Duration = Duration::from_hours(1);
/// So often an entry that is older than known is put off before it is believed.
const LAG_TRIES: u32 = 8;
/// What is said of a marker whose entry is older than known.
const BEHIND: &str = "the server shows an older state of the entry than was seen before";

/// What came of a change.
enum Changed {
    Made,
    /// The entry is not as it was read.
    Moved,
    /// It was refused, and nothing was changed.
    Refused(LdapError),
}

impl Desk<'_> {
    /// Takes the next step with a marker. Gives whether the entry has to be read again.
    pub(super) async fn drive(&mut self, line: &mut Line, marker: &Marker, others: &[Marker], seen: &Seen) -> Result<bool, LdapError> {
        let indicator = self.plan.indicator.is_some();
        let verdict = marker::judge(marker, seen, indicator);
        let is_due = marker.step.due_at.is_none_or(|at| at <= self.source.feed().now());
        let by_mark = line.asserts && seen.unchanged().is_some();
        let is_behind = marker.step.tries < LAG_TRIES && marker::is_older(seen.mark.as_deref(), marker.step.seen.as_deref());
        match verdict {
            _ if is_behind && verdict != Verdict::Wait => {
                if !line.last {
                    line.elsewhere.insert((marker.key.clone(), marker.step.reference.clone()));
                } else if is_due {
                    self.postpone(marker, marker.step.state, BEHIND.to_owned()).await?;
                }
                Ok(false)
            }
            Verdict::Over(end) => {
                self.end(marker, seen, end).await?;
                Ok(true)
            }
            Verdict::Wait => {
                let is_claimed = indicator && marker.step.state == MarkerState::Noted;
                let is_news = marker.step.reference != seen.dn || marker::is_older(marker.step.seen.as_deref(), seen.mark.as_deref());
                if is_claimed || is_news {
                    let state = if is_claimed { MarkerState::Claimed } else { marker.step.state };
                    self.moved(marker, Self::step_to(marker, state, seen)).await?;
                }
                Ok(false)
            }
            _ if !is_due => Ok(false),
            Verdict::Claim => {
                let changes = marker::claim(self.plan, marker, others, seen, by_mark);
                match self.change(line, seen, &changes).await? {
                    Changed::Made => {
                        self.moved(marker, Self::step_to(marker, MarkerState::Claimed, seen)).await?;
                        Ok(true)
                    }
                    Changed::Moved => Ok(true),
                    Changed::Refused(error) => self.refused(line, marker, marker.step.state, error).await,
                }
            }
            Verdict::Clear | Verdict::Release => self.clear(line, marker, seen, verdict).await,
        }
    }

    /// Clears a marker. That it is tried is on disk before the server hears of it.
    async fn clear(&mut self, line: &mut Line, marker: &Marker, seen: &Seen, verdict: Verdict) -> Result<bool, LdapError> {
        let before = if self.plan.indicator.is_some() { MarkerState::Claimed } else { MarkerState::Noted };
        let is_ours = verdict == Verdict::Clear;
        if is_ours {
            self.moved(marker, Self::step_to(marker, MarkerState::Clearing, seen)).await?;
        }
        let by_value = !self.no_matching.load(Ordering::Relaxed);
        let changes = marker::clear(self.plan, marker, seen, by_value);
        match self.change(line, seen, &changes).await? {
            Changed::Made => {
                self.end(marker, seen, if is_ours { End::Cleared } else { End::Withdrawn }).await?;
                Ok(true)
            }
            Changed::Moved => {
                self.moved(marker, Self::step_to(marker, before, seen)).await?;
                Ok(true)
            }
            Changed::Refused(error) if by_value && error.code() == Some(INAPPROPRIATE_MATCHING) => {
                self.no_matching.store(true, Ordering::Relaxed);
                self.moved(marker, Self::step_to(marker, before, seen)).await?;
                Ok(true)
            }
            Changed::Refused(error) => self.refused(line, marker, before, error).await,
        }
    }

    /// Has the server change an entry, on the state that was read where it can.
    async fn change(&self, line: &mut Line, seen: &Seen, changes: &[Modification]) -> Result<Changed, LdapError> {
        let unchanged = if line.asserts { seen.unchanged() } else { None };
        let controls: Vec<Control> = unchanged.map(control::assertion).into_iter().collect();
        match line.connection.modify(&seen.dn, changes, &controls).await {
            Ok(()) => Ok(Changed::Made),
            Err(error @ LdapError::Refused { .. }) => Ok(match error.code() {
                Some(ASSERTION_FAILED | NO_SUCH_ATTRIBUTE | NO_SUCH_OBJECT) => Changed::Moved,
                _ => Changed::Refused(error),
            }),
            Err(error) => Err(error),
        }
    }

    /// A change was refused: elsewhere, if there is another server, or later.
    async fn refused(&mut self, line: &mut Line, marker: &Marker, state: MarkerState, error: LdapError) -> Result<bool, LdapError> {
        if matches!(error.code(), Some(REFERRAL | UNWILLING)) && !line.last {
            line.elsewhere.insert((marker.key.clone(), marker.step.reference.clone()));
            self.moved(marker, MarkerStep { state, ..marker.step.clone() }).await?;
            return Ok(false);
        }
        self.postpone(marker, state, error.chain()).await?;
        Ok(false)
    }

    /// Leaves a marker for later, and later still each time.
    pub(super) async fn postpone(&mut self, marker: &Marker, state: MarkerState, why: String) -> Result<(), LdapError> {
        let (first, longest) = self.plan.pauses;
        let pause = first.saturating_mul(1 << marker.step.tries.min(16)).min(longest);
        let due_at = Some(later(self.source.feed().now(), pause));
        // The same words of ten thousand markers are one line.
        let is_news = marker.step.failure.as_deref() != Some(&why) && self.said.insert(why.clone());
        if is_news {
            let wait_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
            tracing::warn!(
                directory.name = self.source.directory(),
                object.key = marker.key,
                event.id = %marker.event,
                error = why,
                wait_ms,
                "a marker cannot be changed; its letter is not touched, and it will be tried again"
            );
        }
        let step = MarkerStep { state, tries: marker.step.tries.saturating_add(1), due_at, failure: Some(why), ..marker.step.clone() };
        self.moved(marker, step).await
    }

    fn step_to(marker: &Marker, state: MarkerState, seen: &Seen) -> MarkerStep {
        let failure = marker.step.failure.clone().filter(|said| [NOT_SENT, NO_LETTER].contains(&said.as_str()));
        MarkerStep { state, reference: seen.dn.clone(), seen: seen.mark.clone(), tries: 0, due_at: None, failure }
    }

    pub(super) async fn moved(&self, marker: &Marker, step: MarkerStep) -> Result<(), LdapError> {
        let moved: Result<bool, StoreError> = self.source.feed().mirror().move_marker(marker.event, step).await;
        moved.map_err(IntakeError::from)?;
        Ok(())
    }

    pub(super) async fn end(&mut self, marker: &Marker, seen: &Seen, end: End) -> Result<(), LdapError> {
        let ended: Result<bool, StoreError> = self.source.feed().mirror().end_marker(marker.event).await;
        ended.map_err(IntakeError::from)?;
        let how = match end {
            End::Cleared => "it was cleared, because its letter is sent",
            End::Withdrawn => "it is gone from the directory; its letter goes on",
            End::SetAnew => "it was cleared and set anew, and is another request now",
        };
        tracing::info!(directory.name = self.source.directory(), object.key = marker.key, event.id = %marker.event, how, "a marker is over");
        self.ended.retain(|_, (_, at)| at.elapsed() < LAG);
        // What was set anew is there, and new.
        if end != End::SetAnew {
            self.ended.insert((marker.key.clone(), marker.value.clone()), (seen.mark.clone(), Instant::now()));
        }
        // What was refused and is no longer would be news again.
        if marker.step.tries > 0 {
            self.said.clear();
        }
        Ok(())
    }
}
