//! What is to leave by a connection: commands and contents in order, and how far they have left.
//!
//! Contents stay where they are and are written from there; only commands, and contents that had to be made anew, are copied here.

use std::{collections::VecDeque, io::IoSlice, sync::Arc};

/// Pieces written in one call.
pub(crate) const PIECES: usize = 32;
/// A content up to this size is copied behind its command: cheaper than a piece of its own.
const COPIED: usize = 512;
/// Buffers kept for the next commands, and the largest worth keeping.
const SPARE: (usize, usize) = (4, 16 * 1024);

#[derive(Debug)]
enum Piece {
    Own(Vec<u8>),
    Shared(Arc<[u8]>),
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Own(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

/// A queue of bytes. Positions count octets from the first one ever queued.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    pieces: VecDeque<Piece>,
    /// How much of the first piece has left.
    used: usize,
    queued: u64,
    handed: u64,
    spare: Vec<Vec<u8>>,
}

impl Outgoing {
    /// The position behind everything queued so far.
    pub(crate) fn queued(&self) -> u64 {
        self.queued
    }

    /// The position up to which everything was handed to the connection, which may or may not have carried it.
    pub(crate) fn handed(&self) -> u64 {
        self.handed
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Queues what `write` appends; gives it to look at.
    pub(crate) fn text(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> &[u8] {
        if !matches!(self.pieces.back(), Some(Piece::Own(_))) {
            self.pieces.push_back(Piece::Own(self.spare.pop().unwrap_or_default()));
        }
        let Some(Piece::Own(bytes)) = self.pieces.back_mut() else { unreachable!("the last piece is our own") };
        let before = bytes.len();
        write(bytes);
        self.queued += (bytes.len() - before) as u64;
        &bytes[before..]
    }

    /// Queues bytes without copying them, unless they are few.
    pub(crate) fn shared(&mut self, bytes: &Arc<[u8]>) {
        if bytes.len() <= COPIED {
            self.text(|out| out.extend_from_slice(bytes));
        } else {
            self.queued += bytes.len() as u64;
            self.pieces.push_back(Piece::Shared(Arc::clone(bytes)));
        }
    }

    /// Puts the next pieces into `slices`; says how many.
    pub(crate) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>; PIECES]) -> usize {
        let mut count = 0;
        for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
            let bytes = piece.bytes();
            *slice = IoSlice::new(if count == 0 { &bytes[self.used..] } else { bytes });
            count += 1;
        }
        count
    }

    /// Notes that so many bytes have left.
    pub(crate) fn advance(&mut self, count: usize) {
        self.handed += count as u64;
        self.used += count;
        while let Some(piece) = self.pieces.front()
            && self.used >= piece.bytes().len()
        {
            self.used -= piece.bytes().len();
            if let Some(Piece::Own(mut bytes)) = self.pieces.pop_front()
                && self.spare.len() < SPARE.0
                && bytes.capacity() <= SPARE.1
            {
                bytes.clear();
                self.spare.push(bytes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bytes_leave_in_order_however_they_are_cut(
            parts in prop::collection::vec((any::<bool>(), 0..1500_usize), 1..40),
            steps in prop::collection::vec(1..3000_usize, 1..40),
        ) {
            let (mut outgoing, mut wanted, mut left) = (Outgoing::default(), Vec::new(), Vec::new());
            for (number, (shared, length)) in parts.into_iter().enumerate() {
                let bytes = vec![u8::try_from(number).unwrap(); length];
                if shared { outgoing.shared(&bytes.clone().into()) } else { outgoing.text(|out| out.extend_from_slice(&bytes)); }
                wanted.extend_from_slice(&bytes);
            }
            prop_assert_eq!(outgoing.queued(), wanted.len() as u64);
            for step in steps.into_iter().cycle() {
                let mut slices = [IoSlice::new(&[]); PIECES];
                let count = outgoing.slices(&mut slices);
                let at_hand: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.to_vec()).collect();
                if outgoing.is_empty() || at_hand.is_empty() { break; }
                let step = step.min(at_hand.len());
                left.extend_from_slice(&at_hand[..step]);
                outgoing.advance(step);
                prop_assert_eq!(outgoing.handed(), left.len() as u64);
            }
            prop_assert_eq!(left, wanted);
        }
    }
}
