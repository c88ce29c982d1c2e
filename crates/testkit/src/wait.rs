//! Waiting for a condition, never for luck.

use std::thread;
use std::time::{Duration, Instant};

/// Time between two looks.
const STEP: Duration = Duration::from_millis(10);

/// Looks until there is something to see; `None` if there was nothing `within` this time.
pub fn try_until<T>(within: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + within;
    loop {
        if let Some(seen) = look() {
            return Some(seen);
        }
        if Instant::now() >= end {
            return None;
        }
        thread::sleep(STEP);
    }
}

/// Looks until there is something to see.
///
/// # Panics
/// If there was nothing `within` this time; `what` says what was waited for.
pub fn until<T>(what: &str, within: Duration, look: impl FnMut() -> Option<T>) -> T {
    try_until(within, look).unwrap_or_else(|| panic!("waited {within:?} in vain for {what}"))
}
