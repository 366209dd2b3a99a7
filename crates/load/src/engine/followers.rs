//! How far each subscriber of the whole feed has got, for the conductor to compare with the feed's head when all is quiet. A
//! feed that falls silent has no gap that a subscriber could see; only its end tells.

use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// All of them, over all cores.
#[derive(Debug, Default)]
pub(crate) struct Followers {
    places: Mutex<Vec<Weak<AtomicU64>>>,
}

/// One subscriber's place; with it the subscriber leaves.
#[derive(Debug)]
pub(crate) struct Follower(Arc<AtomicU64>);

impl Followers {
    /// Somebody follows, and has seen everything up to `offset`.
    pub(crate) fn join(&self, offset: u64) -> Follower {
        let place = Arc::new(AtomicU64::new(offset));
        let mut places = self.places.lock();
        // Those who left make room, so that VUs that come and go do not add up.
        places.retain(|place| place.strong_count() > 0);
        places.push(Arc::downgrade(&place));
        Follower(place)
    }

    /// How many are not where the feed is, and how many events they have yet to see together.
    pub(crate) fn behind(&self, head: u64) -> (u64, u64) {
        let places = self.places.lock();
        let missing =
            places.iter().filter_map(Weak::upgrade).map(|place| head.saturating_sub(place.load(Ordering::Relaxed)));
        missing.filter(|missing| *missing > 0).fold((0, 0), |(some, events), missing| (some + 1, events + missing))
    }
}

impl Follower {
    /// It has seen this event, or starts behind it.
    pub(crate) fn at(&self, offset: u64) {
        self.0.store(offset, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_not_at_the_head_is_behind_and_who_left_is_not() {
        let followers = Followers::default();
        let (one, two, gone) = (followers.join(0), followers.join(5), followers.join(0));
        drop(gone);
        one.at(10);
        assert_eq!(followers.behind(10), (1, 5));
        two.at(11);
        assert_eq!(followers.behind(10), (0, 0));
        assert_eq!(followers.behind(12), (2, 3));
    }
}
